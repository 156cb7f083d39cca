use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use super::{
    endpoint::shown,
    http_client::{HttpClient, Reply},
    jwt::{Claims, SigningKey, unix_seconds},
    response::printable,
};
use crate::{
    header::retry_after,
    origin::{PlainHttp, UrlError, parse_http_url},
    time,
    token::{Cause, Grant, Secret, TokenError, TokenErrorKind, TokenSource},
};

/// Tokens of an installation of a GitHub App
/// ([GitHub's documentation](https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation)):
/// the app signs who it is, and is given a token for an hour.
///
/// It is no OAuth: the reply has a `token` and an `expires_at`. GitHub needs a few seconds until a new
/// token is known everywhere, so give the token layer a
/// [`fresh_token_lag`](crate::token_refresh::TokenRefreshLayer::fresh_token_lag) of five, as
/// [`preset::Github`](crate::preset::Github) does, which knows GitHub's limits too.
///
/// ```
/// use std::time::Duration;
/// use tower_outbound::{
///     oauth2::{GithubApp, jwt::SigningKey}, origin::Origins, token::TokenCache,
///     token_refresh::TokenRefreshLayer,
/// };
///
/// # fn layer(pem: &str) -> Result<TokenRefreshLayer, tower::BoxError> {
/// # let http = tower::service_fn(|_: http::Request<bytes::Bytes>| async {
/// #     Ok::<_, tower::BoxError>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
/// # });
/// let app = GithubApp::new("client id of the app", 4242, SigningKey::from_pem(pem)?, http)
///     .repositories(["exporter"])
///     .permission("contents", "read");
/// let origins = Origins::only(["https://api.github.com"])?;
/// Ok(TokenRefreshLayer::new(TokenCache::new(app), origins).fresh_token_lag(Duration::from_secs(5)))
/// # }
/// ```
#[derive(Clone)]
pub struct GithubApp(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    url: Uri,
    installation: u64,
    app: String,
    key: SigningKey,
    http: HttpClient,
    repositories: Vec<String>,
    permissions: serde_json::Map<String, Value>,
}

impl GithubApp {
    /// Tokens of this installation, for the app of this client id (or app id), by its RSA key.
    ///
    /// What [`TokenEndpoint::new`](super::TokenEndpoint::new) says of the HTTP client holds here.
    pub fn new<S, B, R>(app: impl Into<String>, installation: u64, key: SigningKey, http: S) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self(Arc::new(Settings {
            url: Uri::from_static(GITHUB),
            installation,
            app: app.into(),
            key,
            http: HttpClient::new(http),
            repositories: Vec::new(),
            permissions: serde_json::Map::new(),
        }))
    }

    /// The base URL of the API of a GitHub Enterprise Server, such as `https://github.example.com/api/v3`;
    /// `https://api.github.com` by default.
    ///
    /// # Errors
    /// If it is not an absolute `https` URL (`http` on loopback).
    pub fn api_url(mut self, url: &str) -> Result<Self, UrlError> {
        self.edit().url = parse_http_url(url, PlainHttp::OnLoopback)?;
        Ok(self)
    }

    /// Limits the token to repositories of these names; by default it is good for all that the
    /// installation may see.
    pub fn repositories<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.edit()
            .repositories
            .extend(names.into_iter().map(Into::into));
        self
    }

    /// Limits the token to permissions such as `contents: read`; can be repeated. By default it has all
    /// that the installation has.
    pub fn permission(mut self, name: impl Into<String>, access: impl Into<String>) -> Self {
        let access = Value::String(access.into());
        self.edit().permissions.insert(name.into(), access);
        self
    }

    fn edit(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }
}

impl TokenSource for GithubApp {
    async fn token(&self, _: &Cause) -> Result<Grant, TokenError> {
        let request = self.0.request()?;
        let url = request.uri().clone();
        let reply = self.0.http.exchange(request).await.map_err(|error| {
            TokenError::transient(format!("no usable reply from {}", shown(&url))).caused_by(error)
        })?;
        read(&url, &reply)
    }
}

