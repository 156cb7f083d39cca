use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

use crate::{
    oauth2::{
        ClientAuth, ErrorReply,
        client_auth::Client,
        endpoint::{Endpoint, HttpClient, Parameter, require_scopes},
    },
    origin::UrlError,
    token::{Cause, Grant, Secret, TokenError, TokenErrorKind, TokenSource},
};

/// The client credentials grant
/// ([RFC 6749, section 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)): a program acts for
/// itself, and renews its token by asking again.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    endpoint: Endpoint,
    scope: Option<String>,
    required_scopes: Vec<String>,
    parameters: Vec<Parameter>,
}

impl ClientCredentials {
    /// Credentials for the token endpoint at this URL.
    ///
    /// # Errors
    /// If it is not an absolute `https` URL (`http` on loopback), or has a fragment.
    pub fn new(
        token_url: &str,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Result<Self, UrlError> {
        let client = Client {
            id: client_id.into(),
            secret: client_secret.into(),
            auth: ClientAuth::default(),
        };
        Ok(Self {
            endpoint: Endpoint::new(token_url, client)?,
            scope: None,
            required_scopes: Vec::new(),
            parameters: Vec::new(),
        })
    }

    /// How id and secret are sent: percent-encoded Basic by default.
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.endpoint.client.auth = auth;
        self
    }

    /// The scopes to ask for, separated by spaces. None by default: the server then grants its own
    /// default. Blank text asks for none, as the standard knows no empty scope.
    pub fn scope(mut self, scope: &str) -> Self {
        let scope = scope.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        self.scope = Some(scope).filter(|scope| !scope.is_empty());
        self
    }

    /// Scopes without which a token is of no use: if one is not granted, there is no token but an
    /// error that names it. None by default.
    pub fn require_scope(mut self, scope: &str) -> Self {
        self.required_scopes
            .extend(scope.split_ascii_whitespace().map(str::to_owned));
        self
    }

    /// One more parameter of the request, such as `audience` or `resource`. Can be repeated.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// What an error reply means, where a vendor departs from the standard;
    /// [`ErrorReply::kind`] by default.
    ///
    /// ```
    /// use tower_outbound::{oauth2::ClientCredentials, token::TokenErrorKind};
    ///
    /// # let (id, secret) = ("id", "secret");
    /// // A server that says 403 when it is busy.
    /// let credentials = ClientCredentials::new("https://login.example.com/token", id, secret)?
    ///     .classify_errors(|reply| match reply.status.as_u16() {
    ///         403 => TokenErrorKind::Throttled,
    ///         _ => reply.kind(),
    ///     });
    /// # Ok::<_, tower_outbound::origin::UrlError>(())
    /// ```
    pub fn classify_errors(
        mut self,
        classify: impl Fn(&ErrorReply) -> TokenErrorKind + Send + Sync + 'static,
    ) -> Self {
        self.endpoint.classify = Arc::new(classify);
        self
    }

    /// The response header with the id that the vendor's support asks for; errors then name it.
    pub fn correlation_header(mut self, name: HeaderName) -> Self {
        self.endpoint.correlation_header = Some(name);
        self
    }

    /// A token source that sends its requests through this client.
    ///
    /// Give it a bare one: a client that itself attaches this source's tokens would wait for itself.
    /// It must not follow redirects, which would carry the secret along: hyper's client does not, and
    /// reqwest's is told with `redirect(Policy::none())`. Requests have no timeout of their own; the
    /// cache bounds a whole renewal.
    pub fn token_source<S, B, R>(self, http: S) -> ClientCredentialsSource
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        ClientCredentialsSource {
            credentials: self,
            http: HttpClient::new(http),
        }
    }
}

/// [`ClientCredentials`] with a client to send them through.
#[derive(Clone, Debug)]
pub struct ClientCredentialsSource {
    credentials: ClientCredentials,
    http: HttpClient,
}

impl TokenSource for ClientCredentialsSource {
    async fn token(&self, _cause: &Cause) -> Result<Grant, TokenError> {
        let ClientCredentials {
            endpoint,
            scope,
            required_scopes,
            parameters,
        } = &self.credentials;
        let extra = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()));
        let form = [("grant_type", "client_credentials")]
            .into_iter()
            .chain(scope.as_deref().map(|scope| ("scope", scope)))
            .chain(extra);
        let grant = endpoint.ask(&self.http, form).await?;
        require_scopes(&grant, scope.as_deref(), required_scopes)?;
        Ok(grant)
    }
}
