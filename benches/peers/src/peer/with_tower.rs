//! tower's `Retry`, with the policies that its documentation shows how to write.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::RETRY_AFTER};
use http_body_util::Empty;
use tokio::time::{Sleep, sleep};
use tower::{
    retry::{
        Policy, Retry,
        backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
    },
    util::rng::HasherRng,
};

use super::{FIRST_BACKOFF, LONGEST_BACKOFF};
use crate::model::server::Server;

/// So many retries after waits that grow, or as the server asks.
pub fn retry(server: Server, retries: u32, hints: Hints) -> Retry<Attempts, Server> {
    let attempts = Attempts {
        left: retries,
        hints,
        backoff: None,
    };
    Retry::new(attempts, server)
}

#[derive(Clone, Copy, PartialEq)]
pub enum Hints {
    Ignored,
    Honoured,
}

/// A clone of it is made for each request.
#[derive(Clone)]
pub struct Attempts {
    left: u32,
    hints: Hints,
    /// Made at the first failure: clones of one maker, or of one backoff, all draw the same jitter.
    backoff: Option<ExponentialBackoff>,
}

type Answer = Result<Response<Empty<Bytes>>, Infallible>;

impl Policy<Request<Bytes>, Response<Empty<Bytes>>, Infallible> for Attempts {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Request<Bytes>, answer: &mut Answer) -> Option<Sleep> {
        let response = answer.as_ref().ok()?;
        if !matches!(response.status().as_u16(), 429 | 502 | 503) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let hint = seconds(response).filter(|_| self.hints == Hints::Honoured);
        match hint {
            Some(hint) => Some(sleep(hint)),
            None => Some(self.backoff.get_or_insert_with(backoff).next_backoff()),
        }
    }

    fn clone_request(&mut self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        Some(request.clone())
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBackoffMaker::new(FIRST_BACKOFF, LONGEST_BACKOFF, 0.99, HasherRng::default())
        .expect("the bounds are in order")
        .make_backoff()
}

fn seconds<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}
