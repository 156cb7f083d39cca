use serde_json::Value;

use super::api::Api;
use crate::{
    header::LegacyFields,
    origin::{Origins, UrlError},
    pages::{Next, NextLink, Paging, next_fn},
    rate_limit_retry::{RateLimitRetryLayer, classify::Standard},
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

/// Zendesk: an account's hosts, what its responses say of limits, and listings by cursor.
///
/// ```
/// use tower_outbound::{
///     oauth2::{ClientAuth, LogIn, Login, TokenEndpoint}, preset::Zendesk, store::FileStore,
///     token::TokenCache,
/// };
///
/// # fn layers<S>(http: S) -> Result<(), tower::BoxError>
/// # where
/// #     S: tower::Service<http::Request<bytes::Bytes>, Response = http::Response<http_body_util::Full<bytes::Bytes>>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<tower::BoxError>,
/// # {
/// let zendesk = Zendesk::new("acme")?;
/// let auth = ClientAuth::body("secret");
/// let endpoint = TokenEndpoint::new(zendesk.token_url(), "client id", auth, http)?;
/// // The refresh token changes with every renewal, so it is kept.
/// let login = Login::new(endpoint.grant(LogIn), FileStore::new("/var/lib/exporter/zendesk.json"));
/// let tokens = TokenCache::new(login);
/// let layers = (zendesk.rate_limit_retry(), zendesk.token_refresh(tokens));
/// # drop(layers);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - A renewal ends the access token and the refresh token that were before it, at once
///   ([refresh tokens]). So every request that is under way is refused because of our own renewal.
///   [`TokenRefreshLayer`] sees that the token has changed since, and sends it again without
///   another renewal. What cannot be sent again is lost then: see
///   [`BufferBodyLayer`](crate::buffer_body::BufferBodyLayer).
/// - A refresh token that comes twice is `invalid_grant`, and the session is over. Processes that
///   share one share a [`Login`](crate::oauth2::Login)'s store.
/// - 429 comes with `Retry-After` in seconds; an endpoint may have a limit beside the account's.
///   `ratelimit-remaining` and `ratelimit-reset`, in seconds, tell of the account's ([rate
///   limits]).
/// - A listing by cursor ends when `meta.has_more` is false, whatever its links say ([pagination]).
///
/// [refresh tokens]: https://support.zendesk.com/hc/en-us/articles/9182123625370
/// [rate limits]: https://developer.zendesk.com/documentation/ticketing/using-the-zendesk-api/best-practices-for-avoiding-rate-limiting/
/// [pagination]: https://developer.zendesk.com/api-reference/introduction/pagination/
#[derive(Clone, Debug)]
pub struct Zendesk {
    token_url: String,
    api: Api,
}

impl Zendesk {
    /// The account at `https://<subdomain>.zendesk.com`.
    ///
    /// # Errors
    /// If the subdomain is more than a name.
    pub fn new(subdomain: &str) -> Result<Self, UrlError> {
        let api = Api::at_origin(&format!("https://{subdomain}.zendesk.com"))?;
        let token_url = format!("{}/oauth/tokens", api.url);
        Ok(Self { token_url, api })
    }

    /// The account behind this token endpoint and this API base URL: a gateway, or a test server.
    ///
    /// # Errors
    /// If the API's URL is not one of a server: `https`, or `http` on loopback.
    pub fn at(token_url: &str, api_url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            token_url: token_url.to_owned(),
            api: Api::at(api_url)?,
        })
    }

    /// The base URL of the API, without a slash at its end.
    pub fn api_url(&self) -> &str {
        &self.api.url
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Where the token may go: the account's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// The token layer for this account.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins())
    }

    /// The rate-limit layer: it sends no more than `ratelimit-remaining` says is left.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new().classify(Standard::new().legacy_fields([LegacyFields::Draft06]))
    }

    /// How a page leads to the next, in a listing that was asked for with `page[size]`.
    pub fn paging(&self) -> impl Paging + Clone + Send + Sync + 'static {
        let link = NextLink::at("/links/next");
        next_fn(move |request, page| match page.at("/meta/has_more")? {
            Some(Value::Bool(false)) => Ok(Next::End),
            _ => link.next(request, page),
        })
    }
}
