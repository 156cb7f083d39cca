//! What a server's `RateLimit` fields say of what is left, so that it need not refuse.

use std::time::Duration;

use tokio::time::Instant;

use super::learned::Turn;
use crate::{
    header::{QuotaUnit, RateLimit, RateLimitPolicy},
    time,
};

/// The limits that a server has told of, each by its policy.
///
/// What is left must not be exceeded before the reset; it is no promise that so much will be let
/// through (draft-ietf-httpapi-ratelimit-headers-10, §7). A quota that fills up steadily, as a
/// bucket does, allows for more: there the next request may follow as soon as the policy's rate has
/// it. Such a quota shows itself by having more left than before; one with a window of a second or
/// two is taken for one until it refuses.
#[derive(Debug, Default)]
pub(super) struct Told {
    policies: Vec<Policy>,
    /// Requests that were refused though something was said to be left.
    misled: u64,
}

#[derive(Debug)]
struct Policy {
    name: String,
    /// The number of the last request that it lets through, in the order of sending.
    last: u64,
    /// What the newest answer said.
    newest: Newest,
    /// When there is more, unless told anew.
    resets: Instant,
    /// How long that was, when it was told.
    length: Duration,
    /// How much there is then, and for how long, if the server says.
    described: Option<(u64, Option<Duration>)>,
    /// Whether it fills up steadily; `None` if that has not shown itself.
    steady: Option<bool>,
    /// When the newest request was sent.
    sent_at: Option<Instant>,
    /// The first request that was sent though nothing was left, since the quota fills up.
    beyond: Option<u64>,
    /// A request is out to see how much there is.
    asking: bool,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    /// The number of the request that was answered.
    number: u64,
    remaining: u64,
    /// How many had been sent when the answer came.
    sent: u64,
    at: Instant,
}

impl Told {
    /// Whether the next request, the `number`th, may be sent.
    pub(super) fn turn(&mut self, number: u64, now: Instant) -> Turn {
        let turns = self
            .policies
            .iter_mut()
            .map(|policy| policy.turn(number, now));
        turns.fold(Turn::Go, Turn::and)
    }

    /// The `number`th request is sent.
    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        for policy in &mut self.policies {
            policy.sent_at = Some(now);
            if number > policy.last {
                policy.beyond.get_or_insert(number);
                policy.asking = now >= policy.resets;
            }
        }
    }

    /// A request was lost; should it have been the one that was to ask, another may.
    pub(super) fn lost(&mut self) {
        for policy in &mut self.policies {
            policy.asking = false;
        }
    }

    /// The `number`th request was let through. What its answer is silent on holds to its reset, and no
    /// longer.
    pub(super) fn let_through(&mut self, number: u64, now: Instant) {
        self.policies
            .retain(|policy| number <= policy.newest.number || now < policy.told_until());
    }

    /// Whether the fields tell enough to go by them alone: all about each policy, and the truth.
    pub(super) fn guides(&self, number: u64) -> bool {
        let described =
            |policy: &Policy| policy.described.is_some_and(|(_, window)| window.is_some());
        !self.policies.is_empty()
            && self.policies.iter().all(described)
            && self.misled <= 1 + number / REQUESTS_PER_LIE
    }

    /// The `number`th request was refused.
    pub(super) fn refused(&mut self, number: u64) {
        let left = |policy: &Policy| policy.newest.number < number && number <= policy.last;
        if !self.policies.is_empty() && self.policies.iter().all(left) {
            self.misled += 1;
        }
        for policy in &mut self.policies {
            policy.asking = false;
            if policy.beyond.is_some_and(|beyond| beyond <= number) {
                policy.steady = Some(false);
            }
        }
    }

    /// The answer to the `number`th request has come, and says this; `sent` have been sent so far.
    pub(super) fn answered(
        &mut self,
        number: u64,
        sent: u64,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        for limit in limits {
            let Some(reset) = limit.reset else { continue };
            let described = policies.iter().find(|policy| policy.policy == limit.policy);
            if described.is_some_and(|policy| policy.unit != QuotaUnit::Requests) {
                continue;
            }
            let newest = Newest {
                number,
                remaining: limit.remaining,
                sent,
                at: now,
            };
            let policy = match self
                .policies
                .iter()
                .position(|known| known.name == limit.policy)
            {
                Some(known) => &mut self.policies[known],
                None if self.policies.len() < MOST_POLICIES => {
                    self.policies
                        .push(Policy::new(limit.policy.clone(), newest, reset));
                    self.policies.last_mut().expect("one was just added")
                }
                None => continue,
            };
            policy.described = described.map(|policy| (policy.quota, policy.window));
            policy.asking = false;
            policy.told(newest, reset);
        }
    }
}

