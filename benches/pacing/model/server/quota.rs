//! Limits of every shape: pure decisions that are told the time.
//!
//! Time is counted from the start of the run, and never goes back from one call to the next.

use std::{collections::VecDeque, time::Duration};

/// What a server lets through.
#[derive(Clone, Debug)]
pub enum Quota {
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    Bucket(Bucket),
    Concurrency(Concurrency),
    Overload(Overload),
    /// All of them must agree.
    All(Vec<Quota>),
}

/// What becomes of a request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is processed, after a time in the server's own queue.
    Admit { after: Duration },
    /// It is not. The next one would be admitted after this time if none came before it; zero if that
    /// is not known, because it depends on the requests that are being processed.
    Refuse { opens_in: Duration },
}

/// What `RateLimit` and `RateLimit-Policy` say of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    pub quota: u64,
    /// `None` for a limit on concurrency.
    pub window: Option<Duration>,
    pub remaining: u64,
    pub reset: Duration,
}

impl Quota {
    /// So many in each window of this length; the first began `phase` before the run.
    pub fn fixed_window(quota: u32, window: Duration, phase: Duration) -> Self {
        Self::FixedWindow(FixedWindow {
            quota: quota.into(),
            window,
            phase,
            number: 0,
            used: 0,
        })
    }

    /// So many in any time of this length.
    pub fn sliding_window(quota: u32, window: Duration) -> Self {
        Self::SlidingWindow(SlidingWindow {
            quota: quota as usize,
            window,
            admitted: VecDeque::new(),
        })
    }

    /// Refilled continuously at `per_second`, and holding `burst` at most; full at the start.
    ///
    /// With a burst of 1 it is nginx's `limit_req` without `burst`: never two closer than the interval.
    pub fn bucket<R: Into<f64>>(per_second: R, burst: u32) -> Self {
        Self::Bucket(Bucket {
            per_second: per_second.into(),
            burst: burst.into(),
            queues: false,
            free_at: 0.0,
        })
    }

    /// nginx's `limit_req` with `burst` and without `nodelay`: what comes too fast waits at the server.
    pub fn queueing_bucket(per_second: u32, burst: u32) -> Self {
        Self::Bucket(Bucket {
            per_second: per_second.into(),
            burst: f64::from(burst) + 1.0,
            queues: true,
            free_at: 0.0,
        })
    }

    /// So many at the same time.
    pub fn concurrency(most: usize) -> Self {
        Self::Concurrency(Concurrency { most, running: 0 })
    }

    /// So many a second can be processed, and a refusal costs half of that work.
    pub fn overload(per_second: u32) -> Self {
        Self::Overload(Overload {
            per_second: per_second.into(),
            free_at: 0.0,
        })
    }

    /// Decides on a request that arrives now.
    pub fn admit(&mut self, now: Duration) -> Decision {
        match self.opens_in(now) {
            None => Decision::Admit {
                after: self.take(now),
            },
            Some(opens_in) => {
                self.refuse(now);
                Decision::Refuse { opens_in }
            }
        }
    }

    /// A request that was admitted has been processed.
    pub fn release(&mut self) {
        match self {
            Quota::Concurrency(places) => places.running = places.running.saturating_sub(1),
            Quota::All(quotas) => quotas.iter_mut().for_each(Quota::release),
            _ => {}
        }
    }

    /// `None` if a request would be admitted now, or else after which time.
    pub fn opens_in(&mut self, now: Duration) -> Option<Duration> {
        match self {
            Quota::FixedWindow(window) => window.opens_in(now),
            Quota::SlidingWindow(window) => window.opens_in(now),
            Quota::Bucket(bucket) => bucket.opens_in(now),
            Quota::Concurrency(places) => (places.running >= places.most).then_some(Duration::ZERO),
            Quota::Overload(overload) => overload.opens_in(now),
            Quota::All(quotas) => quotas
                .iter_mut()
                .filter_map(|quota| quota.opens_in(now))
                .max(),
        }
    }

    /// What is left now, of each limit.
    pub fn remaining(&mut self, now: Duration) -> Vec<Remaining> {
        match self {
            Quota::FixedWindow(window) => vec![window.remaining(now)],
            Quota::SlidingWindow(window) => vec![window.remaining(now)],
            Quota::Bucket(bucket) => vec![bucket.remaining(now)],
            Quota::Concurrency(places) => vec![places.remaining()],
            Quota::Overload(_) => Vec::new(),
            Quota::All(quotas) => quotas
                .iter_mut()
                .flat_map(|quota| quota.remaining(now))
                .collect(),
        }
    }

    /// Allows so many times what it did; what has been used is not given back.
    pub fn scale(&mut self, factor: f64) {
        let scaled = |count: f64| (count * factor).round().max(1.0);
        match self {
            Quota::FixedWindow(window) => window.quota = scaled(window.quota as f64) as u64,
            Quota::SlidingWindow(window) => window.quota = scaled(window.quota as f64) as usize,
            Quota::Bucket(bucket) => {
                bucket.per_second *= factor;
                bucket.burst = scaled(bucket.burst);
            }
            Quota::Concurrency(places) => places.most = scaled(places.most as f64) as usize,
            Quota::Overload(overload) => overload.per_second *= factor,
            Quota::All(quotas) => quotas.iter_mut().for_each(|quota| quota.scale(factor)),
        }
    }

