//! What is left of a quota that fills up steadily.

use std::time::Duration;

use tokio::time::Instant;

use super::{super::learned::Turn, Count, Numbered};
use crate::time;

/// How many requests a bucket has let through and would let through now, in the order of sending.
///
/// An answer tells what was left when its request was decided on, which was at any time on its way,
/// and among any of those that were under way with it. So it only says between which bounds the
/// level is; what lies between them is our own count of what was sent and filled up.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The last request that it would have let through at `since`.
    level: u64,
    since: Instant,
    /// The most it was seen to hold.
    most: u64,
    /// So much is kept back, since requests may be refused that come in other distances than they
    /// were sent in.
    reserve: u64,
    /// How many had been sent when that was found.
    found: u64,
}

impl Bucket {
    /// One of which this is the first word.
    pub(super) fn new(request: Option<Numbered>, left: u64, count: Count, now: Instant) -> Self {
        let level = match request {
            Some(request) => at_least(request, left),
            None => count.ended.saturating_add(left),
        };
        Self {
            level,
            since: now,
            most: left.saturating_add(1),
            reserve: 0,
            found: 0,
        }
    }

    /// The most it was seen to hold.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Whether it lets the `number`th request through, and if not, when it will.
    pub(super) fn turn(&mut self, gap: Duration, number: u64, now: Instant) -> Turn {
        let level = number.saturating_add(self.reserve);
        if level <= self.level(gap, number - 1, now) {
            return Turn::Go;
        }
        let missing = u128::from(level - self.level);
        let wait = u64::try_from(nanos(gap).saturating_mul(missing)).unwrap_or(u64::MAX);
        Turn::At(time::after(self.since, Duration::from_nanos(wait)))
    }

    /// The `number`th request is sent. What would have filled up before, had it not been full, is gone.
    pub(super) fn sent(&mut self, gap: Duration, number: u64, now: Instant) {
        self.level(gap, number - 1, now);
    }

    /// The last request that it would let through now, that so many have been sent.
    fn level(&mut self, gap: Duration, sent: u64, now: Instant) -> u64 {
        let filled = now.saturating_duration_since(self.since).as_nanos() / nanos(gap);
        let filled = u64::try_from(filled).unwrap_or(u64::MAX);
        let level = self.level.saturating_add(filled);
        let full = sent.saturating_add(self.most);
        if level < full {
            return level;
        }
        self.set(self.level.max(full), now);
        self.level
    }

    /// The answer to a request says how much is left.
    pub(super) fn told(
        &mut self,
        request: Option<Numbered>,
        left: u64,
        gap: Duration,
        count: Count,
        now: Instant,
    ) {
        self.most = self.most.max(left.saturating_add(1));
        let level = self.level(gap, count.sent, now);
        let (least, most) = match request {
            Some(request) => {
                let under_way = now.saturating_duration_since(request.at);
                let filled = 1 + under_way.as_nanos() / nanos(gap);
                let filled = u64::try_from(filled).unwrap_or(u64::MAX);
                let most = count.sent.saturating_add(left).saturating_add(filled);
                (at_least(request, left).max(count.ended), most)
            }
            // Those that were sent unseen came before all the others.
            None => (0, count.ended.saturating_add(left)),
        };
        if level < least.min(most) || level > most {
            self.set(level.max(least).min(most), now);
        }
    }

    /// A request was refused: nothing is left for those that are under way.
    pub(super) fn refused(&mut self, gap: Duration, count: Count, now: Instant) {
        // It has a number, and used up nothing.
        let level = self.level(gap, count.sent, now).saturating_add(1);
        self.set(level.min(count.ended), now);
    }

    /// The `number`th request was refused that should not have been; whether more can be kept back.
    pub(super) fn keeps_back(&mut self, number: u64, sent: u64) -> bool {
        if number <= self.found {
            // It was under way when the last one was.
            return true;
        }
        let (most, reserve) = (self.most / PARTS, self.reserve);
        self.reserve = (2 * reserve + 1).min(most);
        self.found = sent;
        reserve < most
    }

    fn set(&mut self, level: u64, now: Instant) {
        self.level = level;
        self.since = now;
    }
}

/// All that were answered when a request was sent were counted before it.
fn at_least(request: Numbered, left: u64) -> u64 {
    (request.ended + 1).saturating_add(left)
}

fn nanos(gap: Duration) -> u128 {
    gap.as_nanos().max(1)
}

/// The most that is kept back is a quarter. Where that is not enough it is no bucket, and to keep
/// back half of a window lost a sixth of its throughput.
const PARTS: u64 = 4;
