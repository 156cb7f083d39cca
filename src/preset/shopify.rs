use http::HeaderName;

use super::api::Api;
use crate::{
    origin::{Origins, UrlError},
    pages::NextLink,
    rate_limit_retry::RateLimitRetryLayer,
    token::{CredentialHeader, TokenCache},
    token_refresh::TokenRefreshLayer,
};

/// Shopify's Admin API: a shop's hosts, and a token in a header of its own.
///
/// ```
/// use tower_outbound::{
///     oauth2::{ClientAuth, ClientCredentials, TokenEndpoint}, preset::Shopify, token::TokenCache,
/// };
///
/// # fn layers<S>(http: S) -> Result<(), tower::BoxError>
/// # where
/// #     S: tower::Service<http::Request<bytes::Bytes>, Response = http::Response<http_body_util::Full<bytes::Bytes>>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<tower::BoxError>,
/// # {
/// let shop = Shopify::new("acme")?;
/// let auth = ClientAuth::body("secret");
/// let endpoint = TokenEndpoint::new(shop.token_url(), "client id", auth, http)?;
/// let tokens = TokenCache::builder()
///     .credential_header(shop.credential_header())
///     .build(endpoint.grant(ClientCredentials));
/// let layers = (shop.rate_limit_retry(), shop.token_refresh(tokens));
/// # drop(layers);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - The token goes into `X-Shopify-Access-Token`, with no scheme before it ([authentication]).
/// - Tokens of the client credentials grant live for a day ([grant]). An offline token of an app
///   may have no end: give it to the cache with [`source_fn`](crate::token::source_fn).
/// - 429 comes with `Retry-After` as a decimal, `2.0` ([rate limits]). Each app has a bucket in
///   each shop; the default limit key, the shop's origin, is that.
/// - `X-Shopify-Shop-Api-Call-Limit: 32/40` tells how full the bucket is, and not when it will be
///   empty: it is not read. The rate is learned, as everywhere.
/// - GraphQL is throttled with status 200 and an error `THROTTLED` in the body, which no layer
///   sees.
/// - The next page of a REST listing is in the `Link` header ([pagination]).
///
/// [authentication]: https://shopify.dev/docs/api/admin-rest#authentication
/// [grant]: https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant
/// [rate limits]: https://shopify.dev/docs/api/admin-rest/usage/rate-limits
/// [pagination]: https://shopify.dev/docs/api/admin-rest/usage/pagination
#[derive(Clone, Debug)]
pub struct Shopify {
    token_url: String,
    api: Api,
}

impl Shopify {
    /// The shop at `https://<shop>.myshopify.com`.
    ///
    /// # Errors
    /// If the shop's name is more than a name.
    pub fn new(shop: &str) -> Result<Self, UrlError> {
        let api = Api::at_origin(&format!("https://{shop}.myshopify.com"))?;
        let token_url = format!("{}/admin/oauth/access_token", api.url);
        Ok(Self { token_url, api })
    }

    /// The shop behind this token endpoint and this base URL: a gateway, or a test server.
    ///
    /// # Errors
    /// If the shop's URL is not one of a server: `https`, or `http` on loopback.
    pub fn at(token_url: &str, api_url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            token_url: token_url.to_owned(),
            api: Api::at(api_url)?,
        })
    }

    /// The base URL of the shop, without a slash at its end.
    pub fn api_url(&self) -> &str {
        &self.api.url
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Where the token may go: the shop's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// The header that carries the token.
    pub fn credential_header(&self) -> CredentialHeader {
        CredentialHeader::bare(ACCESS_TOKEN)
    }

    /// The token layer for this shop. The cache is one with the
    /// [`credential_header`](Self::credential_header).
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins())
    }

    /// The rate-limit layer.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new()
    }

    /// How a page of a REST listing leads to the next.
    pub fn paging(&self) -> NextLink {
        NextLink::header()
    }
}

const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-shopify-access-token");
