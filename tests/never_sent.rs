//! Over real sockets: what a client's own errors say about whether a request was sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    backoff::Backoff,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{Listener, LoopbackCloud, Reply},
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// How often a POST to this address is tried.
async fn tries(uri: String) -> usize {
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new().backoff(Backoff::new(MILLISECOND, MILLISECOND)))
        .map_request(move |request: Request<Full<Bytes>>| {
            counter.fetch_add(1, Ordering::Relaxed);
            request
        })
        .service(Client::builder(TokioExecutor::new()).build_http());
    let request = Request::post(uri).body(Full::from("{}")).unwrap();
    api.oneshot(request).await.unwrap_err();
    count.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_post_that_found_no_connection_is_tried_again() {
    // Bound, so that nobody else gets it, but nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(tries(format!("http://{address}/")).await, 4);
}

#[tokio::test]
async fn a_post_whose_connection_was_cut_is_not() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    cloud.script_forever(Listener::Api, "*", Reply::cut_before_head());
    assert_eq!(tries(format!("{}/x", cloud.api_url())).await, 1);
}
