//! One upstream: where it is, and the stack through which it is called.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    timeout::{Timeout, TimeoutLayer},
};
use tower_outbound::{
    buffer_body::{AboveLimit, BufferBody, BufferBodyLayer, BufferedBody},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    observe::Metrics,
    origin::{Origin, Origins},
    rate_limit_retry::{Pacer, RateLimitRetry, RateLimitRetryLayer, budget::RetryBudget},
    token::{Secret, TokenCache},
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

use super::args::{Settings, value_of};

/// Who this gateway is to an authorization server.
pub(crate) struct Account {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
}

pub(crate) struct Upstream {
    pub(crate) name: Option<String>,
    origin: Uri,
    stack: Stack,
    pub(crate) tokens: TokenCache,
    metrics: Metrics,
    pacer: Arc<Pacer>,
    budget: RetryBudget,
}

type Stack = BufferBody<RateLimitRetry<TokenRefresh<Timeout<HttpClient>>>>;
type HttpClient = Client<HttpsConnector<HttpConnector>, BufferedBody>;

impl Upstream {
    pub(crate) fn new(
        name: Option<&str>,
        origin: &Origin,
        account: Account,
        settings: &Settings,
    ) -> Result<Self, BoxError> {
        let http = http_client();
        let token_url = value_of(&settings.token_urls, name)
            .ok_or("every upstream needs a `--token-url`, with the same name if it has one")?;
        let auth = ClientAuth::basic(account.client_secret);
        let login = TokenEndpoint::new(token_url, account.client_id, auth, http.clone())?;
        let scope = value_of(&settings.scopes, name);
        let grant = login.grant(ClientCredentials);
        let metrics = Metrics::new(name.unwrap_or(NAMELESS));
        let tokens = TokenCache::builder()
            .observer(metrics.clone())
            .build(grant.scope(scope.map_or("", String::as_str)));

        // The token goes to this origin and no other, whatever becomes of a request on the way.
        let origins = Origins::only([origin.to_string()])?;
        let (pacer, budget) = (Arc::new(Pacer::new()), RetryBudget::new());
        let rate_limit_retry = RateLimitRetryLayer::new()
            .pacer(Arc::clone(&pacer))
            .budget(budget.clone())
            .observer(metrics.clone());
        let stack = ServiceBuilder::new()
            .layer(
                BufferBodyLayer::new()
                    .limit(settings.replay_limit)
                    .above_limit(AboveLimit::PassOnce),
            )
            .layer(rate_limit_retry)
            .layer(TokenRefreshLayer::new(tokens.clone(), origins))
            .layer(TimeoutLayer::new(settings.timeout))
            .service(http);
        Ok(Self {
            name: name.map(str::to_owned),
            origin: origin.to_string().parse()?,
            stack,
            tokens,
            metrics,
            pacer,
            budget,
        })
    }

    /// The URI of this target at the upstream: nothing in it can change where that is.
    pub(crate) fn uri(&self, target: PathAndQuery) -> Result<Uri, http::Error> {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = Some(target);
        Ok(Uri::from_parts(parts)?)
    }

    /// Its name in metrics.
    pub(crate) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(NAMELESS)
    }

    /// Sets the gauges to what they are now.
    pub(crate) fn sample(&self) {
        self.metrics.sample_pacer(&self.pacer);
        self.metrics.sample_budget(&self.budget);
    }

    pub(crate) async fn call(
        &self,
        request: Request<axum::body::Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        self.stack.clone().oneshot(request).await
    }
}

fn http_client() -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Long enough for two lost SYNs, which are sent again after 1 s and 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const NAMELESS: &str = "default";
