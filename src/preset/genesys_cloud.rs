use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, response};
use http_body::Body;
use thiserror::Error;
use tower::{BoxError, Service};

use super::{api::Api, error_json::error_json};
use crate::{
    oauth2::{ClientAuth, ErrorReply, TokenEndpoint},
    origin::{Origins, UrlError},
    rate_limit_retry::{
        RateLimitRetryLayer,
        classify::{Class, classify_fn},
    },
    token::{TokenCache, TokenErrorKind},
    token_refresh::TokenRefreshLayer,
};

/// Genesys Cloud, the contact-centre platform: its hosts, and its departures from the standards.
///
/// ```
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_outbound::{
///     buffer_body::BufferErrorBodyLayer,
///     oauth2::{ClientAuth, ClientCredentials},
///     preset::GenesysCloud,
///     token::TokenCache,
/// };
///
/// # fn main() -> Result<(), tower::BoxError> {
/// # let connector = hyper_util::client::legacy::connect::HttpConnector::new();
/// let http = Client::builder(TokioExecutor::new()).build::<_, Full<bytes::Bytes>>(connector);
/// let cloud = GenesysCloud::new("mypurecloud.com")?;
/// let endpoint = cloud.token_endpoint("id", ClientAuth::basic("secret"), http.clone())?;
/// let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
///
/// let api = ServiceBuilder::new()
///     .layer(cloud.rate_limit_retry())
///     .layer(cloud.token_refresh(tokens))
///     .layer(BufferErrorBodyLayer::new()) // lets the layers above read error codes
///     .service(http);
/// # drop(api);
/// # Ok(())
/// # }
/// ```
///
/// # Facts
///
/// - Hosts: `login.` and `api.` in front of the region's domain, as in the official clients.
/// - Access tokens of the client credentials grant live 24 hours by default, 5 minutes to 48 hours by
///   choice; there is no refresh token. They may die early (revocation, idle timeout of the organisation).
/// - The token endpoint throttles with status *400*, `invalid_request` and "rate limit exceeded;…": the
///   official Terraform provider retries on just that.
/// - 401 comes without `WWW-Authenticate`; its code tells `bad.credentials` from `ip.not.authorized`,
///   which no token can cure.
/// - 429 comes with `Retry-After` in seconds. Daily quotas answer with hours, and the official clients wait
///   at most 180 s.
#[derive(Clone, Debug)]
pub struct GenesysCloud {
    token_url: String,
    api: Api,
}

impl GenesysCloud {
    /// The cloud of a region, by its domain (`mypurecloud.ie`, `usw2.pure.cloud`) or by the name of its
    /// AWS region (`eu-west-1`).
    ///
    /// Any domain is taken: new regions come more often than releases of this crate.
    ///
    /// # Errors
    /// If it is neither.
    pub fn new(region: &str) -> Result<Self, RegionError> {
        let unknown = || RegionError {
            region: region.to_owned(),
        };
        let named = REGIONS.iter().find(|(name, _)| *name == region);
        let domain = named.map_or(region, |(_, domain)| domain);
        // Without a dot it is the name of a region that we do not know.
        if !domain.contains('.') || domain.contains([':', '/', '@', '?', '#']) {
            return Err(unknown());
        }
        let (login, api) = (
            format!("https://login.{domain}"),
            format!("https://api.{domain}"),
        );
        Self::at(&format!("{login}/oauth/token"), &api).map_err(|_| unknown())
    }

    /// The cloud behind this token endpoint and this API base URL: a gateway of your own, or a test server.
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

    /// The token endpoint, for an OAuth client of this id.
    ///
    /// A reply that throttles is recognised, and errors name the correlation id.
    ///
    /// # Errors
    /// If the token endpoint's URL is unusable.
    pub fn token_endpoint<S, B, R>(
        &self,
        client_id: impl Into<String>,
        auth: ClientAuth,
        http: S,
    ) -> Result<TokenEndpoint, UrlError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Ok(TokenEndpoint::new(&self.token_url, client_id, auth, http)?
            .classify_errors(error_kind)
            .correlation_header(CORRELATION_ID))
    }

    /// The token layer for this cloud's API.
    ///
    /// A 401 because of the caller's address (`ip.not.authorized`) does not lead to a renewal, if a
    /// [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below shows the body.
    pub fn token_refresh(&self, tokens: TokenCache) -> TokenRefreshLayer {
        TokenRefreshLayer::new(tokens, self.origins()).refused_when(is_refusal)
    }

    /// The rate-limit layer with the defaults, which are the official clients': 429, 502, 503 and 504 are
    /// tried again, and no pause above 180 s is honoured.
    ///
    /// A 504 of the authentication service (`authentication.request.timeout`) is known as "not
    /// run", if a [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below shows the
    /// body.
    pub fn rate_limit_retry(&self) -> RateLimitRetryLayer {
        RateLimitRetryLayer::new().classify(classify_fn(|parts, standard| {
            match parts.status == StatusCode::GATEWAY_TIMEOUT && has_code(parts, AUTH_TIMEOUT) {
                true => Class::NotProcessed,
                false => standard,
            }
        }))
    }
}

