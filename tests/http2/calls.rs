use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use h2::Reason;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials},
    outcome::Outcome,
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetry,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Quota, Scope},
    token::TokenCache,
    token_refresh::TokenRefresh,
};

use crate::{
    front::Front,
    post, quick_retries,
    tls::{HttpClient, Offer},
};

struct World {
    cloud: LoopbackCloud,
    front: Front,
    api: RateLimitRetry<TokenRefresh<HttpClient>>,
}

impl World {
    async fn new(offer: Offer) -> Self {
        let cloud = LoopbackCloud::builder().start_in_memory();
        let front = Front::start(&cloud).await.unwrap();
        let http = front.client(offer).unwrap();
        let genesys = GenesysCloud::at(&front.token_url(), front.url()).unwrap();
        let endpoint =
            genesys.token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone());
        let tokens = TokenCache::new(endpoint.unwrap().grant(ClientCredentials));
        let api = ServiceBuilder::new()
            .layer(quick_retries())
            .layer(genesys.token_refresh(tokens))
            .service(http);
        Self { cloud, front, api }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.front.url())
    }

    /// The status and version of the answer, which is read to its end, and what the layers did.
    async fn call(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Version, Outcome), BoxError> {
        let response = self.api.clone().oneshot(request).await?;
        let (status, version) = (response.status(), response.version());
        let outcome = Outcome::of(&response);
        response.into_body().collect().await?;
        Ok((status, version, outcome))
    }

    async fn get(&self) -> (StatusCode, Version, Outcome) {
        let request = Request::get(self.url("/api/v2/tokens/me")).body(Full::default());
        self.call(request.unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn fifty_calls_whose_token_dies_under_way_are_replayed_on_the_one_connection() {
    let world = World::new(Offer::Http1AndHttp2).await;
    let gate = world.cloud.gate(Listener::Api, "GET /api/v2/tokens/me");
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| world.get())), async {
        gate.arrived(50).await;
        world.cloud.revoke_all();
        gate.release();
    });
    for (status, version, outcome) in answers {
        assert_eq!((status, version), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(outcome.token_replays, 1);
    }
    assert_eq!((world.cloud.api_calls(), world.cloud.mints()), (100, 2));
    assert_eq!(world.front.connections(), 1);
}

#[tokio::test]
async fn over_http1_a_token_that_dies_is_renewed_and_the_call_replayed() {
    let world = World::new(Offer::Http1).await;
    world.get().await;
    world.cloud.revoke_all();
    let (status, version, outcome) = world.get().await;
    assert_eq!((status, version), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(outcome.token_replays, 1);
    assert_eq!((world.cloud.api_calls(), world.cloud.mints()), (3, 2));
    // The answer that refused it is held on one, while the login is made on another.
    assert!(world.front.connections() <= 2);
}

#[tokio::test]
async fn a_post_whose_stream_was_refused_is_sent_again_and_runs_once() {
    let world = World::new(Offer::Http1AndHttp2).await;
    world.get().await;
    let users = world.cloud.users().len();
    world.front.reset(2, Reason::REFUSED_STREAM);
    let user = r#"{"name": "Ada", "email": "ada@example.com"}"#;
    let request = post(&world.url("/api/v2/users"), user);
    let (status, _, outcome) = world.call(request).await.unwrap();
    assert_eq!((status, outcome.resends), (StatusCode::OK, 2));
    assert_eq!(world.cloud.users().len(), users + 1);
    assert_eq!(world.front.connections(), 1);
}

#[tokio::test]
async fn a_post_whose_stream_was_cancelled_fails_and_a_get_is_sent_again() {
    let world = World::new(Offer::Http1AndHttp2).await;
    world.get().await;
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        world.cloud.clear_log();
        world.front.reset(1, reason);
        let request = post(&world.url("/api/v2/users"), "{}");
        world.call(request).await.unwrap_err();
        assert_eq!(world.cloud.api_calls(), 0, "{reason}");

        world.front.reset(1, reason);
        let (status, _, outcome) = world.get().await;
        assert_eq!((status, outcome.resends), (StatusCode::OK, 1), "{reason}");
    }
}

#[tokio::test]
async fn a_limit_is_kept_by_all_streams_of_a_connection() {
    let world = World::new(Offer::Http1AndHttp2).await;
    world.cloud.configure(|knobs| {
        knobs.quota = Some(Quota {
            requests: 20,
            window: Duration::from_secs(1),
            per: Scope::Client,
        });
    });
    // A call that is refused is held until the window has ended, and the next ones with it.
    const AT_A_TIME: usize = 6;
    let calls = stream::iter(0..60).map(|_| async { Ok::<_, BoxError>(world.get().await) });
    let answers: Vec<_> = calls
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
        .unwrap();
    assert!(answers.iter().all(|(status, ..)| *status == StatusCode::OK));
    let refusals: u32 = answers.iter().map(|(.., outcome)| outcome.refusals).sum();
    assert!((1..=3 * AT_A_TIME as u32).contains(&refusals), "{refusals}");
    assert_eq!(world.cloud.api_calls(), 60 + refusals as usize);
    assert_eq!(world.front.connections(), 1);
}

#[tokio::test]
async fn fifty_calls_on_a_cold_client_need_one_connection_if_it_offers_nothing_but_http2() {
    for (offer, is_one) in [(Offer::Http1AndHttp2, false), (Offer::Http2, true)] {
        let cloud = LoopbackCloud::builder().start_in_memory();
        cloud.configure(|knobs| knobs.require_token = false);
        let front = Front::start(&cloud).await.unwrap();
        let http = front.client(offer).unwrap();
        let url: http::Uri = format!("{}/api/v2/users", front.url()).parse().unwrap();
        let calls = (0..50).map(|_| http.get(url.clone()));
        try_join_all(calls).await.unwrap();
        assert_eq!(front.connections() == 1, is_one, "{offer:?}");
    }
}
