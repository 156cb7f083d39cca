//! tower's contract: ready before every call, and nothing held while waiting.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{sleep, timeout};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer,
    limit::ConcurrencyLimitLayer,
};
use tower_outbound::{
    buffer_body::{BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    origin::Origins,
    rate_limit_retry::RateLimitRetryLayer,
    token_refresh::TokenRefreshLayer,
};

use crate::probe::{self, Probe, get, refusing_up_to, status, token_layer, tokens};

const SECOND: Duration = Duration::from_secs(1);

/// Every way a request can go: attempts, and what they come back with.
const WAYS: [&[u16]; 9] = [
    &[200],
    &[401, 200],
    &[401, 401],
    &[429, 200],
    &[503, 503, 200],
    &[401, 429, 200],
    &[429, 401, 200],
    &[421, 200],
    &[500],
];

#[tokio::test(start_paused = true)]
async fn an_inner_service_is_ready_whenever_it_is_called() {
    for way in WAYS {
        let probe = Probe::statuses(way);
        let api = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer(&tokens()))
            .layer(BufferErrorBodyLayer::new())
            .service(probe.clone());
        api.oneshot(get("/")).await.unwrap();
        assert_eq!(probe.count(), way.len(), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_used_again_is_ready_whenever_it_is_called() {
    let probe = refusing_up_to(3);
    let mut api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens()))
        .service(probe.clone());
    for _ in 0..5 {
        api.ready().await.unwrap().call(get("/")).await.unwrap();
        sleep(2 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_layers_call_only_what_is_ready() {
    let probe = Probe::statuses(&[200, 500, 200]);
    let inner = probe
        .clone()
        .map_request(|request: Request<BufferedBody>| request.map(|_| Bytes::new()));
    let api = ServiceBuilder::new()
        .layer(BufferBodyLayer::new())
        .layer(BufferErrorBodyLayer::new())
        .service(inner);
    for _ in 0..3 {
        // A body that is not there at once makes the layer wait for it.
        let body = http_body_util::StreamBody::new(futures_util::stream::once(async {
            sleep(SECOND).await;
            Ok::<_, BoxError>(http_body::Frame::data(Bytes::from("late")))
        }));
        let request = get("/").map(|_| http_body_util::BodyExt::boxed_unsync(body));
        api.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_given_back_before_every_wait() {
    // Waits for the first token, for a renewal, for a pause, and for a closed limit.
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1 => status(401),
            2 => probe::refused("10"),
            _ => status(200),
        })
    });
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens()))
        .service(probe.clone());
    let one = tokio::spawn(api.clone().oneshot(get("/")));
    let other = tokio::spawn(async move {
        sleep(2 * SECOND).await;
        api.oneshot(get("/")).await
    });
    let mut waits = 0;
    while !one.is_finished() || !other.is_finished() {
        sleep(Duration::from_millis(7)).await;
        let (ready, calling) = probe.held();
        assert_eq!(ready, 0, "readiness is held though nothing is being sent");
        waits += usize::from(calling == 0);
    }
    assert!(waits > 100, "nothing waited: {waits}");
    assert_eq!(probe.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_permit_below_is_enough() {
    for way in WAYS {
        let probe = Probe::statuses(way);
        let api = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer(&tokens()))
            .layer(ConcurrencyLimitLayer::new(1))
            .service(probe.clone());
        let calls = join_all((0..3).map(|_| api.clone().oneshot(get("/"))));
        let answers = timeout(600 * SECOND, calls).await.expect("deadlock");
        assert!(answers.iter().all(Result::is_ok));
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffer_of_one_below_is_enough() {
    for way in WAYS {
        let probe = Probe::statuses(way);
        let api = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer(&tokens()))
            .layer(BufferLayer::new(1))
            .service(probe.clone());
        let calls = join_all((0..3).map(|_| api.clone().oneshot(get("/"))));
        let answers = timeout(600 * SECOND, calls).await.expect("deadlock");
        assert!(answers.iter().all(Result::is_ok));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_request_proceeds_while_the_first_one_backs_off() {
    let probe = Probe::new(|_, request| {
        Ok(status(if request.uri().path() == "/broken" {
            503
        } else {
            200
        }))
    });
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new().backoff(
            tower_outbound::backoff::Backoff::new(10 * SECOND, 10 * SECOND).at_least(10 * SECOND),
        ))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(probe);
    let broken = tokio::spawn(api.clone().oneshot(get("/broken")));
    sleep(SECOND).await;
    let start = probe::now();
    assert_eq!(api.oneshot(get("/fine")).await.unwrap().status(), 200);
    assert!(start.elapsed() < SECOND);
    assert_eq!(broken.await.unwrap().unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_second_request_proceeds_while_the_first_one_renews() {
    let probe = Probe::new(|count, _| Ok(status(if count == 1 { 401 } else { 200 })));
    let slow =
        tower_outbound::token::TokenCache::new(tower_outbound::token::source_fn(|_| async {
            sleep(5 * SECOND).await;
            Ok(tower_outbound::token::Grant::new(format!(
                "{:?}",
                probe::now()
            )))
        }));
    let below = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(probe);
    let layer = TokenRefreshLayer::new(slow, Origins::any());
    let first = tokio::spawn(
        ServiceBuilder::new()
            .layer(layer)
            .service(below.clone())
            .oneshot(get("/")),
    );
    sleep(7 * SECOND).await;
    let start = probe::now();
    below.oneshot(get("/")).await.unwrap();
    assert!(start.elapsed() < SECOND);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

/// Neither layer asks its inner service to be `Send`, `Unpin` or to live long.
#[tokio::test(start_paused = true)]
async fn an_inner_service_need_not_be_send_or_static() {
    let text = std::cell::Cell::new(0);
    let borrowed = tower::service_fn(|_: Request<Bytes>| {
        let text = &text;
        async move {
            let _not_unpin = std::marker::PhantomPinned;
            text.set(text.get() + 1);
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
        }
    });
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens()))
        .service(borrowed);
    api.oneshot(get("/")).await.unwrap();
    assert_eq!(text.get(), 1);
}
