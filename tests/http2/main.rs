//! HTTP/2 and HTTP/1.1 over rustls, over sockets: a loopback cloud behind a server that speaks TLS.

mod calls;
#[path = "../../examples/http2_tls/front.rs"]
mod front;
mod going_away;
#[path = "../../examples/http2_tls/tls.rs"]
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower_outbound::{backoff::Backoff, rate_limit_retry::RateLimitRetryLayer};

fn post(url: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::post(url).header("content-type", "application/json");
    request.body(Full::from(body)).unwrap()
}

/// Waits that no server has asked for are as short as they go, for time is real here.
fn quick_retries() -> RateLimitRetryLayer {
    let millisecond = Duration::from_millis(1);
    RateLimitRetryLayer::new().backoff(Backoff::new(millisecond, millisecond))
}
