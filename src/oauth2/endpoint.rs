use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Body;
use tower::{BoxError, Service};

use super::{
    ClientAuth,
    grant::{AnyGrantType, GrantType},
    http_client::{self, HttpClient},
    parameters::Parameters,
    request::TokenRequest,
    response::{ErrorReply, Reply, read},
};
use crate::{
    origin::{PlainHttp, UrlError, parse_http_url},
    time,
    token::{Answered, Attach, Grant, Rotation, TokenError, TokenErrorKind},
};

/// A token endpoint, and the client that asks there: what all grants have in common.
///
/// See the [module](super) for an example. Clones ask the same server in the same way.
#[derive(Clone)]
pub struct TokenEndpoint {
    url: Uri,
    issuer: Option<String>,
    client_id: String,
    auth: ClientAuth,
    http: HttpClient,
    classify: Arc<ClassifyReply>,
    correlation_header: Option<HeaderName>,
    pub(super) proof: Option<Arc<dyn Prove>>,
    revocation_url: Option<Uri>,
}

type ClassifyReply = dyn Fn(&ErrorReply) -> TokenErrorKind + Send + Sync;

/// Proves with every token request that a key is at hand, so that tokens can be bound to it.
pub(crate) trait Prove: fmt::Debug + Send + Sync {
    /// Adds the proof of one request.
    fn prove(&self, method: &Method, uri: &Uri, headers: &mut HeaderMap) -> Result<(), TokenError>;

    /// Looks at every response of the endpoint.
    fn heard(
        &self,
        uri: &Uri,
        status: StatusCode,
        headers: &HeaderMap,
        error: Option<&str>,
    ) -> Answered;

    /// How the tokens that are bound to the key are sent.
    fn attachment(&self) -> Arc<dyn Attach>;
}

