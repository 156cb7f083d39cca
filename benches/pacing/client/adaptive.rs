//! The AWS clients' adaptive mode: a token bucket in the client, whose rate follows CUBIC.
//!
//! The constants and formulae are those of botocore and the Java client. It is off until the first throttle,
//! knows nothing of `Retry-After`, and sends each request up to eleven times. Their retry quota
//! is left out: with it, most of a job would fail.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::time::sleep;
use tower::{BoxError, Service, ServiceExt};

use super::policy::{full_jitter, may_pass};
use crate::model::{clock::Clock, server::Server};

/// The adaptive client in front of a server; clones share the throttle.
#[derive(Clone)]
pub struct Adaptive {
    server: Server,
    throttle: Arc<Throttle>,
}

struct Throttle {
    clock: Clock,
    cubic: Mutex<Cubic>,
    /// Held by the one whose turn it is to wait for a token.
    turn: tokio::sync::Mutex<()>,
}

impl Adaptive {
    pub fn new(server: Server) -> Self {
        let throttle = Throttle {
            clock: Clock::start(),
            cubic: Mutex::new(Cubic::default()),
            turn: tokio::sync::Mutex::new(()),
        };
        Self {
            server,
            throttle: Arc::new(throttle),
        }
    }
}

impl Service<Request<Bytes>> for Adaptive {
    type Response = Response<Empty<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self {
            mut server,
            throttle,
        } = self.clone();
        Box::pin(async move {
            for retry in 0.. {
                throttle.acquire().await;
                let response = server.ready().await?.call(request.clone()).await?;
                let throttled = response.status() == StatusCode::TOO_MANY_REQUESTS;
                throttle.answered(throttled);
                if retry + 1 == ATTEMPTS || !may_pass(response.status()) {
                    return Ok(response);
                }
                sleep(full_jitter(retry)).await;
            }
            Err("the attempts have no end".into())
        })
    }
}

impl Throttle {
    async fn acquire(&self) {
        let _turn = self.turn.lock().await;
        loop {
            let wait = self.with(|cubic, now| cubic.take(now));
            match wait {
                None => return,
                Some(wait) => sleep(wait).await,
            }
        }
    }

    fn answered(&self, throttled: bool) {
        self.with(|cubic, now| cubic.answered(throttled, now));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Cubic, f64) -> T) -> T {
        let now = self.clock.now().as_secs_f64();
        act(
            &mut self.cubic.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }
}

/// All times in seconds, all rates in requests a second.
#[derive(Debug, Default)]
struct Cubic {
    enabled: bool,
    fill_rate: f64,
    capacity: f64,
    tokens: f64,
    filled_at: f64,
    measured: f64,
    /// Requests in the half second that is being measured, and when it began.
    count: f64,
    measured_at: f64,
    last_max: f64,
    throttled_at: f64,
}

impl Cubic {
    /// `None` if a token was there, or else how long to wait for one.
    fn take(&mut self, now: f64) -> Option<Duration> {
        if !self.enabled {
            return None;
        }
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        // Nearly a whole token would be a wait of nothing, again and again.
        let wait = ((1.0 - self.tokens) / self.fill_rate).max(0.001);
        Some(Duration::from_secs_f64(wait))
    }

    fn answered(&mut self, throttled: bool, now: f64) {
        self.measure(now);
        let rate = if throttled {
            self.last_max = if self.enabled {
                self.measured.min(self.fill_rate)
            } else {
                self.measured
            };
            self.throttled_at = now;
            self.enabled = true;
            BETA * self.last_max
        } else {
            let time_window = (self.last_max * (1.0 - BETA) / SCALE).cbrt();
            let passed = now - self.throttled_at - time_window;
            SCALE * passed.powi(3) + self.last_max
        };
        self.set_rate(rate.min(2.0 * self.measured), now);
    }

    fn measure(&mut self, now: f64) {
        self.count += 1.0;
        let bucket = (now * 2.0).floor() / 2.0;
        if bucket > self.measured_at {
            let rate = self.count / (bucket - self.measured_at);
            self.measured = rate * SMOOTHING + self.measured * (1.0 - SMOOTHING);
            self.count = 0.0;
            self.measured_at = bucket;
        }
    }

    fn set_rate(&mut self, rate: f64, now: f64) {
        self.refill(now);
        self.fill_rate = rate.max(LEAST_RATE);
        self.capacity = rate.max(LEAST_CAPACITY);
        self.tokens = self.tokens.min(self.capacity);
    }

    fn refill(&mut self, now: f64) {
        let grown = self.tokens + (now - self.filled_at) * self.fill_rate;
        self.tokens = grown.min(self.capacity);
        self.filled_at = now;
    }
}

const ATTEMPTS: u32 = 11;

const BETA: f64 = 0.7;
const SCALE: f64 = 0.4;
const SMOOTHING: f64 = 0.8;
const LEAST_RATE: f64 = 0.5;
const LEAST_CAPACITY: f64 = 1.0;