/// A region that is neither a domain nor the name of an AWS region that this crate knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{region:?} is no region of Genesys Cloud: give its domain, such as \"mypurecloud.ie\", or its AWS \
     region, such as \"eu-west-1\""
)]
pub struct RegionError {
    region: String,
}

fn error_kind(reply: &ErrorReply) -> TokenErrorKind {
    let description = reply.description.as_deref().unwrap_or_default();
    match reply.error.as_deref() {
        Some("invalid_request") if description.starts_with("rate limit exceeded") => {
            TokenErrorKind::Throttled
        }
        _ => reply.kind(),
    }
}

fn is_refusal(parts: &response::Parts) -> bool {
    parts.status == StatusCode::UNAUTHORIZED && !has_code(parts, IP_NOT_AUTHORIZED)
}

/// Whether the error body has this code; not if no layer below shows it.
fn has_code(parts: &response::Parts, code: &str) -> bool {
    error_json(parts).is_some_and(|body| body["code"] == code)
}

const IP_NOT_AUTHORIZED: &str = "ip.not.authorized";
const AUTH_TIMEOUT: &str = "authentication.request.timeout";
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// The AWS regions and their domains, as in the official clients of 2026.
const REGIONS: [(&str, &str); 18] = [
    ("us-east-1", "mypurecloud.com"),
    ("eu-west-1", "mypurecloud.ie"),
    ("ap-southeast-2", "mypurecloud.com.au"),
    ("ap-northeast-1", "mypurecloud.jp"),
    ("eu-central-1", "mypurecloud.de"),
    ("us-west-2", "usw2.pure.cloud"),
    ("ca-central-1", "cac1.pure.cloud"),
    ("ap-northeast-2", "apne2.pure.cloud"),
    ("eu-west-2", "euw2.pure.cloud"),
    ("ap-south-1", "aps1.pure.cloud"),
    ("us-east-2", "use2.us-gov-pure.cloud"),
    ("sa-east-1", "sae1.pure.cloud"),
    ("me-central-1", "mec1.pure.cloud"),
    ("ap-northeast-3", "apne3.pure.cloud"),
    ("eu-central-2", "euc2.pure.cloud"),
    ("mx-central-1", "mxc1.pure.cloud"),
    ("ap-southeast-1", "apse1.pure.cloud"),
    ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
];

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tower::service_fn;

    use super::*;

    fn http()
    -> impl Service<Request<Bytes>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + 'static {
        service_fn(|_| async { Err("nobody listens".into()) })
    }

    #[test]
    fn a_region_is_a_domain_or_the_name_of_an_aws_region() {
        for (region, api) in [
            ("mypurecloud.ie", "https://api.mypurecloud.ie"),
            ("eu-west-1", "https://api.mypurecloud.ie"),
            ("brand-new.pure.cloud", "https://api.brand-new.pure.cloud"),
        ] {
            let cloud = GenesysCloud::new(region).unwrap();
            assert_eq!(cloud.api_url(), api);
            assert_eq!(
                cloud.token_url(),
                format!("{}/oauth/token", api.replace("api", "login"))
            );
        }
    }

    #[test]
    fn anything_else_is_an_error_that_names_it() {
        for region in [
            "",
            "eu-west-9",
            "https://api.mypurecloud.ie",
            "a b.c",
            "x.y/z",
            "u@x.y",
        ] {
            let error = GenesysCloud::new(region).unwrap_err().to_string();
            assert!(error.contains(&format!("{region:?}")), "{error}");
        }
    }

    #[test]
    fn login_and_api_can_be_anywhere() {
        let cloud = GenesysCloud::at(
            "https://gw.test:8443/login/token",
            "https://gw.test/genesys/",
        )
        .unwrap();
        assert_eq!(cloud.api_url(), "https://gw.test/genesys");
        assert!(
            cloud
                .token_endpoint("id", ClientAuth::none(), http())
                .is_ok()
        );
        assert!(GenesysCloud::at("https://gw.test/", "gw.test").is_err());
        assert!(
            GenesysCloud::at("gw.test", "https://gw.test")
                .unwrap()
                .token_endpoint("", ClientAuth::none(), http())
                .is_err()
        );
    }
}
