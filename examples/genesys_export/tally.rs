//! What it took.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tower_outbound::{outcome::Outcome, test_util::Quota};

/// The outcomes of all calls, added up.
#[derive(Default)]
pub(crate) struct Tally {
    calls: AtomicU64,
    resends: AtomicU64,
    refusals: AtomicU64,
    token_replays: AtomicU64,
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
    pub(crate) fn count(&self, outcome: &Outcome) {
        self.calls.fetch_add(1, Relaxed);
        self.resends.fetch_add(outcome.resends.into(), Relaxed);
        self.refusals.fetch_add(outcome.refusals.into(), Relaxed);
        let token_replays = outcome.token_replays.into();
        self.token_replays.fetch_add(token_replays, Relaxed);
    }

    fn requests(&self) -> u64 {
        self.calls.load(Relaxed) + self.resends.load(Relaxed)
    }

    /// The traffic that there was if all calls have succeeded, with so many tokens.
    pub(crate) fn traffic(&self, tokens: u64) -> Traffic {
        Traffic {
            requests: self.requests(),
            answered_401: self.token_replays.load(Relaxed),
            answered_429: self.refusals.load(Relaxed),
            tokens,
        }
    }

    pub(crate) fn print(&self, tokens: u64, time: Duration, quota: Quota) {
        let calls = self.calls.load(Relaxed);
        println!("  calls      {calls}, in {} requests", self.requests());
        println!("  renewals   {}", tokens.saturating_sub(1));
        let Traffic {
            answered_401,
            answered_429,
            ..
        } = self.traffic(tokens);
        println!("  replays    {answered_401} after 401");
        let refused = answered_429 as f64 / calls.max(1) as f64;
        println!("  429s       {answered_429}, {refused:.3} per call");

        let ideal = ideal(calls, quota).as_secs_f64();
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
        let replays = self.token_replays.load(Relaxed);
        let refusals = self.refusals.load(Relaxed);
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
