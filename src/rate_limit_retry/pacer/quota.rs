//! A limit that the user knows, and what of it is used up.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::learned::Turn;
use crate::time;

/// So many requests in any stretch of so much time, counted when they are sent.
///
/// In *any* stretch, so that it holds whatever the server counts by: fixed windows, sliding ones, or
/// a bucket that refills. A bucket of that size at that rate would send nearly twice as many in one
/// of the server's windows.
///
/// ```
/// use tower_outbound::rate_limit_retry::{Pacer, Quota, RateLimitRetryLayer};
///
/// let pacer = Pacer::new()
///     .quota(Quota::per_minute(300))
///     .quota(Quota::per_second(20).burst(5));
/// let layer = RateLimitRetryLayer::new().pacer(pacer);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    requests: u32,
    period: Duration,
    burst: u32,
}

impl Quota {
    /// `requests` in any stretch of `period`. No requests are read as one, no time as a nanosecond:
    /// a quota that lets nothing through would be a job that never ends.
    pub fn new(requests: u32, period: Duration) -> Self {
        let requests = requests.max(1);
        Self {
            requests,
            period: period.clamp(Duration::from_nanos(1), time::CENTURY),
            burst: requests,
        }
    }

    /// `requests` in any second.
    pub fn per_second(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(1))
    }

    /// `requests` in any minute.
    pub fn per_minute(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(60))
    }

    /// `requests` in any hour.
    pub fn per_hour(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(3600))
    }

    /// At most so many at once, and the rest evenly spaced over the period. By default all of them
    /// may go at once, which uses up a server's fixed window best; a server without buckets wants 1.
    #[must_use]
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = requests.clamp(1, self.requests);
        self
    }

    /// How many requests.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// In which time.
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// What was sent of a quota.
#[derive(Debug)]
pub(super) struct Used {
    quota: Quota,
    /// Requests of the period that ends now.
    sent: VecDeque<Grain>,
    count: u32,
    /// When the bucket that allows for a burst is full again.
    full_at: Option<Instant>,
}

/// Requests that were sent so close together that they are counted as one.
#[derive(Debug)]
struct Grain {
    first: Instant,
    /// By which they are forgotten: later rather than too early.
    last: Instant,
    requests: u32,
}

impl Used {
    pub(super) fn nothing_of(quota: Quota) -> Self {
        Self {
            quota,
            sent: VecDeque::new(),
            count: 0,
            full_at: None,
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.quota.period
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        while let Some(oldest) = self.sent.front()
            && time::after(oldest.last, self.quota.period) <= now
        {
            self.count -= oldest.requests;
            self.sent.pop_front();
        }
        let spent = self.count >= self.quota.requests;
        let oldest = self.sent.front().filter(|_| spent);
        let window = oldest.map(|oldest| time::after(oldest.last, self.quota.period));
        let spacing = self.spaced_until(now);
        match window.max(spacing) {
            Some(until) if until > now => Turn::At(until),
            _ => Turn::Go,
        }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.count += 1;
        let grain = self.quota.period / GRAINS;
        match self.sent.back_mut() {
            Some(newest) if now.saturating_duration_since(newest.first) < grain => {
                newest.last = now;
                newest.requests += 1;
            }
            _ => self.sent.push_back(Grain {
                first: now,
                last: now,
                requests: 1,
            }),
        }
        if self.is_spaced() {
            let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
            self.full_at = Some(full_at + self.gap());
        }
    }

    fn is_spaced(&self) -> bool {
        self.quota.burst < self.quota.requests
    }

    fn gap(&self) -> Duration {
        self.quota.period / self.quota.requests
    }

    /// When the bucket holds another request: the generic cell rate algorithm.
    fn spaced_until(&self, now: Instant) -> Option<Instant> {
        let full_at = self.full_at.filter(|full_at| *full_at > now)?;
        let tolerance = self.gap() * (self.quota.burst - 1);
        full_at.checked_sub(tolerance)
    }
}

/// Into so many parts a period is divided: what a quota remembers is bounded, and errs by a
/// thousandth of its period, to the safe side.
const GRAINS: u32 = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When each of `count` requests may be sent, if all want to at once.
    fn times(quota: Quota, count: usize) -> Vec<Duration> {
        let (mut used, start) = (Used::nothing_of(quota), time::now());
        let mut now = start;
        let mut times = Vec::new();
        while times.len() < count {
            match used.turn(now) {
                Turn::Go => {
                    used.sent(now);
                    times.push(now - start);
                }
                Turn::At(at) => {
                    assert!(at > now, "a wait of nothing spins");
                    now = at;
                }
                Turn::AfterAnswer => panic!("a quota knows no answers"),
            }
        }
        times
    }

    #[test]
    fn a_quota_goes_at_once_and_then_period_by_period() {
        let times = times(Quota::per_minute(300), 601);
        assert_eq!(times[299], Duration::ZERO);
        assert_eq!(times[300], Duration::from_secs(60));
        assert_eq!(times[600], Duration::from_secs(120));
    }

    #[test]
    fn a_burst_limits_what_goes_at_once_and_spaces_the_rest() {
        let times = times(Quota::per_second(20).burst(5), 40);
        assert_eq!(times[4], Duration::ZERO);
        for pair in times[4..20].windows(2) {
            assert_eq!(pair[1] - pair[0], Duration::from_millis(50));
        }
        assert!(times[20] >= Duration::from_secs(1), "{:?}", times[20]);
    }

    #[test]
    fn a_quota_of_nothing_is_one() {
        let times = times(Quota::new(0, Duration::ZERO), 2);
        assert!(times[1] > times[0]);
    }

    #[test]
    fn memory_is_bounded_however_large_the_quota() {
        let (mut used, mut now) = (Used::nothing_of(Quota::per_hour(u32::MAX)), time::now());
        for _ in 0..100_000 {
            assert_eq!(used.turn(now), Turn::Go);
            used.sent(now);
            now += Duration::from_millis(100);
        }
        assert!(
            used.sent.len() <= GRAINS as usize + 1,
            "{}",
            used.sent.len()
        );
    }

    #[test]
    fn a_steady_stream_below_the_quota_is_never_held() {
        let (mut used, mut now) = (Used::nothing_of(Quota::per_minute(1300)), time::now());
        for _ in 0..10_000 {
            assert_eq!(used.turn(now), Turn::Go);
            used.sent(now);
            now += Duration::from_millis(50);
        }
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_period_ever_holds_more(
            requests in 1..50_u32, millis in 1..5_000_u64, burst in 1..60_u32, gaps in prop::collection::vec(0..700_u64, 1..300),
        ) {
            let quota = Quota::new(requests, Duration::from_millis(millis)).burst(burst);
            let (mut used, mut now) = (Used::nothing_of(quota), time::now());
            let mut sent: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                while used.turn(now) == Turn::Go {
                    used.sent(now);
                    sent.push(now);
                }
                if let Turn::At(at) = used.turn(now) {
                    prop_assert!(at > now);
                }
            }
            for window in sent.windows(requests as usize + 1) {
                prop_assert!(window[requests as usize] - window[0] >= quota.period);
            }
            for window in sent.windows(quota.burst as usize + 1) {
                prop_assert!(window[quota.burst as usize] > window[0]);
            }
        }
    }
}
