//! What it costs to wait for a limit: ten thousand requests, and a hundred thousand, before one closed key.
//!
//! `cargo bench --bench queue` prints heap bytes, allocations and polls per request. The time of a release
//! is told only as the ratio between the two crowds in one run, so nothing here depends on how fast the
//! machine is. Time is tokio's, paused.

use std::{
    alloc::System,
    cell::Cell,
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{
    runtime,
    task::unconstrained,
    time::{sleep, timeout},
};
use tower::{Layer, Service, service_fn};
use tower_outbound::rate_limit_retry::{Pacer, Quota, RateLimitRetryLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How the crowd is let go once the key is open.
type MakePacer = fn() -> Pacer;

const RELEASES: [(&str, MakePacer); 4] = [
    ("all at once", || Pacer::new().without_learning()),
    ("with each answer", || {
        Pacer::new().without_learning().concurrency(100)
    }),
    ("one by one, by the clock", || {
        let quota = Quota::per_second(500).burst(1);
        Pacer::new().without_learning().quota(quota)
    }),
    ("as it learns", Pacer::new),
];

const FEW: usize = 10_000;
const MANY: usize = 100_000;
/// The fastest of so many runs.
const RUNS: usize = 3;

fn main() -> Result<(), std::io::Error> {
    println!(
        "| released | waiting | heap B | allocations to wait | to go | polls | time of a release |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (name, pacer) in RELEASES {
        let few = fastest(FEW, pacer)?;
        let many = fastest(MANY, pacer)?;
        for (cost, ratio) in [(&few, 1.0), (&many, many.seconds / few.seconds)] {
            println!(
                "| {name} | {} | {:.0} | {:.2} | {:.2} | {:.2} | × {ratio:.2} |",
                cost.waiting, cost.bytes, cost.allocations, cost.more_allocations, cost.polls
            );
        }
    }
    Ok(())
}

/// Of one request, on average.
struct Cost {
    waiting: usize,
    /// On the heap, while it waits; its own future not counted.
    bytes: f64,
    /// Made until it waits.
    allocations: f64,
    /// Made from then on, beyond those of a request that meets no limit.
    more_allocations: f64,
    polls: f64,
    /// Of the release alone.
    seconds: f64,
}

fn fastest(waiting: usize, pacer: fn() -> Pacer) -> Result<Cost, std::io::Error> {
    let mut best = crowd(waiting, pacer)?;
    for _ in 1..RUNS {
        let other = crowd(waiting, pacer)?;
        best.seconds = best.seconds.min(other.seconds);
    }
    Ok(best)
}

fn crowd(waiting: usize, pacer: fn() -> Pacer) -> Result<Cost, std::io::Error> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(unconstrained(async {
        let (polls, refuse) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let layer = RateLimitRetryLayer::new().pacer(pacer());
        let open = RateLimitRetryLayer::new();
        let [mut open, mut api] = [open, layer].map(|layer| {
            let server = server(Rc::clone(&refuse));
            layer.layer(service_fn(server))
        });
        let call = |api: &mut _| Counted::new(call(api), &polls);

        // What it costs where there is no limit is taken off below.
        let mut crowd = FuturesUnordered::new();
        (0..FEW).for_each(|_| crowd.push(call(&mut open)));
        let region = Region::new(ALLOCATOR);
        while crowd.next().await.is_some() {}
        let unlimited = region.change().allocations as f64 / FEW as f64;

        // The first is refused, and closes the key.
        refuse.set(true);
        crowd.push(call(&mut api));
        let _ = timeout(Duration::from_secs(1), crowd.next()).await;

        (0..waiting).for_each(|_| crowd.push(call(&mut api)));
        polls.set(0);
        let region = Region::new(ALLOCATOR);
        let _ = timeout(Duration::from_secs(1), crowd.next()).await;
        let lined_up = region.change();
        assert_eq!(polls.get(), waiting, "each is polled once, and waits");

        let (region, start) = (Region::new(ALLOCATOR), clock());
        while crowd.next().await.is_some() {}
        let seconds = start.elapsed().as_secs_f64();
        let released = region.change();

        let each = |count: usize| count as f64 / waiting as f64;
        Cost {
            waiting,
            bytes: each(lined_up.bytes_allocated - lined_up.bytes_deallocated),
            allocations: each(lined_up.allocations),
            more_allocations: each(released.allocations) - unlimited,
            polls: each(polls.get()),
            seconds: seconds / waiting as f64,
        }
    })))
}

type Answer = Result<Response<Empty<Bytes>>, Infallible>;

/// A server that takes 10 ms, and refuses one request for half a minute when it is told to.
fn server(
    refuse: Rc<Cell<bool>>,
) -> impl Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer>>> + Clone {
    move |_| {
        let refuse = refuse.take();
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            let mut response = Response::new(Empty::new());
            if refuse {
                *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                let half_a_minute = header::HeaderValue::from_static("30");
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, half_a_minute);
            }
            Ok(response)
        })
    }
}

/// A request whose copy costs nothing, so that what is counted is the waiting.
fn call<S: Service<Request<Bytes>>>(api: &mut S) -> S::Future {
    let mut request = Request::new(Bytes::from_static(b"{}"));
    *request.uri_mut() = Uri::from_static("https://api.example.com/users");
    let ready = api.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(ready.is_ready());
    api.call(request)
}

/// Counts how often a future is polled.
struct Counted<F> {
    future: Pin<Box<F>>,
    polls: Rc<Cell<usize>>,
}

impl<F> Counted<F> {
    fn new(future: F, polls: &Rc<Cell<usize>>) -> Self {
        Self {
            future: Box::pin(future),
            polls: Rc::clone(polls),
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        self.future.as_mut().poll(cx)
    }
}

/// Real time, which tokio's is not here.
#[allow(clippy::disallowed_methods)]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}
