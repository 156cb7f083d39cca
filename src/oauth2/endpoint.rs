use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tower::{BoxError, Service, ServiceExt};

use super::{
    client_auth::Client,
    response::{ErrorReply, Reply, read},
};
use crate::{
    origin::{PlainHttp, UrlError, parse_http_url},
    time,
    token::{Grant, Secret, TokenError, TokenErrorKind},
};

/// What all grants need to know of a token endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Uri,
    pub(crate) client: Client,
    pub(crate) classify: Arc<ClassifyReply>,
    pub(crate) correlation_header: Option<HeaderName>,
}

pub(crate) type ClassifyReply = dyn Fn(&ErrorReply) -> TokenErrorKind + Send + Sync;

impl Endpoint {
    pub(crate) fn new(url: &str, client: Client) -> Result<Self, UrlError> {
        Ok(Self {
            url: parse_http_url(url, PlainHttp::OnLoopback)?,
            client,
            classify: Arc::new(ErrorReply::kind),
            correlation_header: None,
        })
    }

    /// Sends a token request with these parameters, and reads the reply.
    ///
    /// Redirects are not followed: the request carries the client's secret.
    pub(crate) async fn ask<'a>(
        &self,
        http: &HttpClient,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Grant, TokenError> {
        let request = self.request(parameters)?;
        let (status, headers, body) = http.exchange(request).await.map_err(|error| {
            TokenError::transient(format!(
                "no usable reply from the token endpoint {}",
                self.shown()
            ))
            .caused_by(error)
        })?;
        match read(status, &headers, &body, time::wall()) {
            Reply::Granted(grant) => Ok(grant),
            Reply::Unreadable(what) => {
                Err(self.unexpected(TokenErrorKind::Transient, what, status, &headers))
            }
            Reply::Unusable(what) => {
                Err(self.unexpected(TokenErrorKind::Rejected, what, status, &headers))
            }
            Reply::Refused(error) => Err(self.refusal(error, &headers)),
        }
    }

    fn request<'a>(
        &self,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Request<Bytes>, TokenError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters)
            .extend_pairs(self.client.parameters());
        let mut request = Request::new(Bytes::from(form.finish()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(header::ACCEPT, JSON);
        if let Some(credentials) = self.client.header()? {
            headers.insert(header::AUTHORIZATION, credentials);
        }
        Ok(request)
    }

    fn unexpected(
        &self,
        kind: TokenErrorKind,
        what: &str,
        status: StatusCode,
        headers: &http::HeaderMap,
    ) -> TokenError {
        let (endpoint, correlation) = (self.shown(), self.correlation(headers));
        let message =
            format!("the token endpoint {endpoint} answered {status} with {what}{correlation}");
        TokenError::new(kind, message).replied(status, None)
    }

    fn refusal(&self, reply: ErrorReply, headers: &http::HeaderMap) -> TokenError {
        let kind = (self.classify)(&reply);
        let said = match (&reply.error, &reply.description) {
            (Some(error), Some(description)) => format!("{error} ({description})"),
            (Some(error), None) => error.clone(),
            (None, _) if reply.status.is_redirection() => {
                "a redirect, which is not followed because the request carries a secret".to_owned()
            }
            (None, _) => "no OAuth error".to_owned(),
        };
        let (endpoint, status) = (self.shown(), reply.status);
        let correlation = self.correlation(headers);
        let message = match (kind, reply.error.as_deref()) {
            (TokenErrorKind::Throttled, _) => {
                format!(
                    "the token endpoint {endpoint} asks for a pause: {said}, {status}{correlation}"
                )
            }
            (TokenErrorKind::Rejected, Some("invalid_client")) => format!(
                "the token endpoint {endpoint} does not accept the client `{}`: {said}, {status}\
                 {correlation}; check its id and secret, and that it belongs to this server",
                self.client.id,
            ),
            _ => format!("the token endpoint {endpoint} said no: {said}, {status}{correlation}"),
        };
        let error = match kind {
            TokenErrorKind::Throttled => TokenError::throttled(reply.retry_after, message),
            kind => TokenError::new(kind, message),
        };
        error.replied(status, reply.oauth_error())
    }

    /// The URL as it may be printed: a query may hold anything.
    fn shown(&self) -> impl fmt::Display {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let authority = self.url.authority().map(|authority| authority.as_str());
        format!(
            "{scheme}://{}{}",
            authority.unwrap_or_default(),
            self.url.path()
        )
    }

    /// What the vendor's support will ask for.
    fn correlation(&self, headers: &http::HeaderMap) -> String {
        let value = self
            .correlation_header
            .as_ref()
            .and_then(|name| headers.get(name));
        match value.and_then(|value| value.to_str().ok()) {
            Some(id) => format!(", correlation id {id}"),
            None => String::new(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &format_args!("{}", self.shown()))
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// The user's HTTP client, its types erased.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<dyn Fn(Request<Bytes>) -> Exchange + Send + Sync>);

type Exchange =
    Pin<Box<dyn Future<Output = Result<(StatusCode, http::HeaderMap, Bytes), BoxError>> + Send>>;

impl HttpClient {
    pub(crate) fn new<S, B, R>(service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        // A service need not be `Sync`; the lock is held to clone it, never over a request.
        let service = Mutex::new(service);
        Self(Arc::new(move |request| {
            let service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::pin(async move {
                let response = service
                    .oneshot(request.map(B::from))
                    .await
                    .map_err(Into::into)?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, MAX_REPLY).collect().await?.to_bytes();
                Ok((head.status, head.headers, body))
            })
        }))
    }

    fn exchange(&self, request: Request<Bytes>) -> Exchange {
        (self.0)(request)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Fails if what was granted is less than what the user cannot do without.
///
/// A reply without `scope` grants what was asked for (RFC 6749, section 5.1).
pub(crate) fn require_scopes(
    grant: &Grant,
    requested: Option<&str>,
    required: &[String],
) -> Result<(), TokenError> {
    let granted = grant.scope.as_deref().or(requested).unwrap_or_default();
    let is_missing = |scope: &&String| !granted.split_ascii_whitespace().any(|has| has == *scope);
    let missing: Vec<_> = required
        .iter()
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(TokenError::rejected(format!(
        "the server granted `{granted}`, which lacks the required `{}`",
        missing.join(" ")
    )))
}

/// A secret parameter, or one that is none: neither is ever printed.
pub(crate) type Parameter = (String, Secret);

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A token reply is a few kilobytes; a proxy's page may be more.
const MAX_REPLY: usize = 1024 * 1024;
