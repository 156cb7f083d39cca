//! When requests were sent of late.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The requests of the last seconds, in the order of sending; without those of which a refusal was heard.
#[derive(Debug, Default)]
pub(super) struct Recent {
    requests: VecDeque<(u64, Instant)>,
}

impl Recent {
    /// The `number`th request is sent.
    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        while let Some((_, oldest)) = self.requests.front()
            && (now.saturating_duration_since(*oldest) > REMEMBERED || self.is_full())
        {
            self.requests.pop_front();
        }
        self.requests.push_back((number, now));
    }

    /// The `number`th request was refused, so it counts for nothing.
    pub(super) fn refused(&mut self, number: u64) {
        let found = self
            .requests
            .binary_search_by_key(&number, |(number, _)| *number);
        if let Ok(index) = found {
            self.requests.remove(index);
        }
    }

    /// How many were sent before the `number`th, and less than so long before `at`.
    pub(super) fn before(&self, number: u64, at: Instant, within: Duration) -> u64 {
        let later = self.requests.partition_point(|(sent, _)| *sent < number);
        let earlier = self
            .requests
            .partition_point(|(_, sent)| at.saturating_duration_since(*sent) >= within);
        later.saturating_sub(earlier) as u64
    }

    /// Whether there were so many that not all of them are remembered.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= MOST
    }
}

/// What is asked for is the last second or two before a request, whose answer may take another.
const REMEMBERED: Duration = Duration::from_secs(3);
/// A bound on memory: some hundred requests a second.
const MOST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn those_sent_before_a_request_and_not_long_before_it_are_counted() {
        let (mut recent, start) = (Recent::default(), time::now());
        let at = |millis| start + Duration::from_millis(millis);
        for (number, millis) in [(1, 0), (2, 500), (3, 900), (4, 900), (5, 900)] {
            recent.sent(number, at(millis));
        }
        let within = Duration::from_secs(1);
        assert_eq!(recent.before(4, at(900), within), 3);
        assert_eq!(recent.before(6, at(1400), within), 4);
        // A second later it is no longer within that second.
        assert_eq!(recent.before(6, at(1500), within), 3);
        recent.refused(3);
        assert_eq!(recent.before(6, at(1500), within), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut recent, start) = (Recent::default(), time::now());
        for number in 0..10_000 {
            recent.sent(number, start);
        }
        assert!(recent.is_full() && recent.requests.len() == MOST);
        recent.sent(10_000, start + 2 * REMEMBERED);
        assert_eq!(recent.requests.len(), 1);
    }
}
