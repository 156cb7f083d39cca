use std::time::SystemTime;

use http::{HeaderName, StatusCode, response};

use super::{api::Api, error_json::error_json};
use crate::{
    header::{LegacyFields, ResetUnit},
    origin::{Origins, UrlError},
    pages::Cursor,
    rate_limit_retry::{
        RateLimitRetryLayer,
        classify::{Class, Classify, Standard},
    },
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

/// HubSpot: a 401 says nothing about the token, and a limit does not say when to come back.
///
/// ```
/// use tower_outbound::{
///     oauth2::{ClientAuth, LogIn, Login, TokenEndpoint}, preset::Hubspot, store::FileStore,
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
/// let hubspot = Hubspot::new();
/// let auth = ClientAuth::body("secret");
/// let endpoint = TokenEndpoint::new(hubspot.token_url(), "client id", auth, http)?;
/// let login = Login::new(endpoint.grant(LogIn), FileStore::new("/var/lib/exporter/hubspot.json"));
/// let layers = (hubspot.rate_limit_retry(), hubspot.token_refresh(TokenCache::new(login)));
/// # drop(layers);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - "Unauthorized (401) requests are not a valid indicator that a new access token must be
///   retrieved": `expires_in` is ([usage]). So no response leads to a renewal here. Of a token that
///   was taken away, [`TokenCache::invalidate`] tells the cache.
/// - 429 names its limit in the body's `policyName`, and comes without `Retry-After`.
///   `X-HubSpot-RateLimit-Interval-Milliseconds` is the window of which
///   `X-HubSpot-RateLimit-Remaining` tells the rest. Which part of it is over, nobody says: it
///   is waited for in full after a refusal, and not read otherwise.
/// - The policy `DAILY` lasts until midnight in the account's time zone, which no response names.
/// - The next page is behind `paging.next.after`: that goes into the query of a listing, and into
///   the body of a search ([search]).
///
/// [usage]: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
/// [search]: https://developers.hubspot.com/docs/api-reference/2026-03/crm/search-the-crm
#[derive(Clone, Debug)]
pub struct Hubspot {
    token_url: String,
    api: Api,
}

impl Default for Hubspot {
    fn default() -> Self {
        Self::new()
    }
}

impl Hubspot {
    /// `https://api.hubapi.com`.
    pub fn new() -> Self {
        let api = Api::at_origin(HUBSPOT).expect("it is the origin of a server");
        let token_url = format!("{HUBSPOT}/oauth/v1/token");
        Self { token_url, api }
    }

    /// The API at this URL, with this token endpoint: a gateway, a test server, or a later version.
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

    /// Where the token may go: the API's origin.
    pub fn origins(&self) -> Origins {
        self.api.origins.clone()
    }

    /// The token layer for this API: tokens are renewed by their age, and by nothing else.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins()).refused_when(|_| false)
    }

    /// The rate-limit layer: a refusal that leaves nothing is waited for as long as the window is,
    /// and a daily limit is the caller's at once.
    ///
    /// Which limit it is, a [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer)
    /// below shows.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new().classify(Rules(Standard::new().legacy_fields([WINDOW])))
    }

    /// How a page of a listing leads to the next.
    pub fn paging(&self) -> Cursor {
        Cursor::at(AFTER).to_query("after")
    }

    /// How a page of a search, which is a `POST`, leads to the next. Mark the first request
    /// [`ReplaySafe`](crate::mark::ReplaySafe): a search changes nothing.
    pub fn search_paging(&self) -> Cursor {
        Cursor::at(AFTER).to_body("/after")
    }
}

/// The standard's, and not its [`limits`](Classify::limits): the window's length is no forecast.
struct Rules(Standard);

impl Classify for Rules {
    fn response(&self, parts: &response::Parts, now: SystemTime) -> Class {
        let is_daily = || error_json(parts).is_some_and(|body| body["policyName"] == DAILY);
        if parts.status == StatusCode::TOO_MANY_REQUESTS && is_daily() {
            return Class::Done;
        }
        self.0.response(parts, now)
    }
}

const HUBSPOT: &str = "https://api.hubapi.com";
const AFTER: &str = "/paging/next/after";
const DAILY: &str = "DAILY";
const WINDOW: LegacyFields = LegacyFields::Custom {
    remaining: HeaderName::from_static("x-hubspot-ratelimit-remaining"),
    reset: HeaderName::from_static("x-hubspot-ratelimit-interval-milliseconds"),
    unit: ResetUnit::Milliseconds,
};
