//! Does a server that was down come back, or do the retries keep it down?
//!
//! Requests arrive by themselves, at 70 % of what the server can process, whether or not those before
//! them are done. It is down for 30 s. What is above its capacity it refuses, and a refusal is half of the
//! work of an answer: the retries that an outage leaves behind may then be all that it works on. That state
//! is called metastable (Bronson and others, HotOS 2021): the cause is gone, and it stays.

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
            tally::PerSecond,
            weather::Weather,
        },
    },
};

/// What became of the requests that arrived.
pub struct Storm {
    pub client: &'static str,
    pub arrived: usize,
    pub ok: usize,
    pub failed: usize,
    /// Requests that the server processed, in each second.
    pub goodput: PerSecond,
    /// Requests that it got, in each second.
    pub sent: PerSecond,
}

impl Storm {
    /// The share of what arrives that is processed in the last half minute, two minutes after the outage.
    pub fn goodput_at_end(&self) -> f64 {
        let end = END.as_secs() as usize;
        self.goodput.between(end - 30, end) as f64 / (30.0 * ARRIVING)
    }

    /// How long after the outage the goodput was first, for five seconds, what arrives, or nearly.
    pub fn recovered_after(&self) -> Option<usize> {
        let up = UP.as_secs() as usize;
        let is_well =
            |from: &usize| self.goodput.between(*from, *from + 5) as f64 >= 4.5 * ARRIVING;
        let found = (up..END.as_secs() as usize - 5).find(is_well);
        found.map(|second| second - up)
    }

    /// The most that it got in a second after the outage.
    pub fn worst_second(&self) -> u32 {
        let counts = self.sent.counts().iter().skip(UP.as_secs() as usize);
        counts.max().copied().unwrap_or_default()
    }
}

/// One client in a storm; `hint` is what a 503 says.
///
/// # Errors
/// There is no runtime to be had.
pub fn run(client: &Client, hint: Hint, seed: u64) -> io::Result<Storm> {
    virtual_time(seed, || blow(client, hint, seed))
}

async fn blow(client: &Client, hint: Hint, seed: u64) -> Storm {
    let settings = Settings {
        weather: Weather::fair(Quota::overload(CAPACITY)).down_between(DOWN, UP),
        hint,
        fields: Fields::None,
        latency: Latency::Constant { millis: 50 },
    };
    let clock = Clock::start();
    let server = Server::new(settings, clock, 1, seed);
    let service = client.make(server.clone());
    let mut rng = fastrand::Rng::with_seed(seed);
    let (ok, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (mut callers, mut arrived) = (JoinSet::new(), 0);

    while clock.now() < END {
        let (mut service, ok, failed) = (service.clone(), Arc::clone(&ok), Arc::clone(&failed));
        callers.spawn(async move {
            let count = if send(&mut service, request()).await {
                ok
            } else {
                failed
            };
            count.fetch_add(1, Ordering::Relaxed);
        });
        arrived += 1;
        // What is done is let go of, or all that ever arrived would be kept.
        while callers.try_join_next().is_some() {}
        sleep(Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / ARRIVING)).await;
    }
    let rest = async { while callers.join_next().await.is_some() {} };
    let _ = timeout(Duration::from_millis(100), rest).await;
    let tally = server.tallies().swap_remove(0);
    Storm {
        client: client.name,
        arrived,
        ok: ok.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
        goodput: server.accepted(),
        sent: tally.sent_per_second,
    }
}

/// Requests a second that the server can process.
pub const CAPACITY: u32 = 100;

/// Requests a second that arrive.
pub const ARRIVING: f64 = 70.0;

pub const DOWN: Duration = Duration::from_secs(30);
pub const UP: Duration = Duration::from_secs(60);
pub const END: Duration = Duration::from_secs(210);
