//! Inner services that watch how the layers treat them.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{BoxError, Service};
use tower_outbound::{
    origin::Origins,
    token::{Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

pub type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A service that panics when it is called without being ready, and remembers what it was sent.
///
/// A clone of it is never ready, and readiness that is neither used nor given back is counted.
pub struct Probe {
    shared: Arc<Shared>,
    ready: Option<Grip>,
}

type MakeAnswer = dyn Fn(usize, &Request<Bytes>) -> Answer + Send + Sync;

struct Shared {
    answer: Box<MakeAnswer>,
    latency: Duration,
    sent: Mutex<Vec<Sent>>,
    ready: AtomicUsize,
    calling: AtomicUsize,
    most_calling: AtomicUsize,
}

/// A request as it came.
pub struct Sent {
    pub at: Instant,
    pub request: Request<Bytes>,
}

impl Sent {
    pub fn token(&self) -> Option<&str> {
        self.request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|value| value.to_str().unwrap())
    }
}

impl Probe {
    /// Answers with what a closure makes of the number of the request, from 1, and the request.
    pub fn new(answer: impl Fn(usize, &Request<Bytes>) -> Answer + Send + Sync + 'static) -> Self {
        Self::slow(Duration::from_millis(10), answer)
    }

    pub fn slow(
        latency: Duration,
        answer: impl Fn(usize, &Request<Bytes>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            answer: Box::new(answer),
            latency,
            sent: Mutex::default(),
            ready: AtomicUsize::new(0),
            calling: AtomicUsize::new(0),
            most_calling: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            ready: None,
        }
    }

    /// Answers with these statuses, one after the other, and with 200 after the last.
    pub fn statuses(statuses: &'static [u16]) -> Self {
        Self::new(|count, _| Ok(status(statuses.get(count - 1).copied().unwrap_or(200))))
    }

    pub fn count(&self) -> usize {
        self.shared.sent.lock().unwrap().len()
    }

    /// The requests so far, taken out.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.shared.sent.lock().unwrap())
    }

    /// How much readiness is held, and how many calls are under way.
    pub fn held(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (load(&self.shared.ready), load(&self.shared.calling))
    }

    /// The most calls that were under way at the same time.
    pub fn most_calls(&self) -> usize {
        self.shared.most_calling.load(Ordering::SeqCst)
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            ready: None,
        }
    }
}

impl Service<Request<Bytes>> for Probe {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.is_none() {
            self.ready = Some(Grip::new(&self.shared, |shared| &shared.ready));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        assert!(self.ready.take().is_some(), "called without being ready");
        let shared = Arc::clone(&self.shared);
        let calling = Grip::new(&shared, |shared| &shared.calling);
        let count = shared.calling.load(Ordering::SeqCst);
        shared.most_calling.fetch_max(count, Ordering::SeqCst);
        let mut sent = shared.sent.lock().unwrap();
        let answer = (shared.answer)(sent.len() + 1, &request);
        sent.push(Sent { at: now(), request });
        let latency = shared.latency;
        Box::pin(async move {
            tokio::time::sleep(latency).await;
            drop(calling);
            answer
        })
    }
}

/// Counts one thing up for as long as it lives.
struct Grip {
    shared: Arc<Shared>,
    counter: fn(&Shared) -> &AtomicUsize,
}

impl Grip {
    fn new(shared: &Arc<Shared>, counter: fn(&Shared) -> &AtomicUsize) -> Self {
        counter(shared).fetch_add(1, Ordering::SeqCst);
        Self {
            shared: Arc::clone(shared),
            counter,
        }
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        (self.counter)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

#[allow(clippy::disallowed_methods)] // the tests' only look at the (paused) clock
pub fn now() -> Instant {
    Instant::now()
}

pub fn status(status: u16) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::default())
        .unwrap()
}

pub fn refused(retry_after: &str) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(429)
        .header(header::RETRY_AFTER, retry_after);
    response.body(Full::from("slow down")).unwrap()
}

pub fn get(path: &str) -> Request<Bytes> {
    Request::get(format!("https://api.example.com{path}"))
        .body(Bytes::new())
        .unwrap()
}

pub fn post(body: &'static str) -> Request<Bytes> {
    Request::post("https://api.example.com/users")
        .body(Bytes::from(body))
        .unwrap()
}

/// A cache whose tokens are `token 1`, `token 2`… and take 30 ms each.
pub fn tokens() -> TokenCache {
    let minted = AtomicUsize::new(0);
    TokenCache::new(source_fn(move |_| {
        let count = minted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(Grant::new(format!("token {count}")).expires_in(Duration::from_secs(24 * 3600)))
        }
    }))
}

pub fn token_layer(tokens: &TokenCache) -> TokenRefreshLayer {
    let origins = Origins::only(["https://api.example.com"]).unwrap();
    TokenRefreshLayer::new(tokens.clone(), origins)
}

/// Answers 401 to every token up to this generation.
pub fn refusing_up_to(generation: u64) -> Probe {
    Probe::new(move |_, request| {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        let number: u64 = token
            .strip_prefix("Bearer token ")
            .unwrap()
            .parse()
            .unwrap();
        Ok(status(if number <= generation { 401 } else { 200 }))
    })
}