impl Policy {
    fn new(name: String, newest: Newest, reset: Duration) -> Self {
        Self {
            name,
            last: newest.number.saturating_add(newest.remaining),
            newest,
            resets: time::after(newest.at, reset),
            length: reset,
            described: None,
            steady: None,
            sent_at: None,
            beyond: None,
            asking: false,
        }
    }

    fn turn(&mut self, number: u64, now: Instant) -> Turn {
        if number <= self.last {
            return Turn::Go;
        }
        if let Some(next) = self.next_steady() {
            // After long enough it is full, and the next answer says how much that is.
            let full = now >= self.resets && !self.asking;
            return if full || next <= now {
                Turn::Go
            } else {
                Turn::At(next)
            };
        }
        if now < self.resets {
            return Turn::At(self.resets);
        }
        match self.described {
            // A new window, which nobody has told of yet.
            Some((quota, window)) => {
                self.last = (number - 1).saturating_add(quota.max(1));
                self.resets = time::after(now, window.unwrap_or(self.length));
                Turn::Go
            }
            None if self.asking => Turn::AfterAnswer,
            None => Turn::Go,
        }
    }

    /// When the quota has gained another request, if it fills up steadily.
    fn next_steady(&self) -> Option<Instant> {
        let (quota, window) = self.described?;
        let gap = window?.div_f64(quota.max(1) as f64);
        self.is_steady().then_some(time::after(self.sent_at?, gap))
    }

    fn told_until(&self) -> Instant {
        time::after(self.newest.at, self.length)
    }

    fn is_steady(&self) -> bool {
        let window = self.described.and_then(|(_, window)| window);
        let short = window.is_some_and(|window| window <= SHORT_WINDOW);
        self.steady.unwrap_or(short)
    }

    fn told(&mut self, newest: Newest, reset: Duration) {
        // Answers may overtake each other.
        if newest.number < self.newest.number {
            return;
        }
        // It was sent when the other answer was there, and used up one at least.
        let after = newest.number > self.newest.sent;
        let before_the_reset = newest.at + SAME_RESET < self.told_until();
        if after && before_the_reset && newest.remaining >= self.newest.remaining {
            self.steady.get_or_insert(true);
        }
        self.last = newest.number.saturating_add(newest.remaining);
        if newest.remaining > 0 {
            self.beyond = None;
        }
        self.newest = newest;
        self.length = reset;
        let resets = self.told_until();
        // Whole seconds, rounded up: of several answers the one that says the least is nearest.
        let apart = self.resets.max(resets) - self.resets.min(resets);
        self.resets = if apart < SAME_RESET && !self.is_steady() {
            self.resets.min(resets)
        } else {
            resets
        };
    }
}

/// Servers name one or two; a name is theirs to choose, and must not grow our memory.
const MOST_POLICIES: usize = 8;
/// Resets told by two answers that lie closer together are the same one.
const SAME_RESET: Duration = Duration::from_millis(1500);
/// As often as this, a refusal in spite of what was said to be left is a matter of other clients.
const REQUESTS_PER_LIE: u64 = 200;
/// So short a window is taken for a bucket until it refuses: a rate a second is the usual way to
/// describe one.
const SHORT_WINDOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