impl TokenEndpoint {
    /// The token endpoint at this URL, for this client, reached through this HTTP client.
    ///
    /// The HTTP client is a bare one: one that itself attaches these tokens would wait for itself.
    /// It must not follow redirects, which would carry the secret along: hyper's client does not, and
    /// reqwest's is told with `redirect(Policy::none())`. Requests have no timeout of their own; the
    /// cache bounds a whole renewal.
    ///
    /// # Errors
    /// If it is not an absolute `https` URL (`http` on loopback), or has a fragment.
    pub fn new<S, B, R>(
        url: &str,
        client_id: impl Into<String>,
        auth: ClientAuth,
        http: S,
    ) -> Result<Self, UrlError>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self::through(url, client_id, auth, HttpClient::new(http))
    }

    pub(crate) fn through(
        url: &str,
        client_id: impl Into<String>,
        auth: ClientAuth,
        http: HttpClient,
    ) -> Result<Self, UrlError> {
        Ok(Self {
            url: parse_http_url(url, PlainHttp::OnLoopback)?,
            issuer: None,
            client_id: client_id.into(),
            auth,
            http,
            classify: Arc::new(ErrorReply::kind),
            correlation_header: None,
            proof: None,
            revocation_url: None,
        })
    }

    /// A source of tokens by this grant.
    pub fn grant(&self, grant: impl GrantType) -> TokenRequest {
        TokenRequest::new(self.clone(), grant)
    }

    /// The issuer identifier of the server, which assertions then are addressed to. By default they
    /// are addressed to the URL of the token endpoint, which every server takes that is older than
    /// the advice to name the issuer.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Where tokens are revoked: see [`revoke`](Self::revoke).
    ///
    /// # Errors
    /// As for the token endpoint.
    pub fn revocation_url(mut self, url: &str) -> Result<Self, UrlError> {
        self.revocation_url = Some(parse_http_url(url, PlainHttp::OnLoopback)?);
        Ok(self)
    }

    /// What an error reply means, where a vendor departs from the standard;
    /// [`ErrorReply::kind`] by default.
    ///
    /// ```
    /// use tower_outbound::{oauth2::TokenEndpoint, token::TokenErrorKind};
    ///
    /// # fn with(endpoint: TokenEndpoint) -> TokenEndpoint {
    /// // A server that says 403 when it is busy.
    /// endpoint.classify_errors(|reply| match reply.status.as_u16() {
    ///     403 => TokenErrorKind::Throttled,
    ///     _ => reply.kind(),
    /// })
    /// # }
    /// ```
    pub fn classify_errors(
        mut self,
        classify: impl Fn(&ErrorReply) -> TokenErrorKind + Send + Sync + 'static,
    ) -> Self {
        self.classify = Arc::new(classify);
        self
    }

    /// The response header with the id that the vendor's support asks for; errors then name it.
    pub fn correlation_header(mut self, name: HeaderName) -> Self {
        self.correlation_header = Some(name);
        self
    }

    /// Whom an assertion for this server is addressed to: its issuer if that is known, otherwise the
    /// URL of the token endpoint.
    pub fn audience(&self) -> String {
        match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => self.url.to_string(),
        }
    }

    /// The client's id.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn revocation(&self) -> Option<&Uri> {
        self.revocation_url.as_ref()
    }

    /// How the tokens of this endpoint are sent, if not as bearer tokens.
    pub(crate) fn attach(&self) -> Option<Arc<dyn Attach>> {
        self.proof.as_ref().map(|proof| proof.attachment())
    }

    /// Asks for a token by this grant, with more parameters.
    ///
    /// Whatever may be sent only once (an assertion, a proof) is made anew when a server wants to see its
    /// nonce in it, which happens once at most.
    pub(crate) async fn ask(
        &self,
        grant: &dyn AnyGrantType,
        more: &Parameters,
    ) -> Result<Grant, TokenError> {
        let mut nonce_was_asked_for = false;
        loop {
            let mut parameters = grant.ask_parameters(self).await?;
            parameters.append(more);
            let reply = self.send(&self.url, parameters).await?;
            let said = read(reply.status, &reply.headers, &reply.body, time::wall());
            if self.asks_for_nonce(&self.url, &reply, &said) && !nonce_was_asked_for {
                nonce_was_asked_for = true;
                continue;
            }
            return self.granted(said, &reply);
        }
    }

    /// Sends a form with the client's authentication.
    pub(crate) async fn send(
        &self,
        url: &Uri,
        mut parameters: Parameters,
    ) -> Result<http_client::Reply, TokenError> {
        let audience = self.audience();
        parameters.append(&self.auth.parameters(&self.client_id, &audience).await?);
        let mut request = Request::new(Bytes::from(parameters.to_form()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(header::ACCEPT, JSON);
        if let Some(credentials) = self.auth.header(&self.client_id)? {
            headers.insert(header::AUTHORIZATION, credentials);
        }
        if let Some(proof) = &self.proof {
            proof.prove(&Method::POST, url, headers)?;
        }
        self.http.exchange(request).await.map_err(|error| {
            TokenError::transient(format!("no usable reply from {}", shown(url))).caused_by(error)
        })
    }

    /// Whether the server wants the same once more, with the nonce that it has just given. Keeps that
    /// nonce in any case.
    pub(crate) fn asks_for_nonce(
        &self,
        url: &Uri,
        reply: &http_client::Reply,
        said: &Reply,
    ) -> bool {
        let Some(proof) = &self.proof else {
            return false;
        };
        let error = match said {
            Reply::Refused(error) => error.error.as_deref(),
            _ => None,
        };
        proof.heard(url, reply.status, &reply.headers, error) == Answered::SendAgain
    }

    fn granted(&self, said: Reply, reply: &http_client::Reply) -> Result<Grant, TokenError> {
        let unusable = |what, rotation| {
            let error = self.unexpected(TokenErrorKind::Rejected, what, reply);
            Err(error.rotated(rotation))
        };
        match said {
            Reply::Granted(grant, token_type) => match (self.attach(), token_type.as_deref()) {
                (None, None) => Ok(grant),
                (None, Some(token_type)) if token_type.eq_ignore_ascii_case("bearer") => Ok(grant),
                // RFC 6749, section 7.1: a token of a type that is not understood is not used.
                (None, Some(_)) => unusable(NOT_BEARER, Rotation::by(grant)),
                (Some(attach), Some(token_type)) if token_type.eq_ignore_ascii_case("dpop") => {
                    Ok(grant.attach(attach))
                }
                // RFC 9449, section 5: such a token is not bound to the key.
                (Some(_), _) => unusable(NOT_DPOP, Rotation::by(grant)),
            },
            Reply::Unusable(what, rotation) => unusable(what, rotation),
            Reply::Unreadable(what) => Err(self.unexpected(TokenErrorKind::Transient, what, reply)),
            Reply::Refused(error) => Err(self.refusal(&self.url, error, &reply.headers)),
        }
    }

    fn unexpected(
        &self,
        kind: TokenErrorKind,
        what: &str,
        reply: &http_client::Reply,
    ) -> TokenError {
        let (endpoint, correlation) = (shown(&self.url), self.correlation(&reply.headers));
        let status = reply.status;
        let message =
            format!("the token endpoint {endpoint} answered {status} with {what}{correlation}");
        TokenError::new(kind, message).replied(status, None)
    }

    pub(crate) fn refusal(&self, url: &Uri, reply: ErrorReply, headers: &HeaderMap) -> TokenError {
        let kind = (self.classify)(&reply);
        let said = match (&reply.error, &reply.description) {
            (Some(error), Some(description)) => format!("{error} ({description})"),
            (Some(error), None) => error.clone(),
            (None, _) if reply.status.is_redirection() => {
                "a redirect, which is not followed because the request carries a secret".to_owned()
            }
            (None, _) => "no OAuth error".to_owned(),
        };
        let (endpoint, status) = (shown(url), reply.status);
        let correlation = self.correlation(headers);
        let message = match (kind, reply.error.as_deref()) {
            (TokenErrorKind::Throttled, _) => {
                format!("{endpoint} asks for a pause: {said}, {status}{correlation}")
            }
            (TokenErrorKind::Rejected, Some("invalid_client")) => format!(
                "{endpoint} does not accept the client `{}`: {said}, {status}{correlation}; check \
                 its id and secret, and that it belongs to this server",
                self.client_id,
            ),
            _ => format!("{endpoint} said no: {said}, {status}{correlation}"),
        };
        let error = match kind {
            TokenErrorKind::Throttled => TokenError::throttled(reply.retry_after, message),
            kind => TokenError::new(kind, message),
        };
        error.replied(status, reply.oauth_error())
    }

    /// What the vendor's support will ask for.
    fn correlation(&self, headers: &HeaderMap) -> String {
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

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &shown(&self.url))
            .field("client_id", &self.client_id)
            .field("auth", &self.auth)
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

/// A URL as it may be printed: a query may hold anything.
pub(crate) fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map(|authority| authority.as_str());
    format!("{scheme}://{}{}", authority.unwrap_or_default(), url.path())
}

const NOT_BEARER: &str = "a token whose `token_type` is not `Bearer`";
const NOT_DPOP: &str = "a token whose `token_type` is not `DPoP`: it is not bound to the key, and \
                        whoever finds it can use it";

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
