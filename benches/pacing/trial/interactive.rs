//! One request that somebody waits for, among ten thousand that drain.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use tower_outbound::mark::Priority;

use crate::{
    client::Client,
    model::{
        clock::Clock,
        latency::Latency,
        run::{request, send, virtual_time},
        server::{
            Server, Settings,
            hint::{Fields, Hint},
            quota::Quota,
            weather::Weather,
        },
    },
};

/// How the request fared.
pub struct Turn {
    pub priority: Priority,
    /// Requests that were not done when it came.
    pub waiting: usize,
    /// Of those, how many were done before it.
    pub before: usize,
    pub took: Duration,
    /// `None` if it was not done in time.
    pub ok: Option<bool>,
}

/// It comes after a minute to a client that has ten thousand under way, at 20 requests a second; with a mark
/// that it goes first, or without.
///
/// # Errors
/// There is no runtime to be had.
pub fn run(client: &Client, priority: Priority, seed: u64) -> io::Result<Turn> {
    virtual_time(seed, || wait_for_it(client, priority, seed))
}

async fn wait_for_it(client: &Client, priority: Priority, seed: u64) -> Turn {
    let settings = Settings {
        weather: Weather::fair(Quota::bucket(20, 20)),
        hint: Hint::Exact,
        fields: Fields::None,
        latency: Latency::Constant { millis: 50 },
    };
    let clock = Clock::start();
    let mut service = client.make(Server::new(settings, clock, 1, seed));
    let done = Arc::new(AtomicUsize::new(0));
    let mut queue = JoinSet::new();
    for _ in 0..QUEUED {
        let (mut service, done) = (service.clone(), Arc::clone(&done));
        queue.spawn(async move {
            send(&mut service, request()).await;
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    sleep(COMES_AFTER).await;
    let (done_before, from) = (done.load(Ordering::Relaxed), clock.now());
    let mut marked = request();
    marked.extensions_mut().insert(priority);
    let ok = timeout(LONGEST_WAIT, send(&mut service, marked)).await.ok();
    Turn {
        priority,
        waiting: QUEUED - done_before,
        before: done.load(Ordering::Relaxed) - done_before,
        took: clock.now() - from,
        ok,
    }
}

const QUEUED: usize = 10_000;

const COMES_AFTER: Duration = Duration::from_secs(60);

/// The quota admits ten thousand within 500 s.
const LONGEST_WAIT: Duration = Duration::from_secs(1000);
