use http::{StatusCode, response};
use serde_json::Value;

use super::{api::Api, error_json::error_json};
use crate::{
    origin::{Origins, UrlError},
    pages::NextLink,
    rate_limit_retry::RateLimitRetryLayer,
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

/// Salesforce's REST API: sessions without an end that is told, and quotas for a day.
///
/// ```
/// use tower_outbound::{
///     oauth2::{ClientAuth, ClientCredentials, TokenEndpoint}, preset::Salesforce, token::TokenCache,
/// };
///
/// # fn layers<S>(http: S) -> Result<(), tower::BoxError>
/// # where
/// #     S: tower::Service<http::Request<bytes::Bytes>, Response = http::Response<http_body_util::Full<bytes::Bytes>>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<tower::BoxError>,
/// # {
/// let salesforce = Salesforce::new("https://acme.my.salesforce.com")?;
/// let auth = ClientAuth::body("secret");
/// let endpoint = TokenEndpoint::new(salesforce.token_url(), "client id", auth, http)?;
/// let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
/// let layers = (salesforce.rate_limit_retry(), salesforce.token_refresh(tokens));
/// # drop(layers);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - The My Domain URL serves both the API and the token endpoint, and is the only one for the
///   client credentials grant ([flow]). The `instance_url` in a token's reply is not read: give the
///   URL.
/// - The reply has no `expires_in`. A session ends after two hours without a request by default, or
///   as the organisation has it ([session settings]): only a refusal tells.
/// - 401 comes with an *array*, `[{"errorCode":"INVALID_SESSION_ID",…}]` ([status codes]). A 401
///   with other codes is not about the session.
/// - 403 `REQUEST_LIMIT_EXCEEDED` is a quota of the last 24 hours, or of 25 long requests at a
///   time. It comes without `Retry-After` ([limits]), and is the caller's at once, as every 403.
/// - The next page is at `nextRecordsUrl`, a path ([query]).
///
/// [flow]: https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
/// [session settings]: https://help.salesforce.com/s/articleView?id=xcloud.admin_sessions.htm
/// [status codes]: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm
/// [limits]: https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm
/// [query]: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_query.htm
#[derive(Clone, Debug)]
pub struct Salesforce {
    token_url: String,
    api: Api,
}

impl Salesforce {
    /// The organisation at this URL, its My Domain: `https://acme.my.salesforce.com`.
    ///
    /// # Errors
    /// If it is not the URL of a server: `https`, or `http` on loopback.
    pub fn new(my_domain: &str) -> Result<Self, UrlError> {
        let api = Api::at(my_domain)?;
        let token_url = format!("{}/services/oauth2/token", api.url);
        Ok(Self { token_url, api })
    }

    /// The organisation at this base URL, with this token endpoint, such as that of
    /// `https://login.salesforce.com`.
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

    /// Where the token may go: the organisation's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// The token layer for this API.
    ///
    /// A 401 that names another code than that of an ended session leads to no renewal, if a
    /// [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below shows the body.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins()).refused_when(is_refusal)
    }

    /// The rate-limit layer.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new()
    }

    /// How a page of a query's result leads to the next.
    pub fn paging(&self) -> NextLink {
        NextLink::at("/nextRecordsUrl")
    }
}

fn is_refusal(parts: &response::Parts) -> bool {
    let ended = |error: &Value| error["errorCode"] == INVALID_SESSION_ID;
    parts.status == StatusCode::UNAUTHORIZED
        && match error_json(parts) {
            Some(Value::Array(errors)) => errors.iter().any(ended),
            // It does not say, or not where we can see it.
            _ => true,
        }
}

const INVALID_SESSION_ID: &str = "INVALID_SESSION_ID";
