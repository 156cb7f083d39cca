//! The retry of `tower-resilience`, which has a package of its own.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Layer;
use tower_resilience_retry::{ExponentialRandomBackoff, Retry, RetryLayer};

use super::{FIRST_BACKOFF, LONGEST_BACKOFF};
use crate::model::server::Server;

/// Its waits depend on the number of attempts alone: it reads no hints.
pub fn retry(
    server: Server,
    attempts: usize,
) -> Retry<Server, Request<Bytes>, Response<Empty<Bytes>>, Infallible> {
    let backoff = ExponentialRandomBackoff::new(FIRST_BACKOFF, 0.5)
        .expect("a half is between 0 and 1")
        .max_interval(LONGEST_BACKOFF);
    RetryLayer::builder()
        .max_attempts(attempts)
        .backoff(backoff)
        .retry_on_response(|response: &Response<_>| {
            matches!(response.status().as_u16(), 429 | 502 | 503)
        })
        .build()
        .layer(server)
}
