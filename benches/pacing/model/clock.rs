//! Virtual time: tokio's clock, paused, counted from the start of a run.
//!
//! Timers fire at whole milliseconds, so everything here is made of whole milliseconds, too.

use std::time::Duration;

use tokio::time::Instant;

/// The time since a run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self { start: instant() }
    }

    pub fn now(&self) -> Duration {
        instant() - self.start
    }
}

// Elsewhere only `src/time.rs` asks a clock; a benchmark brings its own.
#[allow(clippy::disallowed_methods)]
fn instant() -> Instant {
    Instant::now()
}

/// The first whole millisecond that is not before `time`.
pub fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64)
}

/// The first whole second that is not before `time`.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_nanos().div_ceil(1_000_000_000) as u64
}