    /// Counts a request that is admitted now; returns how long it waits at the server.
    fn take(&mut self, now: Duration) -> Duration {
        match self {
            Quota::FixedWindow(window) => window.used += 1,
            Quota::SlidingWindow(window) => window.admitted.push_back(now),
            Quota::Bucket(bucket) => return bucket.take(now),
            Quota::Concurrency(places) => places.running += 1,
            Quota::Overload(overload) => return overload.work(1.0, now),
            Quota::All(quotas) => {
                let waits = quotas.iter_mut().map(|quota| quota.take(now));
                return waits.max().unwrap_or_default();
            }
        }
        Duration::ZERO
    }

    /// A refusal may cost the server something.
    fn refuse(&mut self, now: Duration) {
        if let Quota::Overload(overload) = self {
            overload.work(REFUSAL_COST, now);
        }
    }
}

/// A count that starts anew at each boundary.
#[derive(Clone, Debug)]
pub struct FixedWindow {
    quota: u64,
    window: Duration,
    phase: Duration,
    number: u128,
    used: u64,
}

impl FixedWindow {
    fn opens_in(&mut self, now: Duration) -> Option<Duration> {
        self.turn(now);
        (self.used >= self.quota).then(|| self.left(now))
    }

    fn remaining(&mut self, now: Duration) -> Remaining {
        self.turn(now);
        Remaining {
            quota: self.quota,
            window: Some(self.window),
            remaining: self.quota.saturating_sub(self.used),
            reset: self.left(now),
        }
    }

    fn turn(&mut self, now: Duration) {
        let number = (now + self.phase).as_nanos() / self.window.as_nanos();
        if number != self.number {
            self.number = number;
            self.used = 0;
        }
    }

    /// Until the window ends.
    fn left(&self, now: Duration) -> Duration {
        let into = (now + self.phase).as_nanos() % self.window.as_nanos();
        self.window - Duration::from_nanos(into as u64)
    }
}

/// A log of what was admitted within the last window.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    quota: usize,
    window: Duration,
    admitted: VecDeque<Duration>,
}

impl SlidingWindow {
    fn opens_in(&mut self, now: Duration) -> Option<Duration> {
        self.forget(now);
        // More than the quota after it was lowered: so many have to leave.
        let blocking = self.admitted.len().checked_sub(self.quota)?;
        Some(self.admitted[blocking] + self.window - now)
    }

    fn remaining(&mut self, now: Duration) -> Remaining {
        self.forget(now);
        let oldest = self.admitted.front();
        Remaining {
            quota: self.quota as u64,
            window: Some(self.window),
            remaining: self.quota.saturating_sub(self.admitted.len()) as u64,
            reset: oldest.map_or(self.window, |oldest| *oldest + self.window - now),
        }
    }

    fn forget(&mut self, now: Duration) {
        while self
            .admitted
            .front()
            .is_some_and(|oldest| *oldest + self.window <= now)
        {
            self.admitted.pop_front();
        }
    }
}

/// A token bucket, as the time at which it would be full again (GCRA).
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    /// Admitted beyond the rate, requests wait here instead of being answered at once.
    queues: bool,
    /// When it will be full again, in seconds.
    free_at: f64,
}

impl Bucket {
    fn opens_in(&mut self, now: Duration) -> Option<Duration> {
        let missing = self.debt(now) - (self.burst - 1.0);
        // Less than a millionth of a token is the rounding of floats.
        (missing > 1e-6).then(|| Duration::from_secs_f64(missing / self.per_second))
    }

    fn take(&mut self, now: Duration) -> Duration {
        let debt = self.debt(now);
        self.free_at = now.as_secs_f64() + (debt + 1.0) / self.per_second;
        if self.queues {
            Duration::from_secs_f64(debt / self.per_second)
        } else {
            Duration::ZERO
        }
    }

    fn remaining(&mut self, now: Duration) -> Remaining {
        let debt = self.debt(now);
        Remaining {
            quota: self.per_second.round() as u64,
            window: Some(Duration::from_secs(1)),
            remaining: (self.burst - debt + 1e-6).max(0.0) as u64,
            reset: Duration::from_secs_f64(debt.max(1.0) / self.per_second),
        }
    }

    /// Tokens that are missing from a full bucket.
    fn debt(&self, now: Duration) -> f64 {
        ((self.free_at - now.as_secs_f64()) * self.per_second).max(0.0)
    }
}

/// Places for requests that are being processed.
#[derive(Clone, Debug)]
pub struct Concurrency {
    most: usize,
    running: usize,
}

impl Concurrency {
    fn remaining(&self) -> Remaining {
        Remaining {
            quota: self.most as u64,
            window: None,
            remaining: self.most.saturating_sub(self.running) as u64,
            reset: Duration::ZERO,
        }
    }
}

/// A server without a limit, that refuses what it cannot queue, and for which refusing is work.
#[derive(Clone, Debug)]
pub struct Overload {
    per_second: f64,
    /// When all the work that has arrived is done, in seconds.
    free_at: f64,
}

impl Overload {
    fn opens_in(&mut self, now: Duration) -> Option<Duration> {
        let backlog = self.free_at - now.as_secs_f64();
        (backlog > LONGEST_QUEUE).then_some(Duration::ZERO)
    }

    /// Adds work, and returns when it is done.
    fn work(&mut self, cost: f64, now: Duration) -> Duration {
        let now = now.as_secs_f64();
        let done = self.free_at.max(now) + cost / self.per_second;
        // What does not fit into the socket's backlog is lost without costing more.
        self.free_at = done.min(now + 2.0 * LONGEST_QUEUE);
        Duration::from_secs_f64(self.free_at - now)
    }
}

/// In seconds: requests that would wait longer than this are refused.
const LONGEST_QUEUE: f64 = 0.5;

/// A refusal is half of the work of an answer: the connection, TLS and parsing come before it.
const REFUSAL_COST: f64 = 0.5;
