//! The least time that a job can take: a client that knows when the server will admit the next request, and
//! is never refused.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::{clock::whole_millis, scenario::Scenario, server::weather::Fate};

/// When each of so many requests is done, with so many workers.
///
/// Each request is sent as early as its worker is free and the server admits it; those that could arrive
/// first go first. Latency and failures are drawn as the server draws them.
pub fn done_times(
    scenario: &Scenario,
    workers: usize,
    requests: usize,
    seed: u64,
) -> Vec<Duration> {
    let settings = &scenario.settings;
    let (mut weather, mut rng) = (settings.weather.clone(), fastrand::Rng::with_seed(seed));
    // When the next request of each worker may reach the server, and how long its answer takes.
    let mut arrivals = BinaryHeap::with_capacity(workers);
    for _ in 0..workers {
        let (there, back) = settings.latency.draw(&mut rng);
        arrivals.push(Reverse((there, back)));
    }
    // When the places of those that are being processed come back.
    let mut releases = BinaryHeap::new();
    let mut done = Vec::with_capacity(requests);
    let mut now = Duration::ZERO;

    while done.len() < requests {
        let Some(Reverse((arrival, back))) = arrivals.pop() else {
            break;
        };
        now = now.max(arrival);
        let (after, fails) = loop {
            while let Some(Reverse(at)) = releases.peek().copied()
                && at <= now
            {
                releases.pop();
                weather.quota().release();
            }
            now = match weather.next_admission(now) {
                Some(at) if at <= now => match weather.fate(now, &mut rng) {
                    Fate::Processed { after, fails } => break (after, fails),
                    _ => now + TICK,
                },
                Some(at) => whole_millis(at),
                None => releases.peek().map_or(now + TICK, |Reverse(at)| *at),
            };
        };
        let answered = whole_millis(now + after + back);
        releases.push(Reverse(answered));
        let (there, back) = settings.latency.draw(&mut rng);
        arrivals.push(Reverse((answered + there, back)));
        if !fails {
            done.push(answered);
        }
    }
    done.sort_unstable();
    done
}

/// When the last one is done.
pub fn makespan(scenario: &Scenario, workers: usize, requests: usize, seed: u64) -> Duration {
    let done = done_times(scenario, workers, requests, seed);
    done.last().copied().unwrap_or_default()
}

/// The grain of the clock.
const TICK: Duration = Duration::from_millis(1);
