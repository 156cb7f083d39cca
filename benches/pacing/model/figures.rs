//! What a run has shown.

use std::time::Duration;

use super::server::tally::{PerSecond, Tally};

/// What a run has shown.
#[derive(Clone, Debug)]
pub struct Figures {
    pub requests: usize,
    pub ok: usize,
    /// Given up by the client.
    pub failed: usize,
    /// Not done when the run was ended: at twenty times the least time, and ten minutes.
    pub unfinished: usize,
    /// When the last request was done, for good or bad.
    pub makespan: Duration,
    pub ideal: Duration,
    pub sent: u64,
    /// Answered 429.
    pub refused: u64,
    /// Of these, those before the client could know the limit's rate: see [`Tally::refusal`].
    pub refused_at_start: u64,
    /// Answered 502 or 503.
    pub unavailable: u64,
    /// Sent before a hint was over that had been given: a good client has none.
    pub early: u64,
    /// Jain's index of the requests that each process had done at half time; 1 if there is one.
    pub fairness: f64,
    /// From when a worker took a request to when it was done.
    pub longest_wait: Duration,
    /// Requests that succeeded, per second of the run.
    pub done_per_second: PerSecond,
    pub refused_per_second: PerSecond,
    pub sent_per_second: PerSecond,
}

impl Figures {
    /// How many times the least time it took.
    pub fn slowdown(&self) -> f64 {
        self.makespan.as_secs_f64() / self.ideal.as_secs_f64()
    }

    pub fn refused_per_ok(&self) -> f64 {
        per(self.refused, self.ok)
    }

    /// Without those of the start-up.
    pub fn steadily_refused_per_ok(&self) -> f64 {
        per(self.refused - self.refused_at_start, self.ok)
    }

    /// Adds what the server has counted for each process.
    pub(super) fn count(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            self.sent += tally.sent;
            self.refused += tally.refused;
            self.refused_at_start += tally.refused_at_start;
            self.unavailable += tally.unavailable;
            self.early += tally.early;
            self.refused_per_second.add(&tally.refused_per_second);
            self.sent_per_second.add(&tally.sent_per_second);
        }
    }
}

/// Jain's fairness index: 1 if all have the same, 1 ÷ n if one has all.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

fn per(count: u64, of: usize) -> f64 {
    if of == 0 {
        return f64::INFINITY;
    }
    count as f64 / of as f64
}
