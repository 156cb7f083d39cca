//! The simulator behind "Exponential Backoff And Jitter" (AWS, 2015), over this crate's delays.
//!
//! One row with a version, and so many clients that each want to update it once. A client reads the
//! version and writes the row with it. The server accepts the write if nobody else's came between, and
//! else the client backs off and reads again. Each of the four hops of a round takes
//! `|Normal(10, 2)|` ms. There is no limit and no hint here: only what backoff does to contention.

use std::{cmp::Reverse, collections::BinaryHeap, f64::consts::TAU, iter, time::Duration};

use tower_outbound::backoff::{Backoff, Delays, Jitter};

/// What a client does between two tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Reads again at once.
    Nothing,
    Exponential,
    Decorrelated,
    Equal,
    Full,
}

/// Means over the trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    /// Writes, accepted or not.
    pub calls: f64,
    /// Until the last client knows that its write was accepted.
    pub time: Duration,
}

/// So many trials with so many clients. Equal seeds give equal means.
pub fn simulate(policy: Policy, clients: u32, trials: u32, seed: u64) -> Means {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (calls, time) = iter::repeat_with(|| trial(policy, clients, &mut rng))
        .take(trials as usize)
        .fold((0, Duration::ZERO), |(calls, time), trial| {
            (calls + trial.0, time + trial.1)
        });
    Means {
        calls: f64::from(calls) / f64::from(trials),
        time: time / trials,
    }
}

impl Policy {
    /// The simulator counts the delays of a client from 1 and [`Backoff`] from 0: twice the base makes
    /// up for that, except for decorrelated jitter, which does not count.
    fn backoff(self) -> Backoff {
        match self {
            Self::Nothing => Backoff::new(Duration::ZERO, CAP),
            Self::Exponential => Backoff::new(2 * BASE, CAP).jitter(Jitter::None),
            Self::Decorrelated => Backoff::new(BASE, CAP).jitter(Jitter::Decorrelated),
            Self::Equal => Backoff::new(2 * BASE, CAP).jitter(Jitter::Equal),
            Self::Full => Backoff::new(2 * BASE, CAP).jitter(Jitter::Full),
        }
    }
}

/// What reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Read,
    Write { version: u32 },
}

/// The writes and the time of one trial.
fn trial(policy: Policy, clients: u32, rng: &mut fastrand::Rng) -> (u32, Duration) {
    let mut backoffs: Vec<Delays> = (0..clients)
        .map(|_| policy.backoff().delays_from_seed(rng.u64(..)))
        .collect();
    // By the time at which they reach the server; nothing else happens at a time of its own.
    let mut messages: BinaryHeap<_> = (0..backoffs.len())
        .map(|client| Reverse((hop(rng), client, Message::Read)))
        .collect();
    let (mut current, mut calls, mut end) = (0, 0, Duration::ZERO);
    while let Some(Reverse((now, client, message))) = messages.pop() {
        let answered = now + hop(rng);
        let (pause, next) = match message {
            Message::Read => (Duration::ZERO, Message::Write { version: current }),
            Message::Write { version } => {
                calls += 1;
                if version == current {
                    current += 1;
                    end = end.max(answered);
                    continue;
                }
                (backoffs[client].next().unwrap_or(CAP), Message::Read)
            }
        };
        messages.push(Reverse((answered + pause + hop(rng), client, next)));
    }
    (calls, end)
}

/// One way through the network: `|Normal(10, 2)|` ms, by Box and Muller's transform.
fn hop(rng: &mut fastrand::Rng) -> Duration {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (TAU * rng.f64()).cos();
    Duration::from_secs_f64((10.0 + 2.0 * normal).abs() / 1000.0)
}

const BASE: Duration = Duration::from_millis(5);
const CAP: Duration = Duration::from_secs(2);