impl Settings {
    fn request(&self) -> Result<Request<Bytes>, TokenError> {
        let mut parts = self.url.clone().into_parts();
        let path = self.url.path().trim_end_matches('/');
        let path = format!(
            "{path}/app/installations/{}/access_tokens",
            self.installation
        );
        parts.path_and_query = path.parse().ok();
        let url = Uri::from_parts(parts)
            .map_err(|error| TokenError::rejected("an unusable URL").caused_by(error))?;

        let assertion = Secret::new(format!("Bearer {}", self.assertion()?.expose()));
        let mut credentials = HeaderValue::try_from(assertion.expose())
            .map_err(|_| TokenError::rejected("the app's assertion fits no header"))?;
        credentials.set_sensitive(true);

        let mut request = Request::new(Bytes::from(self.wanted().to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, credentials);
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("tower-outbound"),
        );
        headers.insert(API_VERSION, HeaderValue::from_static("2022-11-28"));
        Ok(request)
    }

    fn assertion(&self) -> Result<Secret, TokenError> {
        let now = unix_seconds(time::wall());
        let mut claims = Claims::new();
        claims.insert("iss".into(), self.app.as_str().into());
        claims.insert(
            "iat".into(),
            now.saturating_sub(CLOCK_DRIFT.as_secs()).into(),
        );
        claims.insert("exp".into(), (now + LIFETIME.as_secs()).into());
        let mut header = Claims::new();
        header.insert("typ".into(), "JWT".into());
        self.key.sign(header, claims)
    }

    fn wanted(&self) -> Value {
        let mut wanted = json!({});
        if !self.repositories.is_empty() {
            wanted["repositories"] = json!(self.repositories);
        }
        if !self.permissions.is_empty() {
            wanted["permissions"] = Value::Object(self.permissions.clone());
        }
        wanted
    }
}

fn read(url: &Uri, reply: &Reply) -> Result<Grant, TokenError> {
    let (endpoint, status) = (shown(url), reply.status);
    let body = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    if !status.is_success() {
        let said = printable(body["message"].as_str().unwrap_or("no message"));
        let message = format!("{endpoint} answered {status}: {said}");
        let retry_after = retry_after(&reply.headers, time::wall());
        let is_limited = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN
        ) && (retry_after.is_some() || is_spent(reply));
        let error = if is_limited || status == StatusCode::TOO_MANY_REQUESTS {
            TokenError::throttled(retry_after, message)
        } else if status.is_server_error() {
            TokenError::transient(message)
        } else {
            TokenError::new(TokenErrorKind::Rejected, message)
        };
        return Err(error.replied(status, None));
    }
    let unreadable =
        |what| TokenError::transient(format!("{endpoint} answered {status} with {what}"));
    let token = body["token"]
        .as_str()
        .filter(|token| !token.is_empty())
        .ok_or_else(|| unreadable("a body without a `token`"))?;
    let end = body["expires_at"]
        .as_str()
        .and_then(|date| humantime::parse_rfc3339(date).ok())
        .ok_or_else(|| unreadable("a token without a readable `expires_at`"))?;
    Ok(Grant::new(token).expires_at(end))
}

/// Whether the primary limit is used up.
fn is_spent(reply: &Reply) -> bool {
    reply
        .headers
        .get("x-ratelimit-remaining")
        .is_some_and(|left| left == "0")
}

impl fmt::Debug for GithubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GithubApp")
            .field("app", &self.0.app)
            .field("installation", &self.0.installation)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

const GITHUB: &str = "https://api.github.com/";
const API_VERSION: HeaderName = HeaderName::from_static("x-github-api-version");

/// GitHub takes ten minutes at most; a retry within the renewal signs anew.
const LIFETIME: Duration = Duration::from_secs(300);

