//! Both layers over a loopback cloud, stacked as the preset's users stack them.

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use tokio::task::JoinSet;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_outbound::{
    buffer_body::{BufferErrorBody, BufferErrorBodyLayer},
    oauth2::{AuthorizationCode, ClientAuth, ClientCredentials, LogIn, Login},
    preset::GenesysCloud,
    rate_limit_retry::{RateLimitRetry, RateLimitRetryLayer},
    store::MemoryStore,
    test_util::{
        CLIENT_ID, CLIENT_SECRET, Listener, LoggedRequest, LoopbackCloud, LoopbackCloudBuilder,
        LoopbackConnector,
    },
    token::TokenCache,
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

pub(crate) type Http = Client<LoopbackConnector, Full<Bytes>>;
pub(crate) type Api = RateLimitRetry<TokenRefresh<BufferErrorBody<Http>>>;

/// A response that has been read, or why there is none.
pub(crate) type Answer = Result<Response<Bytes>, BoxError>;

/// A cloud, and what a program that calls it holds.
pub(crate) struct Stack {
    pub(crate) cloud: LoopbackCloud,
    pub(crate) http: Http,
    pub(crate) tokens: TokenCache,
    pub(crate) rate_limit: RateLimitRetryLayer,
    pub(crate) token_refresh: TokenRefreshLayer,
}

impl Stack {
    pub(crate) async fn on_sockets(builder: LoopbackCloudBuilder) -> Self {
        Self::over(builder.start().await.expect("ports are free"))
    }

    pub(crate) fn in_memory(builder: LoopbackCloudBuilder) -> Self {
        Self::over(builder.start_in_memory())
    }

    /// One more program that calls this cloud, with a client, a cache and limits of its own.
    pub(crate) fn over(cloud: LoopbackCloud) -> Self {
        Self::with_secret(cloud, CLIENT_SECRET)
    }

    pub(crate) fn with_secret(cloud: LoopbackCloud, secret: &str) -> Self {
        let genesys =
            GenesysCloud::at(&cloud.token_url(), cloud.api_url()).expect("it is on loopback");
        let http: Http = cloud.client();
        let endpoint = genesys
            .token_endpoint(CLIENT_ID, ClientAuth::basic(secret), http.clone())
            .expect("it is on loopback");
        let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
        Self {
            rate_limit: genesys.rate_limit_retry(),
            token_refresh: genesys.token_refresh(tokens.clone()),
            cloud,
            http,
            tokens,
        }
    }

    /// With the tokens of somebody who has logged in, in place of the program's own.
    pub(crate) async fn logged_in(mut self) -> Self {
        const REDIRECT: &str = "http://127.0.0.1/back";
        let genesys = GenesysCloud::at(&self.cloud.token_url(), self.cloud.api_url())
            .expect("it is on loopback");
        let endpoint = genesys
            .token_endpoint(
                CLIENT_ID,
                ClientAuth::basic(CLIENT_SECRET),
                self.http.clone(),
            )
            .expect("it is on loopback");
        let login = Login::new(endpoint.grant(LogIn), MemoryStore::new());
        let code = self.cloud.issue_code(CLIENT_ID, REDIRECT, None);
        let code = AuthorizationCode::new(code, REDIRECT);
        login.log_in(code).await.expect("the code is good");
        self.tokens = TokenCache::new(login);
        self.token_refresh = genesys.token_refresh(self.tokens.clone());
        self
    }

    pub(crate) fn api(&self) -> Api {
        ServiceBuilder::new()
            .layer(self.rate_limit.clone())
            .layer(self.token_refresh.clone())
            .layer(BufferErrorBodyLayer::new())
            .service(self.http.clone())
    }

    /// After one successful call, from which on everything is counted.
    pub(crate) async fn warmed_up(self) -> Self {
        assert_eq!(self.get("/api/v2/tokens/me").await.status(), 200);
        self.cloud.clear_log();
        self
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> request::Builder {
        let api = self.cloud.api_url();
        Request::builder()
            .method(method)
            .uri(format!("{api}{target}"))
    }

    pub(crate) async fn get(&self, target: &str) -> Response<Bytes> {
        self.send(self.request("GET", target)).await
    }

    /// Sends a request without a body; an error fails the test.
    pub(crate) async fn send(&self, request: request::Builder) -> Response<Bytes> {
        self.send_with(request, "").await
    }

    pub(crate) async fn send_with(
        &self,
        request: request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        send(self.api(), with_body(request, body))
            .await
            .expect("an answer")
    }

    /// So many GETs at once, each in a task of its own.
    pub(crate) fn crowd(&self, size: usize, target: &str) -> JoinSet<Answer> {
        let calls = (0..size).map(|_| send(self.api(), with_body(self.request("GET", target), "")));
        calls.collect()
    }
}

/// Sends one request, and reads the whole answer.
pub(crate) async fn send<S, B, R>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let response = service.oneshot(request).await.map_err(Into::into)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

pub(crate) fn with_body(request: request::Builder, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request
        .body(Full::new(body.into()))
        .expect("a valid request")
}

/// A user, as JSON.
pub(crate) fn user(email: &str) -> String {
    serde_json::json!({"name": "A User", "email": email}).to_string()
}

pub(crate) fn statuses(answers: Vec<Answer>) -> Vec<u16> {
    let statuses = answers.into_iter();
    statuses
        .map(|answer| answer.expect("an answer").status().as_u16())
        .collect()
}

/// What the API server has seen, in the order of arrival.
pub(crate) fn api_log(cloud: &LoopbackCloud) -> Vec<LoggedRequest> {
    let log = cloud.log().into_iter();
    log.filter(|request| request.listener == Listener::Api)
        .collect()
}

/// The token that a request carried.
pub(crate) fn bearer(request: &LoggedRequest) -> &str {
    let header = request.header("authorization").unwrap_or_default();
    header.strip_prefix("Bearer ").unwrap_or(header)
}
