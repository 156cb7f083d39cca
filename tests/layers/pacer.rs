//! The pacer, as its users see it: who is held, in which order they go, and what a drop leaves behind.

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
use futures_util::future::join_all;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tower::{BoxError, Layer, ServiceExt};
use tower_outbound::{
    mark::LimitKey,
    rate_limit_retry::{
        LimitSnapshot, Pacer, RateLimitRetry, RateLimitRetryLayer, RateLimited, Reason,
    },
};

use crate::probe::{Answer, Probe, get, now, refused, status};

mod cost;
mod drops;
mod fields;
mod limits;
mod order;
mod spent;
mod state;

type Api = RateLimitRetry<Probe>;
type Call = JoinHandle<Answer>;

const SECOND: Duration = Duration::from_secs(1);
/// How long a [`Probe`] takes.
const LATENCY: Duration = Duration::from_millis(10);

/// A layer whose limit keys are the paths' first letters, and its pacer.
fn paced(pacer: Pacer, probe: &Probe) -> (Api, Arc<Pacer>) {
    let pacer = Arc::new(pacer);
    let layer = RateLimitRetryLayer::new()
        .pacer(Arc::clone(&pacer))
        .limit_key(|head| LimitKey::new(&head.uri.path()[1..2]));
    (layer.layer(probe.clone()), pacer)
}

fn send(api: &Api, request: Request<Bytes>) -> Call {
    spawn(api.clone().oneshot(request))
}

fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(Counted::new(future, &Arc::default()))
}

/// Requests of one key, numbered.
fn send_all(api: &Api, numbers: impl IntoIterator<Item = usize>) -> Vec<Call> {
    let requests = numbers.into_iter().map(numbered);
    requests.map(|request| send(api, request)).collect()
}

fn numbered(number: usize) -> Request<Bytes> {
    get(&format!("/a/{number}"))
}

fn marked<M: Clone + Send + Sync + 'static>(
    mut request: Request<Bytes>,
    mark: M,
) -> Request<Bytes> {
    request.extensions_mut().insert(mark);
    request
}

/// What comes of a future, but no waiting for ever.
async fn in_time<F: Future>(future: F) -> F::Output {
    let day = Duration::from_secs(24 * 3600);
    timeout(day, future)
        .await
        .expect("it never comes to an end")
}

async fn served(call: Call) -> Response<Full<Bytes>> {
    let response = in_time(call).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn all_served(calls: impl IntoIterator<Item = Call>) {
    join_all(calls.into_iter().map(served)).await;
}

/// Why a request was not sent.
async fn failed(call: Call) -> RateLimited {
    let error = in_time(call).await.unwrap().unwrap_err();
    RateLimited::find(&*error).expect("another error").clone()
}

/// Refuses so many requests at first.
fn refusing(first: usize, hint: &'static str) -> Probe {
    Probe::new(move |count, _| {
        Ok(match count <= first {
            true => refused(hint),
            false => status(200),
        })
    })
}

fn with_field(
    mut response: Response<Full<Bytes>>,
    name: &'static str,
    value: &'static str,
) -> Response<Full<Bytes>> {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

/// The numbers of the requests that were sent, in order, and when.
fn numbers(probe: &Probe) -> Vec<(usize, Instant)> {
    let sent = probe.take_sent();
    let numbers = sent.iter().map(|sent| {
        let number = sent.request.uri().path().rsplit('/').next().unwrap();
        (number.parse().unwrap(), sent.at)
    });
    numbers.collect()
}

fn order(probe: &Probe) -> Vec<usize> {
    let numbers = numbers(probe);
    numbers.into_iter().map(|(number, _)| number).collect()
}

/// When requests were sent, after a start.
fn times(probe: &Probe, start: Instant) -> Vec<Duration> {
    let sent = probe.take_sent();
    sent.iter().map(|sent| sent.at - start).collect()
}

fn only(pacer: &Pacer) -> LimitSnapshot {
    let [limit] = pacer.snapshot().try_into().expect("one limit");
    limit
}

fn assert_idle(pacer: &Pacer) {
    for limit in pacer.snapshot() {
        assert_eq!((limit.waiting, limit.under_way), (0, 0), "{limit}");
    }
}

/// A token bucket that says nothing of itself.
fn bucket(rate: f64, burst: f64) -> impl Fn(usize, &Request<Bytes>) -> Answer + Send + Sync {
    let level = Mutex::new((burst, None));
    move |_, _| {
        let mut level = level.lock().unwrap();
        let before = level.1.replace(now()).unwrap_or_else(now);
        level.0 = burst.min(level.0 + before.elapsed().as_secs_f64() * rate);
        if level.0 < 1.0 {
            return Ok(status(429));
        }
        level.0 -= 1.0;
        Ok(status(200))
    }
}

/// Counts how often a future is polled, and ends one that spins: under paused time it would stop the
/// clock.
struct Counted<F> {
    future: Pin<Box<F>>,
    own: usize,
    polls: Arc<AtomicUsize>,
}

impl<F> Counted<F> {
    fn new(future: F, polls: &Arc<AtomicUsize>) -> Self {
        Self {
            future: Box::pin(future),
            own: 0,
            polls: Arc::clone(polls),
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.own += 1;
        assert!(self.own < 1000, "it spins");
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.future.as_mut().poll(cx)
    }
}

fn assert_reason(error: &RateLimited, reason: Reason, retry_at: Instant) {
    assert_eq!(error.reason(), reason);
    let off = error.retry_at().max(retry_at) - error.retry_at().min(retry_at);
    assert!(off <= Duration::from_millis(2), "{error}: off by {off:?}");
}

fn error(text: &'static str) -> Answer {
    Err(BoxError::from(text))
}
