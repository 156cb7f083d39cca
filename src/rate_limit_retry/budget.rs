//! How many retries the traffic may afford, so that retries never become a storm.
//!
//! ```
//! use tower::retry::budget::Budget;
//! use tower_outbound::rate_limit_retry::budget::RetryBudget;
//!
//! let budget = RetryBudget::new().percent(60).per_second(0);
//! (0..10).for_each(|_request| budget.deposit());
//! assert_eq!((0..10).filter(|_retry| budget.withdraw()).count(), 6);
//! ```
//!
//! Every request deposits a part of a retry, every retry withdraws a whole one; what traffic cannot
//! pay comes from a reserve that grows with time, so that a client that seldom calls may retry too.
//! Sums are whole numbers, so the ratio is exact, and each operation takes the same few steps however
//! long the budget idled.
//!
//! # Defaults
//! 20 % of the traffic and 10 retries a second, as Finagle and linkerd: in an outage the server sees
//! 1.2 times the load, not as many times as there are tries.
//!
//! Both accounts hold 100 retries at most. The reserve holds ten seconds, like that of Finagle and
//! linkerd (10 s of 10 a second): enough for a short blip of a quiet client, gone before a longer
//! outage begins to feel it. The savings hold as many as a full bucket of the AWS SDKs (500 tokens
//! of which a retry costs 5): calm hours must not pay for a storm. A client with thousands of
//! requests under way at a time may want [more](RetryBudget::max_saved).

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower::retry::budget::Budget;

/// A share of the traffic and a reserve: see the [module docs](self).
///
/// Clones are one budget: a clone that is kept can be [looked at](Self::left).
#[derive(Clone)]
pub struct RetryBudget {
    percent: u32,
    per_second: u32,
    max_saved: u32,
    accounts: Arc<Accounts>,
}

#[derive(Default)]
struct Accounts {
    /// In hundredths of a retry. A count that guards no other memory: relaxed order will do.
    savings: AtomicU64,
    /// `None` until the first retry asks for it: full.
    reserve: Mutex<Option<Reserve>>,
}

/// What was left of the reserve when it was last asked.
#[derive(Clone, Copy, Debug)]
struct Reserve {
    /// In billionths of a retry: a rate in retries per second adds that many each nanosecond.
    billionths: u128,
    at: Instant,
}

impl RetryBudget {
    /// 20 % of the traffic, and 10 retries a second with ten seconds of them in reserve.
    pub fn new() -> Self {
        Self {
            percent: 20,
            per_second: 10,
            max_saved: 100,
            accounts: Arc::default(),
        }
    }

    /// How many retries a hundred requests pay for; may be above 100, and 0 leaves only the reserve.
    /// Default: 20.
    #[must_use]
    pub fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// How many retries a second are allowed on top, whatever the traffic; ten seconds of them are
    /// kept in reserve, full from the start. 0 means none. Default: 10.
    #[must_use]
    pub fn per_second(mut self, per_second: u32) -> Self {
        self.per_second = per_second;
        self
    }

    /// How many retries the traffic can save up at most; 0 leaves only the reserve. Default: 100.
    #[must_use]
    pub fn max_saved(mut self, max_saved: u32) -> Self {
        self.max_saved = max_saved;
        self
    }

    /// How many retries it would grant at once now.
    pub fn left(&self) -> u64 {
        let reserve = self.grown(*self.lock_reserve(), crate::time::now());
        let reserve = u64::try_from(reserve.billionths / RESERVE_PER_RETRY).unwrap_or(u64::MAX);
        let saved = self.accounts.savings.load(Relaxed) / SAVINGS_PER_RETRY;
        saved.saturating_add(reserve)
    }

    /// [`Budget::withdraw`] at a given time.
    pub(crate) fn withdraw_at(&self, now: Instant) -> bool {
        self.withdraw_savings() || self.withdraw_reserve(now)
    }

    fn withdraw_savings(&self) -> bool {
        let spend = |savings: u64| savings.checked_sub(SAVINGS_PER_RETRY);
        let savings = &self.accounts.savings;
        savings.fetch_update(Relaxed, Relaxed, spend).is_ok()
    }

    fn withdraw_reserve(&self, now: Instant) -> bool {
        if self.per_second == 0 {
            return false;
        }
        let mut reserve = self.lock_reserve();
        let Reserve { billionths, at } = self.grown(*reserve, now);
        let left = billionths.checked_sub(RESERVE_PER_RETRY);
        *reserve = Some(Reserve {
            billionths: left.unwrap_or(billionths),
            at,
        });
        left.is_some()
    }

    fn grown(&self, reserve: Option<Reserve>, now: Instant) -> Reserve {
        let rate = u128::from(self.per_second);
        let full = rate * RESERVE_SPAN.as_nanos();
        let Some(Reserve { billionths, at }) = reserve else {
            return Reserve {
                billionths: full,
                at: now,
            };
        };
        let idle = now.saturating_duration_since(at).as_nanos();
        let growth = rate.saturating_mul(idle);
        Reserve {
            billionths: billionths.saturating_add(growth).min(full),
            // Of two threads the one that asked the clock first may come here last.
            at: at.max(now),
        }
    }

    fn lock_reserve(&self) -> MutexGuard<'_, Option<Reserve>> {
        // The value is written in one assignment, so a panic elsewhere cannot leave it torn.
        let reserve = self.accounts.reserve.lock();
        reserve.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget for RetryBudget {
    /// Lock-free, and only a read once the savings are full, as they are while all is well.
    fn deposit(&self) {
        let full = u64::from(self.max_saved) * SAVINGS_PER_RETRY;
        let save = |savings: u64| {
            let more = savings.saturating_add(u64::from(self.percent));
            (savings < full).then_some(more.min(full))
        };
        // Refused when they are full already, which is no failure.
        let _ = self.accounts.savings.fetch_update(Relaxed, Relaxed, save);
    }

    fn withdraw(&self) -> bool {
        self.withdraw_at(crate::time::now())
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("percent", &self.percent)
            .field("per_second", &self.per_second)
            .field("max_saved", &self.max_saved)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

/// A deposit of `percent` is that many hundredths.
const SAVINGS_PER_RETRY: u64 = 100;

const RESERVE_PER_RETRY: u128 = Duration::from_secs(1).as_nanos();

/// How much time the reserve holds: Finagle's and linkerd's window.
const RESERVE_SPAN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
