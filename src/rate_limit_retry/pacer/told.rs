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
/// through (draft-ietf-httpapi-ratelimit-headers-10, §7).
#[derive(Debug, Default)]
pub(super) struct Told(Vec<Policy>);

#[derive(Debug)]
struct Policy {
    name: String,
    /// The number of the last request that it lets through, in the order of sending.
    last: u64,
    /// The number of the request whose answer said so.
    told_with: u64,
    /// When there is more, unless told anew.
    resets: Instant,
    /// How much there is then, if the server says.
    quota: Option<u64>,
    /// A request is out to see how much there is.
    asking: bool,
}

impl Told {
    /// Whether the next request, the `number`th, may be sent.
    pub(super) fn turn(&mut self, number: u64, now: Instant) -> Turn {
        let mut turn = Turn::Go;
        for policy in &mut self.0 {
            if number <= policy.last {
                continue;
            }
            if now < policy.resets {
                turn = turn.and(Turn::At(policy.resets));
            } else if let Some(quota) = policy.quota {
                // A new window, which nobody has told of yet.
                policy.last = (number - 1).saturating_add(quota);
                policy.resets = time::after(now, time::CENTURY);
            } else if policy.asking {
                turn = turn.and(Turn::AfterAnswer);
            }
        }
        turn
    }

    /// The `number`th request is sent.
    pub(super) fn sent(&mut self, number: u64) {
        for policy in &mut self.0 {
            policy.asking |= number > policy.last;
        }
    }

    /// A request was lost; should it have been the one that was to ask, another may.
    pub(super) fn lost(&mut self) {
        for policy in &mut self.0 {
            policy.asking = false;
        }
    }

    /// The answer to the `number`th request has come, and says this.
    pub(super) fn answered(
        &mut self,
        number: u64,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        for policy in &mut self.0 {
            policy.asking = false;
        }
        for limit in limits {
            let Some(reset) = limit.reset else { continue };
            let described = policies.iter().find(|policy| policy.policy == limit.policy);
            if described.is_some_and(|policy| policy.unit != QuotaUnit::Requests) {
                continue;
            }
            let quota = described.map(|policy| policy.quota);
            self.told(number, limit, reset, quota, now);
        }
    }

    fn told(
        &mut self,
        number: u64,
        limit: &RateLimit,
        reset: Duration,
        quota: Option<u64>,
        now: Instant,
    ) {
        let resets = time::after(now, reset);
        let known = self.0.iter_mut().find(|policy| policy.name == limit.policy);
        let Some(policy) = known else {
            if self.0.len() < MOST_POLICIES {
                self.0.push(Policy {
                    name: limit.policy.clone(),
                    last: number.saturating_add(limit.remaining),
                    told_with: number,
                    resets,
                    quota,
                    asking: false,
                });
            }
            return;
        };
        if number < policy.told_with {
            return;
        }
        policy.told_with = number;
        policy.last = number.saturating_add(limit.remaining);
        policy.quota = quota;
        // Whole seconds, rounded up: of several answers the one that says the least is nearest.
        let same = policy.resets.max(resets) - policy.resets.min(resets) < SAME_RESET;
        policy.resets = match same {
            true => policy.resets.min(resets),
            false => resets,
        };
    }
}

/// Servers name one or two; a name is theirs to choose, and must not grow our memory.
const MOST_POLICIES: usize = 8;
/// Resets told by two answers that lie closer together are the same one.
const SAME_RESET: Duration = Duration::from_millis(1500);
