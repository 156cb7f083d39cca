//! When to renew: a pure decision on a token's age.

use std::time::Duration;

use crate::time::Moment;

/// How early a token is renewed.
///
/// Two times before the end of its life matter. Inside the *window* requests go on with the token,
/// while one renewal runs in the background. Inside the *margin* the token is not used any more,
/// because it might end on its way to the server; requests wait for the renewal.
///
/// Both are the smaller of a fixed time and a share of the lifetime, so that a token of thirty
/// seconds is not "always about to expire".
///
/// ```
/// use std::time::Duration;
/// use tower_outbound::token::ExpiryPolicy;
///
/// // For a server that is slow to mint.
/// let policy = ExpiryPolicy::default().margin(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct ExpiryPolicy {
    margin: Duration,
    window: Duration,
}

impl Default for ExpiryPolicy {
    fn default() -> Self {
        Self {
            margin: MARGIN,
            window: WINDOW,
        }
    }
}

impl ExpiryPolicy {
    /// The longest time before its end at which a token is not used any more: 10 s by default, and
    /// never above a tenth of its life. It covers a request's way to the server and a clock that
    /// differs a little.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// The longest time before its end at which renewal starts in the background: 5 min by
    /// default, never above a fifth of its life, and shortened at random by up to a quarter, so
    /// that a fleet that started together does not renew together. Zero: never in the background.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The ages at which a token of this lifetime changes its state.
    ///
    /// `jitter` is a random number; all of its range is used.
    pub(crate) fn schedule(&self, lifetime: Duration, jitter: u32) -> Schedule {
        let margin = self.margin.min(lifetime / MARGIN_SHARE);
        let window = self.window.min(lifetime / WINDOW_SHARE);
        let most = (window / WINDOW_JITTER_SHARE).as_nanos();
        let shortened = (most * u128::from(jitter)) >> 32;
        let shortened = Duration::from_nanos(u64::try_from(shortened).unwrap_or(u64::MAX));
        let window = window.saturating_sub(shortened);
        Schedule {
            soon: lifetime - margin.max(window),
            expired: lifetime - margin,
            dead: lifetime,
        }
    }
}

/// The ages at which a token changes its state; `soon` ≤ `expired` ≤ `dead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    soon: Duration,
    expired: Duration,
    dead: Duration,
}

/// When a token was asked for, and what is to happen at which age.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    /// When its request was *sent*: the server began to count after that, so the token is never
    /// trusted longer than the server does.
    pub(crate) asked: Moment,
    pub(crate) schedule: Option<Schedule>,
}

impl Expiry {
    pub(crate) fn freshness(&self, now: Moment) -> Freshness {
        let Some(schedule) = &self.schedule else {
            return Freshness::Fresh;
        };
        let age = self.asked.age(now);
        if age < schedule.soon {
            Freshness::Fresh
        } else if age < schedule.expired {
            Freshness::RefreshSoon
        } else {
            Freshness::Expired
        }
    }

    /// Whether the token's whole life is over, margin included.
    pub(crate) fn is_dead(&self, now: Moment) -> bool {
        self.schedule
            .is_some_and(|schedule| self.asked.age(now) >= schedule.dead)
    }

    /// What is left of its whole life, if that is known.
    pub(crate) fn left(&self, now: Moment) -> Option<Duration> {
        self.schedule
            .map(|schedule| schedule.dead.saturating_sub(self.asked.age(now)))
    }
}

/// What a token's age asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and renew it in the background.
    RefreshSoon,
    /// Renew it before anything is sent.
    Expired,
}

/// A request's way to the server, with room for its queue and for clocks that differ.
const MARGIN: Duration = Duration::from_secs(10);
const MARGIN_SHARE: u32 = 10;

/// Time enough to outlast a short outage of the token endpoint without any request noticing.
const WINDOW: Duration = Duration::from_secs(5 * 60);
const WINDOW_SHARE: u32 = 5;

/// The window is shortened by up to this share.
const WINDOW_JITTER_SHARE: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time;

    fn moment() -> Moment {
        Moment {
            monotonic: time::now(),
            wall: time::wall(),
        }
    }

    fn at_age(policy: &ExpiryPolicy, lifetime: u64, age_ms: u64) -> Freshness {
        let asked = moment();
        let lifetime = Duration::from_secs(lifetime);
        let expiry = Expiry {
            asked,
            schedule: Some(policy.schedule(lifetime, 0)),
        };
        let age = Duration::from_millis(age_ms);
        expiry.freshness(Moment {
            monotonic: asked.monotonic + age,
            wall: asked.wall + age,
        })
    }

    #[test]
    fn an_hour_long_token_is_renewed_in_its_last_five_minutes() {
        let policy = ExpiryPolicy::default();
        assert_eq!(at_age(&policy, 3600, 3_299_999), Freshness::Fresh);
        assert_eq!(at_age(&policy, 3600, 3_300_000), Freshness::RefreshSoon);
        assert_eq!(at_age(&policy, 3600, 3_589_999), Freshness::RefreshSoon);
        assert_eq!(at_age(&policy, 3600, 3_590_000), Freshness::Expired);
    }

    #[test]
    fn margin_and_window_shrink_with_the_lifetime() {
        let policy = ExpiryPolicy::default();
        for lifetime in [1, 10, 29] {
            assert_eq!(at_age(&policy, lifetime, 0), Freshness::Fresh);
            assert_eq!(at_age(&policy, lifetime, lifetime * 799), Freshness::Fresh);
            assert_eq!(
                at_age(&policy, lifetime, lifetime * 850),
                Freshness::RefreshSoon
            );
            assert_eq!(
                at_age(&policy, lifetime, lifetime * 901),
                Freshness::Expired
            );
        }
    }

    #[test]
    fn an_unknown_lifetime_never_expires_by_itself() {
        let asked = moment();
        let expiry = Expiry {
            asked,
            schedule: None,
        };
        let later = Duration::from_secs(1 << 30);
        let now = Moment {
            monotonic: asked.monotonic + later,
            wall: asked.wall + later,
        };
        assert_eq!(expiry.freshness(now), Freshness::Fresh);
        assert!(!expiry.is_dead(now));
    }

    #[test]
    fn it_is_expired_if_either_clock_says_so() {
        let asked = moment();
        let schedule = Some(ExpiryPolicy::default().schedule(Duration::from_secs(3600), 0));
        let expiry = Expiry { asked, schedule };
        let later = Duration::from_secs(5 * 3600);
        let suspended = Moment {
            monotonic: asked.monotonic,
            wall: asked.wall + later,
        };
        assert_eq!(expiry.freshness(suspended), Freshness::Expired);
        let set_back = Moment {
            monotonic: asked.monotonic + later,
            wall: asked.wall - later,
        };
        assert_eq!(expiry.freshness(set_back), Freshness::Expired);
    }

    proptest! {
        #[test]
        fn jitter_never_eats_the_margin(
            lifetime in any::<u64>(), margin in any::<u64>(), window in any::<u64>(), jitter in any::<u32>(),
        ) {
            let policy = ExpiryPolicy::default()
                .margin(Duration::from_nanos(margin))
                .window(Duration::from_nanos(window));
            let schedule = policy.schedule(Duration::from_nanos(lifetime), jitter);
            prop_assert!(schedule.soon <= schedule.expired);
            prop_assert!(schedule.expired <= schedule.dead);
            prop_assert!(schedule.soon >= schedule.dead / 5 * 3);
        }
    }
}
