//! The one place that asks a clock.
//!
//! Durations are measured with tokio's monotonic clock, which tests can pause. It stands still while
//! a machine is suspended, so whatever must not outlive a suspend (a token's life) is measured with
//! the wall clock as well: see [`Moment::age`].

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The monotonic time.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// `instant + duration`, or a century later where that is beyond what the clock can tell.
pub(crate) fn after(instant: Instant, duration: Duration) -> Instant {
    instant + duration.min(CENTURY)
}

/// Longer than anything waits or lives, short enough that no arithmetic on dates overflows.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// One point in time, read off both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Moment {
    /// The time from `self` to `now` by whichever clock saw more of it pass.
    ///
    /// A clock that was set back counts as no time at all; the other one then decides.
    pub(crate) fn age(&self, now: Moment) -> Duration {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        monotonic.max(wall)
    }
}

/// Where a cache reads both clocks.
///
/// A plain function in the product; a test moves the wall clock on its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    #[cfg(test)]
    ahead: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Clock {
    pub(crate) fn now(&self) -> Moment {
        Moment {
            monotonic: now(),
            wall: self.wall(),
        }
    }

    #[cfg(not(test))]
    fn wall(&self) -> SystemTime {
        wall()
    }

    #[cfg(test)]
    fn wall(&self) -> SystemTime {
        wall() + Duration::from_secs(self.ahead.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Moves the wall clock ahead, and leaves the monotonic one: what a suspended machine sees.
    #[cfg(test)]
    pub(crate) fn suspend(&self, seconds: u64) {
        self.ahead
            .fetch_add(seconds, std::sync::atomic::Ordering::Relaxed);
    }
}