/// What GitHub's documentation asks for, against clocks that are ahead of its own.
const CLOCK_DRIFT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::Full;
    use tower::service_fn;

    use super::*;
    use crate::token::TokenCache;

    async fn ask(status: u16, headers: &[(&'static str, &str)], body: &str) -> Asked {
        let mut response = Response::new(Full::<Bytes>::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        let sent = Arc::new(Mutex::new(None));
        let log = Arc::clone(&sent);
        let http = service_fn(move |request: Request<Bytes>| {
            *log.lock().unwrap() = Some(request);
            let response = response.clone();
            async { Ok::<_, BoxError>(response) }
        });
        let app = GithubApp::new("Iv1.abc", 42, SigningKey::generate_es256().unwrap(), http)
            .api_url("https://github.test/api/v3/")
            .unwrap()
            .repositories(["a", "b"])
            .permission("contents", "read");
        let result = app.token(&Cause::FirstUse).await;
        let request = sent.lock().unwrap().take().unwrap();
        Asked { result, request }
    }

    struct Asked {
        result: Result<Grant, TokenError>,
        request: Request<Bytes>,
    }

    fn part(jwt: &str, index: usize) -> Value {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let part = jwt.split('.').nth(index).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_app_says_who_it_is_and_what_it_wants() {
        let body = r#"{"token":"ghs_x","expires_at":"2099-07-11T22:14:10Z"}"#;
        let Asked { result, request } = ask(201, &[], body).await;
        assert_eq!(
            request.uri(),
            "https://github.test/api/v3/app/installations/42/access_tokens"
        );
        let wanted: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            wanted,
            json!({"repositories": ["a", "b"], "permissions": {"contents": "read"}})
        );
        let credentials = &request.headers()[header::AUTHORIZATION];
        assert!(credentials.is_sensitive());
        let jwt = credentials
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap();
        let claims = part(jwt, 1);
        assert_eq!(claims["iss"], "Iv1.abc");
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, 360, "below GitHub's ten minutes");

        let tokens = TokenCache::new(crate::token::source_fn(move |_| {
            let result = result.clone();
            async { result }
        }));
        assert_eq!(tokens.token().await.unwrap().secret().expose(), "ghs_x");
    }

    #[tokio::test]
    async fn the_end_of_a_token_is_read_as_a_date() {
        let body = r#"{"token":"t","expires_at":"2099-07-11T22:14:10Z"}"#;
        let grant = ask(201, &[], body).await.result.unwrap();
        let asked = std::time::UNIX_EPOCH + Duration::from_secs(4_087_491_250 - 3600);
        assert_eq!(grant.lifetime.since(asked), Some(Duration::from_secs(3600)));
    }

    #[tokio::test]
    async fn what_githubs_answers_mean_for_the_next_attempt() {
        let kind = async |status, headers: &[(&'static str, &str)], body: &str| {
            ask(status, headers, body).await.result.unwrap_err().kind()
        };
        let rejected = TokenErrorKind::Rejected;
        let (throttled, transient) = (TokenErrorKind::Throttled, TokenErrorKind::Transient);
        assert_eq!(
            kind(401, &[], r#"{"message":"bad credentials"}"#).await,
            rejected
        );
        assert_eq!(kind(404, &[], "").await, rejected);
        assert_eq!(kind(403, &[], "").await, rejected);
        assert_eq!(kind(403, &[("retry-after", "60")], "").await, throttled);
        assert_eq!(
            kind(403, &[("x-ratelimit-remaining", "0")], "").await,
            throttled
        );
        assert_eq!(kind(429, &[], "").await, throttled);
        assert_eq!(kind(502, &[], "<html>").await, transient);
        assert_eq!(kind(201, &[], "<html>").await, transient);
        assert_eq!(kind(201, &[], r#"{"token":""}"#).await, transient);
        assert_eq!(
            kind(201, &[], r#"{"token":"t","expires_at":"soon"}"#).await,
            transient
        );
    }

    #[tokio::test]
    async fn an_error_says_what_github_said() {
        let said = r#"{"message":"'Expiration time' claim ('exp') is too far in the future"}"#;
        let error = ask(401, &[], said).await.result.unwrap_err();
        assert!(
            error.to_string().contains("too far in the future"),
            "{error}"
        );
        assert!(
            error.to_string().contains("https://github.test/api/v3/app"),
            "{error}"
        );
    }
}
