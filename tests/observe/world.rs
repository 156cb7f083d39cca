//! Both layers over the cloud of this machine, with whoever observes them.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use tokio::time::sleep;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials, LogIn, Login, TokenEndpoint},
    observe::Observer,
    origin::Origins,
    preset::GenesysCloud,
    rate_limit_retry::{Pacer, RateLimitRetry, RateLimitRetryLayer, budget::RetryBudget},
    store::{Lease, MemoryStore, Session, StoreError, Stored, Swap, TokenStore, Version},
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackConnector, Reply},
    token::TokenCache,
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

pub(crate) struct World {
    pub(crate) cloud: LoopbackCloud,
    pub(crate) tokens: TokenCache,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) budget: RetryBudget,
    api: Api,
}

type Api = RateLimitRetry<TokenRefresh<Client<LoopbackConnector, Full<Bytes>>>>;

impl World {
    pub(crate) fn new(observer: impl Observer + Clone) -> Self {
        let cloud = LoopbackCloud::builder()
            .configure(|knobs| knobs.quota = None)
            .start_in_memory();
        let http = cloud.client::<Full<Bytes>>();
        let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).unwrap();
        let endpoint = genesys
            .token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())
            .unwrap();
        let tokens = TokenCache::builder()
            .observer(observer.clone())
            .build(endpoint.grant(ClientCredentials));
        let (pacer, budget) = (Arc::new(Pacer::new()), RetryBudget::new().per_second(1));
        let origins = Origins::only([cloud.api_url()]).unwrap();
        let api = ServiceBuilder::new()
            .layer(
                RateLimitRetryLayer::new()
                    .pacer(Arc::clone(&pacer))
                    .budget(budget.clone())
                    .observer(observer),
            )
            .layer(TokenRefreshLayer::new(tokens.clone(), origins))
            .service(http);
        Self {
            cloud,
            tokens,
            pacer,
            budget,
            api,
        }
    }

    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.cloud.script(Listener::Api, "*", replies);
    }

    pub(crate) fn request(&self, method: &str) -> Request<Full<Bytes>> {
        let uri = format!("{}/api/v2/users?key=hunter2", self.cloud.api_url());
        let request = Request::builder().method(method).uri(uri);
        request.body(Full::default()).unwrap()
    }

    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        self.api.clone().oneshot(request).await
    }

    pub(crate) async fn get(&self) -> StatusCode {
        self.call(self.request("GET")).await.unwrap().status()
    }
}

/// A login whose disk is full when the first token comes.
pub(crate) struct UnluckyLogin {
    cloud: LoopbackCloud,
    tokens: TokenCache,
}

impl UnluckyLogin {
    pub(crate) async fn new(observer: impl Observer) -> Self {
        let cloud = LoopbackCloud::builder()
            .configure(|knobs| knobs.rotate_refresh = true)
            .start_in_memory();
        let (auth, http) = (
            ClientAuth::basic(CLIENT_SECRET),
            cloud.client::<Full<Bytes>>(),
        );
        let endpoint = TokenEndpoint::new(&cloud.token_url(), CLIENT_ID, auth, http).unwrap();
        let store = MemoryStore::new();
        let session = Session::new(cloud.issue_refresh_token(CLIENT_ID).as_str());
        let empty = store.load().await.unwrap().version;
        let written = store.swap(empty, &session).await.unwrap();
        assert!(matches!(written, Swap::Written(_)));
        // That the refresh token is about to be spent can be written; what comes for it cannot.
        let store = FullDisk {
            store,
            writes: AtomicUsize::new(0),
            full: 1..3,
        };
        let login = Login::new(endpoint.grant(LogIn), store).observer(observer);
        let tokens = TokenCache::new(login);
        Self { cloud, tokens }
    }

    pub(crate) async fn get_a_token_that_cannot_be_stored(&self) {
        self.tokens.token().await.unwrap();
    }

    pub(crate) async fn end(&self) {
        let replies = [Reply::invalid_grant()];
        self.cloud.script(Listener::Login, "*", replies);
        sleep(Duration::from_secs(2)).await;
        self.tokens.renew().await.unwrap_err();
    }
}

/// A store whose disk is full for some of its writes.
struct FullDisk {
    store: MemoryStore,
    writes: AtomicUsize,
    full: Range<usize>,
}

impl TokenStore for FullDisk {
    async fn load(&self) -> Result<Stored, StoreError> {
        self.store.load().await
    }

    async fn swap(&self, expected: Version, session: &Session) -> Result<Swap, StoreError> {
        if self
            .full
            .contains(&self.writes.fetch_add(1, Ordering::Relaxed))
        {
            return Err(StoreError::new("the disk is full"));
        }
        self.store.swap(expected, session).await
    }

    async fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
        self.store.lease(bound).await
    }
}
