//! Remember: how many calls each window has seen.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{test_util::Quota, time};

/// The windows of one server, by what they are counted for.
#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<String, Window>);

#[derive(Debug)]
struct Window {
    count: u32,
    ends: Instant,
}

/// What a window says to a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The `count`th call of a window that ends in `reset`.
    Admitted {
        count: u32,
        reset: Duration,
    },
    Refused {
        count: u32,
        reset: Duration,
    },
}

impl Windows {
    pub(super) fn admit(
        &mut self,
        key: &str,
        quota: Quota,
        penalise: bool,
        now: Instant,
    ) -> Admission {
        if self.0.get(key).is_none_or(|window| now >= window.ends) {
            // Keys come and go with the tokens; those whose window is over are told from new ones
            // by nothing.
            if self.0.len() >= WINDOWS_BEFORE_SWEEP {
                self.0.retain(|_, window| now < window.ends);
            }
            self.0.insert(
                key.to_owned(),
                Window {
                    count: 0,
                    ends: time::after(now, quota.window),
                },
            );
        }
        let Some(window) = self.0.get_mut(key) else {
            return Admission::Admitted {
                count: 1,
                reset: quota.window,
            };
        };
        if window.count < quota.requests {
            window.count += 1;
            return Admission::Admitted {
                count: window.count,
                reset: window.ends - now,
            };
        }
        if penalise {
            let penalty = (quota.window / 10).max(Duration::from_secs(1));
            window.ends = time::after(window.ends, penalty);
        }
        Admission::Refused {
            count: window.count,
            reset: window.ends - now,
        }
    }
}

/// Whole seconds, rounded up, and never "at once".
pub(super) fn seconds_to_wait(reset: Duration) -> u64 {
    reset
        .as_secs()
        .saturating_add(u64::from(reset.subsec_nanos() > 0))
        .max(1)
}

const WINDOWS_BEFORE_SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::Scope;

    const QUOTA: Quota = Quota {
        requests: 2,
        window: Duration::from_secs(60),
        per: Scope::Client,
    };

    #[test]
    fn a_window_begins_with_its_first_call_and_refusals_do_not_extend_it() {
        let (mut windows, start) = (Windows::default(), time::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let admitted = |count, reset| Admission::Admitted {
            count,
            reset: Duration::from_secs(reset),
        };
        assert_eq!(windows.admit("a", QUOTA, false, at(5)), admitted(1, 60));
        assert_eq!(windows.admit("a", QUOTA, false, at(6)), admitted(2, 59));
        for second in 7..65 {
            let refused = Admission::Refused {
                count: 2,
                reset: Duration::from_secs(65 - second),
            };
            assert_eq!(windows.admit("a", QUOTA, false, at(second)), refused);
        }
        assert_eq!(windows.admit("b", QUOTA, false, at(64)), admitted(1, 60));
        assert_eq!(windows.admit("a", QUOTA, false, at(65)), admitted(1, 60));
    }

    #[test]
    fn with_penalties_every_refusal_makes_the_wait_longer() {
        let (mut windows, now) = (Windows::default(), time::now());
        windows.admit("a", QUOTA, true, now);
        windows.admit("a", QUOTA, true, now);
        for (refusals, seconds) in [(1, 66), (2, 72), (3, 78)] {
            let refused = Admission::Refused {
                count: 2,
                reset: Duration::from_secs(seconds),
            };
            assert_eq!(windows.admit("a", QUOTA, true, now), refused, "{refusals}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(seconds_to_wait(Duration::from_millis(millis)), seconds);
        }
    }
}
