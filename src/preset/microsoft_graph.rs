use std::time::Duration;

use super::api::Api;
use crate::{
    oauth2::{GrantType, TokenEndpoint, TokenRequest},
    origin::{Origins, UrlError},
    pages::NextLink,
    rate_limit_retry::RateLimitRetryLayer,
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

/// Microsoft Graph: claims challenges, and pauses that grow for those who do not wait.
///
/// ```
/// use tower_outbound::{
///     oauth2::{ClientAuth, ClientCredentials, TokenEndpoint}, preset::MicrosoftGraph, token::TokenCache,
/// };
///
/// # fn layers<S>(http: S) -> Result<(), tower::BoxError>
/// # where
/// #     S: tower::Service<http::Request<bytes::Bytes>, Response = http::Response<http_body_util::Full<bytes::Bytes>>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<tower::BoxError>,
/// # {
/// let graph = MicrosoftGraph::new("contoso.onmicrosoft.com");
/// let auth = ClientAuth::body("secret");
/// let endpoint = TokenEndpoint::new(graph.token_url(), "client id", auth, http)?;
/// let tokens = TokenCache::new(graph.request(&endpoint, ClientCredentials));
/// let layers = (graph.rate_limit_retry(), graph.token_refresh(tokens));
/// # drop(layers);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - Who says that it understands claims challenges (`cp1`) gets tokens that live for a day and
///   more, and end when a user is locked out. Then 401 comes with `error="insufficient_claims"` and
///   `claims`, which must go into the next token request: a token without them is refused again
///   ([continuous access evaluation]).
/// - The client credentials grant takes one scope, `<API>/.default` ([client credentials]).
/// - 429 and 503 come with `Retry-After`. What is sent earlier counts, and makes the wait longer
///   ([throttling]); 315 s has been seen ([a report]).
/// - A batch hides its 429s inside a 200, where no layer sees them.
/// - The next page is at `@odata.nextLink` ([paging]).
///
/// [continuous access evaluation]: https://learn.microsoft.com/en-us/entra/identity-platform/app-resilience-continuous-access-evaluation
/// [client credentials]: https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow
/// [throttling]: https://learn.microsoft.com/en-us/graph/throttling
/// [a report]: https://learn.microsoft.com/en-us/answers/questions/648796
/// [paging]: https://learn.microsoft.com/en-us/graph/paging
#[derive(Clone, Debug)]
pub struct MicrosoftGraph {
    token_url: String,
    api: Api,
}

impl MicrosoftGraph {
    /// Graph, with the tokens of this tenant of Microsoft Entra: its id, or a domain of its.
    pub fn new(tenant: &str) -> Self {
        Self {
            token_url: format!("{ENTRA}/{tenant}/oauth2/v2.0/token"),
            api: Api::at_origin(GRAPH).expect("it is the origin of a server"),
        }
    }

    /// The API at this URL, with this token endpoint: a national cloud, or a test server.
    ///
    /// # Errors
    /// If the API's URL is not one of a server: `https`, or `http` on loopback.
    pub fn at(token_url: &str, api_url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            token_url: token_url.to_owned(),
            api: Api::at(api_url)?,
        })
    }

    /// The base URL of the API, without a version and without a slash at its end.
    pub fn api_url(&self) -> &str {
        &self.api.url
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Where the token may go: the API's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// A token request for Graph by this grant, which says that it understands claims challenges,
    /// and answers them. It asks for the scope `<API>/.default`; another
    /// [`scope`](TokenRequest::scope) takes its place.
    pub fn request(&self, endpoint: &TokenEndpoint, grant: impl GrantType) -> TokenRequest {
        endpoint
            .grant(grant)
            .scope(&format!("{}/.default", self.api.url))
            .parameter("claims", UNDERSTANDS_CHALLENGES)
            .answer_claims_challenges()
    }

    /// The token layer for this API.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins())
    }

    /// The rate-limit layer: pauses of up to ten minutes are honoured.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new().max_wait(LONGEST_PAUSE)
    }

    /// How a page leads to the next.
    pub fn paging(&self) -> NextLink {
        NextLink::at("/@odata.nextLink")
    }
}

const ENTRA: &str = "https://login.microsoftonline.com";
const GRAPH: &str = "https://graph.microsoft.com";
const UNDERSTANDS_CHALLENGES: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

/// Nearly twice the longest pause that has been reported.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
