//! Runs of one client against one server, in virtual time.

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use tokio::{runtime, task::JoinSet, time::timeout};
use tower::{Service, ServiceExt};

use super::{
    clock::Clock,
    figures::{Figures, jain},
    ideal,
    scenario::Scenario,
    server::{Server, tally::PerSecond},
};

/// A job: how many requests, and how many workers drain them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    pub workers: usize,
    pub requests: usize,
}

impl Job {
    /// 3000 requests, or three for each worker where that is more.
    pub fn of(workers: usize) -> Self {
        Self {
            workers,
            requests: (3 * workers).max(3000),
        }
    }
}

/// Lets the workers drain the job through clients made by `client`, one for each process of the scenario.
///
/// The same seed gives the same figures. The thread's own random numbers are seeded, too, as clients use
/// them.
///
/// # Errors
/// There is no runtime to be had.
pub fn run<S, R>(
    scenario: &Scenario,
    job: Job,
    seed: u64,
    client: impl Fn(Server) -> S,
) -> io::Result<Figures>
where
    S: Service<Request<Bytes>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    R: Send,
{
    let ideal = ideal::makespan(scenario, job.workers, job.requests, seed);
    virtual_time(seed, || drain(scenario, job, seed, ideal, client))
}

/// Runs a future on a clock that jumps from timer to timer.
///
/// # Errors
/// There is no runtime to be had.
pub fn virtual_time<F: Future>(seed: u64, future: impl FnOnce() -> F) -> io::Result<F::Output> {
    fastrand::seed(seed);
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(async { future().await }))
}

async fn drain<S, R>(
    scenario: &Scenario,
    job: Job,
    seed: u64,
    ideal: Duration,
    client: impl Fn(Server) -> S,
) -> Figures
where
    S: Service<Request<Bytes>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    R: Send,
{
    let (clock, processes) = (Clock::start(), scenario.processes);
    let server = Server::new(scenario.settings.clone(), clock, processes, seed);
    let log = Arc::new(Mutex::new(Vec::with_capacity(job.requests)));
    let mut workers = JoinSet::new();
    for process in 0..processes {
        let client = client(server.seen_by(process));
        let left = Arc::new(AtomicUsize::new(share(job.requests, processes, process)));
        for _ in 0..share(job.workers, processes, process).max(1) {
            let (mut client, left, log) = (client.clone(), Arc::clone(&left), Arc::clone(&log));
            workers.spawn(async move {
                while take_one(&left) {
                    let from = clock.now();
                    let ok = send(&mut client, request()).await;
                    let end = Done {
                        process,
                        ok,
                        from,
                        at: clock.now(),
                    };
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                }
            });
        }
    }
    let all = async { while workers.join_next().await.is_some() {} };
    // A client that is twenty times too slow is not waited for.
    let _ = timeout(20 * ideal + Duration::from_secs(600), all).await;
    workers.abort_all();

    let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    summary(&log, job, ideal, processes, &server)
}

/// A request, done for good or bad.
struct Done {
    process: usize,
    ok: bool,
    from: Duration,
    at: Duration,
}

fn summary(log: &[Done], job: Job, ideal: Duration, processes: usize, server: &Server) -> Figures {
    let makespan = log.iter().map(|done| done.at).max().unwrap_or_default();
    let (mut ok, mut longest_wait) = (0, Duration::ZERO);
    let mut done_per_second = PerSecond::default();
    let mut at_half_time = vec![0.0; processes];
    for done in log {
        longest_wait = longest_wait.max(done.at - done.from);
        if done.ok {
            ok += 1;
            done_per_second.count(done.at);
            if done.at <= makespan / 2 {
                at_half_time[done.process] += 1.0;
            }
        }
    }
    let mut figures = Figures {
        requests: job.requests,
        ok,
        failed: log.len() - ok,
        unfinished: job.requests - log.len(),
        makespan,
        ideal,
        sent: 0,
        refused: 0,
        refused_at_start: 0,
        unavailable: 0,
        early: 0,
        fairness: jain(&at_half_time),
        longest_wait,
        done_per_second,
        refused_per_second: PerSecond::default(),
        sent_per_second: PerSecond::default(),
    };
    figures.count(&server.tallies());
    figures
}

/// Sends one request; whether it succeeded.
pub async fn send<S, R>(client: &mut S, request: Request<Bytes>) -> bool
where
    S: Service<Request<Bytes>, Response = Response<R>>,
{
    match client.ready().await {
        Ok(ready) => {
            let answer = ready.call(request).await;
            answer.is_ok_and(|response| response.status().is_success())
        }
        Err(_) => false,
    }
}

/// A request that may be sent twice.
pub fn request() -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from_static("https://api.example.com/items");
    request
}

fn take_one(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok()
}

/// The part of the whole that falls to one of so many.
fn share(whole: usize, parts: usize, part: usize) -> usize {
    whole / parts + usize::from(part < whole % parts)
}
