//! What it took.

use std::{fmt, time::Duration};

use tower_outbound::{outcome::Outcome, test_util::Quota};

/// The outcomes of all calls, added up.
#[derive(Default)]
pub(crate) struct Tally {
    calls: u64,
    resends: u64,
    refusals: u64,
    token_replays: u64,
}

/// What both sides can count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    pub(crate) answered_401: u64,
    pub(crate) answered_429: u64,
    pub(crate) tokens: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        self.calls += 1;
        self.resends += u64::from(outcome.resends);
        self.refusals += u64::from(outcome.refusals);
        self.token_replays += u64::from(outcome.token_replays);
    }

    /// The traffic that there was if all calls have succeeded, with so many tokens.
    pub(crate) fn traffic(&self, tokens: u64) -> Traffic {
        Traffic {
            requests: self.calls + self.resends,
            answered_401: self.token_replays,
            answered_429: self.refusals,
            tokens,
        }
    }

    pub(crate) fn print(&self, tokens: u64, time: Duration, quota: Quota) {
        let requests = self.calls + self.resends;
        println!("  calls      {}, in {requests} requests", self.calls);
        println!("  renewals   {}", tokens.saturating_sub(1));
        println!("  replays    {} after 401", self.token_replays);
        let refused = self.refusals as f64 / self.calls.max(1) as f64;
        println!("  429s       {}, {refused:.3} per call", self.refusals);

        let ideal = ideal(self.calls, quota).as_secs_f64();
        let time = time.as_secs_f64();
        let Quota {
            requests, window, ..
        } = quota;
        print!("  time       {time:.1} s, ideal {ideal:.1} s at {requests} calls in {window:?}");
        if ideal > 0.0 {
            print!(", ratio {:.2}", time / ideal);
        }
        println!();
    }
}

/// A line for a progress bar.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (replays, refusals) = (self.token_replays, self.refusals);
        write!(f, "{replays} replays after 401, {refusals} 429s")
    }
}

/// The least time in which the quota lets so many calls through: the windows follow each other
/// from the first call on, each is used up at once, and the last is not waited for.
fn ideal(calls: u64, quota: Quota) -> Duration {
    let full_windows_before_last = calls.saturating_sub(1) / u64::from(quota.requests);
    quota
        .window
        .saturating_mul(u32::try_from(full_windows_before_last).unwrap_or(u32::MAX))
}
