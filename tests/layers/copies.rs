//! A request is copied only if the copy may be needed: the last attempt sends the request itself.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_outbound::{
    mark::NoRetry, origin::Origins, rate_limit_retry::RateLimitRetryLayer, replay::ReplayBody,
    token_refresh::TokenRefreshLayer,
};

use crate::probe::tokens;

/// A body that counts how often it is copied.
struct Counted(Arc<AtomicUsize>);

impl ReplayBody for Counted {
    fn try_replay(&self) -> Option<Self> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(&self.0)))
    }
}

fn request(copies: &Arc<AtomicUsize>) -> Request<Counted> {
    Request::get("https://api.example.com/")
        .body(Counted(Arc::clone(copies)))
        .unwrap()
}

/// Answers every request with one status, and counts them.
fn always(
    status: u16,
    sent: &Arc<AtomicUsize>,
) -> impl tower::Service<Request<Counted>, Response = Response<Empty<Bytes>>, Error = Infallible> + Clone
{
    let sent = Arc::clone(sent);
    service_fn(move |_: Request<Counted>| {
        sent.fetch_add(1, Ordering::Relaxed);
        let response = Response::builder()
            .status(status)
            .body(Empty::new())
            .unwrap();
        async { Ok(response) }
    })
}

fn counts(copies: &AtomicUsize, sent: &AtomicUsize) -> (usize, usize) {
    (copies.load(Ordering::Relaxed), sent.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn the_last_retry_is_not_copied() {
    let (copies, sent) = (Arc::default(), Arc::default());
    let layer = RateLimitRetryLayer::new().max_retries(2).max_refusals(0);
    layer
        .layer(always(503, &sent))
        .oneshot(request(&copies))
        .await
        .unwrap();
    assert_eq!(counts(&copies, &sent), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_is_not_copied() {
    let (copies, sent) = (Arc::default(), Arc::default());
    let mut once = request(&copies);
    once.extensions_mut().insert(NoRetry);
    RateLimitRetryLayer::new()
        .layer(always(503, &sent))
        .oneshot(once)
        .await
        .unwrap();
    assert_eq!(counts(&copies, &sent), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_replay_with_a_renewed_token_is_not_copied() {
    let (copies, sent) = (Arc::default(), Arc::default());
    let layer = TokenRefreshLayer::new(tokens(), Origins::any());
    layer
        .layer(always(401, &sent))
        .oneshot(request(&copies))
        .await
        .unwrap();
    assert_eq!(counts(&copies, &sent), (1, 2));
}
