//! The least time that a job can take: a client that knows when the server will admit the next request, and
//! is never refused.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::{clock::whole_millis, scenario::Scenario, server::weather::Fate};

/// When so many workers have so many requests done, and how many were done in each second.
///
/// Each request is sent as early as its worker is free and the server admits it. Latency and failures are
/// drawn as the server draws them, from a stream of its own.
pub fn done_times(
    scenario: &Scenario,
    workers: usize,
    requests: usize,
    seed: u64,
) -> Vec<Duration> {
    let settings = &scenario.settings;
    let (mut weather, mut rng) = (settings.weather.clone(), fastrand::Rng::with_seed(seed));
    let mut free: BinaryHeap<Reverse<Duration>> =
        (0..workers).map(|_| Reverse(Duration::ZERO)).collect();
    // When the places of those that are being processed come back.
    let mut releases = BinaryHeap::new();
    let mut done = Vec::with_capacity(requests);
    let mut now = Duration::ZERO;

    while done.len() < requests {
        let Some(Reverse(worker)) = free.pop() else {
            break;
        };
        let (there, back) = settings.latency.draw(&mut rng);
        now = now.max(worker + there);
        let fate = loop {
            while let Some(Reverse(at)) = releases.peek().copied().filter(|Reverse(at)| *at <= now)
            {
                now = now.max(at);
                releases.pop();
                weather.quota().release();
            }
            match weather.next_admission(now) {
                Some(at) if at <= now => break weather.fate(now, &mut rng),
                Some(at) => now = whole_millis(at),
                None => match releases.peek() {
                    Some(Reverse(at)) => now = *at,
                    None => now += Duration::from_millis(1),
                },
            }
        };
        let Fate::Processed { after, fails } = fate else {
            // The quota said that it would admit it, so a millisecond later it does.
            now += Duration::from_millis(1);
            free.push(Reverse(worker));
            continue;
        };
        let answered = now + after + back;
        releases.push(Reverse(answered));
        free.push(Reverse(answered));
        if !fails {
            done.push(whole_millis(answered));
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
