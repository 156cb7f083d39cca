//! A limit of so many requests in a second, as it shows itself: a decision on counts.
//!
//! It saves nothing up. What a bucket gains in a pause, and lets through beside what it gains next, such a
//! limit refuses, whether its seconds are those of a clock, begin with a request, or end with each. What
//! gives it away is that it lets through as many in the second before each refusal.

use std::time::Duration;

use tokio::time::Instant;

use super::recent::Recent;

/// How many were let through in the second before each of the last refusals. Told the time, never asks.
#[derive(Debug, Default)]
pub(super) struct Second {
    recent: Recent,
    sent: u64,
    /// What these refusals have in common.
    limit: Option<Limit>,
    /// So many refusals in a row.
    agreed: u32,
}

/// How many requests may be let through in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) least: u64,
    pub(super) most: u64,
}

/// A request that was sent, as far as a refusal needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    number: u64,
    at: Instant,
}

impl Second {
    pub(super) fn sent(&mut self, now: Instant) -> Sent {
        self.sent += 1;
        self.recent.sent(self.sent, now);
        Sent {
            number: self.sent,
            at: now,
        }
    }

    /// A request was refused. Each arrives up to `jitter` earlier or later than others.
    pub(super) fn refused(&mut self, refused: Sent, jitter: Duration) {
        let Sent { number, at } = refused;
        let within = |time| self.recent.before(number, at, time);
        let newest = Limit {
            least: within(SECOND.saturating_sub(jitter)),
            most: within(SECOND + jitter),
        };
        let is_known = newest.least > 0 && !self.recent.is_full();
        let common = self.limit.and_then(|known| known.and(newest));
        (self.limit, self.agreed) = match common {
            _ if !is_known => (None, 0),
            Some(common) => (Some(common), self.agreed.saturating_add(1)),
            None => (Some(newest), 1),
        };
        self.recent.refused(number);
    }

    /// A request was refused that was under way when another one was. That is no news.
    pub(super) fn refused_late(&mut self, refused: Sent) {
        self.recent.refused(refused.number);
    }

    /// The limit that was seen at enough refusals in a row, and at how many.
    pub(super) fn limit(&self) -> Option<(Limit, u32)> {
        let limit = self.limit?;
        let seen = limit.least.saturating_mul(self.agreed.into());
        (self.agreed >= CONVINCING && seen >= ENOUGH).then_some((limit, self.agreed))
    }

    /// What was seen was by chance.
    pub(super) fn doubt(&mut self) {
        self.limit = None;
        self.agreed = 0;
    }
}

impl Limit {
    /// What both allow for.
    fn and(self, other: Limit) -> Option<Limit> {
        let (least, most) = (self.least.max(other.least), self.most.min(other.most));
        (least <= most).then_some(Limit { least, most })
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Two may agree by chance.
const CONVINCING: u32 = 3;
/// In requests: where there are only a few in a second, many refusals agree by chance.
const ENOUGH: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    /// What is seen when so many are sent each second, evenly, and the next is refused, so many times.
    fn seen(counts: &[u32], jitter: Duration) -> Second {
        let (mut second, mut now) = (Second::default(), time::now());
        for count in counts {
            for _ in 0..*count {
                second.sent(now);
                now += SECOND / (count + 1);
            }
            let refused = second.sent(now);
            second.refused(refused, jitter);
            now += 2 * SECOND;
        }
        second
    }

    fn limit(counts: &[u32]) -> Option<(u64, u64, u32)> {
        let (limit, agreed) = seen(counts, Duration::from_micros(200)).limit()?;
        Some((limit.least, limit.most, agreed))
    }

    #[test]
    fn as_many_in_the_second_before_three_refusals_are_a_limit() {
        assert_eq!(limit(&[10, 10]), None);
        assert_eq!(limit(&[10, 10, 10]), Some((10, 10, 3)));
        assert_eq!(limit(&[10, 10, 10, 10]), Some((10, 10, 4)));
    }

    #[test]
    fn where_they_are_few_it_takes_more_refusals() {
        assert_eq!(limit(&[4; 4]), None);
        assert_eq!(limit(&[4; 5]), Some((4, 4, 5)));
        assert_eq!(limit(&[1; 19]), None);
        assert_eq!(limit(&[1; 20]), Some((1, 1, 20)));
    }

    #[test]
    fn another_count_begins_anew() {
        assert_eq!(limit(&[10, 10, 14, 10]), None);
        assert_eq!(limit(&[14, 10, 10, 10]), Some((10, 10, 3)));
        assert_eq!(limit(&[10, 10, 10, 9]), None);
    }

    #[test]
    fn what_is_doubted_has_to_be_seen_again() {
        let mut second = seen(&[10, 10, 10], Duration::ZERO);
        second.doubt();
        assert!(second.limit().is_none());
    }

    #[test]
    fn only_the_last_second_counts_and_nobody_who_was_refused() {
        let (mut second, mut now) = (Second::default(), time::now());
        for _ in 0..2 {
            (0..30).for_each(|_| _ = second.sent(now));
            now += SECOND / 2;
            let (refused, late) = (second.sent(now), second.sent(now));
            second.refused(refused, Duration::ZERO);
            second.refused_late(late);
            // Of those of half a second ago none is left.
            now += SECOND / 2;
            (0..10).for_each(|_| _ = second.sent(now));
            let refused = second.sent(now);
            second.refused(refused, Duration::ZERO);
            now += 5 * SECOND;
        }
        assert_eq!(
            second.limit,
            Some(Limit {
                least: 10,
                most: 10
            })
        );
    }

    #[test]
    fn one_who_may_have_come_earlier_or_later_is_counted_or_not() {
        let (mut second, mut now) = (Second::default(), time::now());
        let jitter = Duration::from_millis(20);
        for off in [-10, 0, 10_i64] {
            second.sent(now);
            now += Duration::from_millis((1000 + off).unsigned_abs());
            (0..9).for_each(|_| _ = second.sent(now));
            let refused = second.sent(now);
            second.refused(refused, jitter);
            now += 2 * SECOND;
        }
        let (limit, agreed) = second.limit().expect("all three may have been the same");
        assert_eq!((limit.least, limit.most, agreed), (9, 10, 3));
    }

    #[test]
    fn what_is_not_remembered_is_no_limit() {
        assert_eq!(limit(&[3000; 4]), None);
    }
}
