//! The clocks of the servers.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::time;

/// The clock that decides: expiry, windows, latency. It stands still under tokio's paused time.
pub(super) fn now() -> Instant {
    time::now()
}

/// The clock that is only shown: `Date`, and a `Retry-After` in the form of a date.
pub(super) fn wall() -> SystemTime {
    time::wall()
}

/// `instant + duration`; beyond a century, where the clock cannot count, it means "never".
pub(super) fn after(instant: Instant, duration: Duration) -> Instant {
    instant + duration.min(A_CENTURY)
}

const A_CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
