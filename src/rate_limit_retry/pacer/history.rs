//! What a limit let through since it last refused, and which limits would have done just that.

use tokio::time::Instant;

/// The requests let through between two refusals, thinned to a few dozen points.
///
/// At both ends the server's bucket is empty. So each bucket size has one rate at which a bucket
/// that starts empty, and is drawn on at these times, is empty again at the end: see
/// [`rate`](Trail::rate).
#[derive(Debug)]
pub(super) struct History {
    /// When the refusal was sent that it begins with.
    from: Instant,
    /// When that refusal was heard of.
    heard: Instant,
    /// The seconds between the request before the refused one and that, in which a bucket gained less
    /// than one.
    gap: f64,
    /// What became of the requests that were under way then, in the order of sending.
    late: Vec<Late>,
    /// How many requests had been sent when; every `stride`th.
    points: Vec<(Instant, u64)>,
    stride: u64,
}

/// A request that was sent before a refusal was heard of, and after the refused one.
#[derive(Clone, Copy, Debug)]
struct Late {
    at: Instant,
    refused: bool,
}

impl History {
    pub(super) fn new(from: Instant, heard: Instant, gap: f64) -> Self {
        Self {
            from,
            heard,
            gap,
            late: Vec::new(),
            points: Vec::new(),
            stride: 1,
        }
    }

    pub(super) fn from(&self) -> Instant {
        self.from
    }

    /// A request that was sent before the refusal was heard of was let through, or refused.
    pub(super) fn answered_late(&mut self, sent_at: Instant, refused: bool) {
        if sent_at > self.from {
            let index = self.late.partition_point(|late| late.at <= sent_at);
            let at = sent_at;
            self.late.insert(index, Late { at, refused });
        }
    }

    /// What became of those that were under way at the refusal, as far as it is heard.
    pub(super) fn after_the_refusal(&self) -> Trail {
        Trail {
            gap: self.gap,
            steps: self.late_steps(),
            end: None,
        }
    }

    /// What a bucket has gained since the refusal and not let through; it may hold less.
    pub(super) fn saved(&self, rate: f64, burst: f64, now: Instant) -> f64 {
        let trail = self.after_the_refusal();
        let levels = trail.levels(0.0, |level, step| step.after(level, rate, burst));
        let level = levels.last().unwrap_or(0.0).max(0.0);
        let at = self.late.last().map_or(self.from, |late| late.at);
        let since = now.saturating_duration_since(at).as_secs_f64();
        level + rate * since
    }

    fn late_steps(&self) -> Vec<Step> {
        let mut at = self.from;
        if let Some(last) = self.late.last()
            && self.late.len() > MOST_LATE
        {
            let let_through = self.late.iter().filter(|late| !late.refused);
            return vec![Step {
                seconds: last.at.saturating_duration_since(at).as_secs_f64(),
                requests: let_through.count() as f64,
                refused: false,
            }];
        }
        let steps = self.late.iter().map(|late| {
            let seconds = late.at.saturating_duration_since(at).as_secs_f64();
            at = late.at;
            Step {
                seconds,
                requests: f64::from(u8::from(!late.refused)),
                refused: late.refused,
            }
        });
        steps.collect()
    }

    /// None of those sent since the limit opened was let through.
    pub(super) fn none_was_let_through(&mut self) {
        self.points.retain(|(_, count)| *count == 0);
    }

    /// The `count`th request since the limit opened is sent; the 0th is the opening itself.
    pub(super) fn sent(&mut self, count: u64, now: Instant) {
        if !count.is_multiple_of(self.stride) {
            return;
        }
        self.points.push((now, count));
        if self.points.len() >= MOST_POINTS {
            self.stride *= 2;
            let stride = self.stride;
            self.points
                .retain(|(_, count)| count.is_multiple_of(stride));
        }
    }

    /// What was let through until the request was sent that is refused now, `count` requests, of which
    /// the last was sent at `last`.
    ///
    /// `earlier` moves the beginning: where it is only known when the first refusal was heard of.
    pub(super) fn until(
        &self,
        last: Option<Instant>,
        refused: Instant,
        count: u64,
        earlier: f64,
    ) -> Trail {
        let mut steps = self.late_steps();
        let (mut at, mut seen) = (self.late.last().map_or(self.from, |late| late.at), 0);
        let points = self.points.iter().copied();
        let points = points.filter(|(_, sent)| *sent <= count);
        let end = last.map(|last| (last, count)).into_iter();
        let all = [(self.heard, 0)].into_iter().chain(points).chain(end);
        for (point, sent) in all {
            steps.push(Step {
                seconds: point.saturating_duration_since(at).as_secs_f64(),
                requests: (sent - seen) as f64,
                refused: false,
            });
            (at, seen) = (point.max(at), sent);
        }
        if let Some(first) = steps.first_mut() {
            first.seconds += earlier;
        }
        Trail {
            gap: self.gap,
            steps,
            end: Some(refused.saturating_duration_since(at).as_secs_f64()),
        }
    }
}

/// So many requests within so much time.
#[derive(Clone, Copy, Debug)]
struct Step {
    seconds: f64,
    requests: f64,
    /// It ends with one more, which was refused.
    refused: bool,
}

impl Step {
    /// What is in a bucket after it, at the most: of several requests, only the last is seen.
    fn after(&self, level: f64, rate: f64, burst: f64) -> f64 {
        // Full, less the request that the step ends with.
        let full = (burst - 1.0).max(0.0);
        let most = if self.requests > 0.0 { full } else { burst };
        (level + rate * self.seconds - self.requests).min(most)
    }

    /// The same if they came evenly.
    fn after_evenly(&self, level: f64, rate: f64, burst: f64) -> f64 {
        let gained = rate * self.seconds / self.requests.max(1.0);
        if gained < 1.0 && self.requests > 0.0 {
            // It was the fullest at the first of them.
            level.min(burst - gained) + self.requests * (gained - 1.0)
        } else {
            self.after(level, rate, burst)
        }
    }
}

/// A stretch of time that begins and ends with a refusal.
#[derive(Debug)]
pub(super) struct Trail {
    /// The seconds from the request let through before it to the refusal that it begins with.
    gap: f64,
    /// Each ends with a request that was let through, but for those in which there was none.
    steps: Vec<Step>,
    /// The seconds from the last of them to the refused one, if it ends with one.
    end: Option<f64>,
}

impl Trail {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn requests(&self) -> f64 {
        self.steps.iter().map(|step| step.requests).sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum::<f64>() + self.end()
    }

    /// Of the last so many requests, the later half, and the seconds in which they were let through.
    pub(super) fn later_half(&self, of: f64) -> (f64, f64) {
        let (mut requests, mut seconds) = (0.0, self.end());
        for step in self.steps.iter().rev() {
            if requests >= of / 2.0 {
                break;
            }
            requests += step.requests;
            seconds += step.seconds;
        }
        (requests, seconds)
    }

    /// The seconds from the last request that was let through to the refused one.
    pub(super) fn end(&self) -> f64 {
        self.end.unwrap_or(0.0)
    }

    /// The least and the greatest rate of a bucket that does just this, if each request arrived up to
    /// `jitter` seconds earlier or later. The least is the greater one if there is none.
    ///
    /// The bucket holds `smallest` at least and `largest` at most.
    pub(super) fn rates(&self, smallest: f64, largest: f64, jitter: f64) -> (f64, f64) {
        let slack = |rate: f64| SLACK + rate * jitter;
        // As much as can be is in the bucket at first, and still too little for one.
        let enough = |rate: f64| {
            let slack = slack(rate);
            let mut levels = self.levels(1.0, |level, step| {
                let level = step.after(level, rate, largest);
                if step.refused {
                    level.min(1.0 + slack)
                } else {
                    level
                }
            });
            levels.all(|level| level >= -slack)
        };
        // As little as can be is in it: it was refused, and the one before it had not been.
        let too_much = |rate: f64| {
            let slack = slack(rate);
            let mut level = (rate * self.gap).min(1.0);
            for step in &self.steps {
                if step.refused && level + rate * step.seconds >= 1.0 + slack {
                    return true;
                }
                level = step.after_evenly(level, rate, smallest);
                // What was let through was there.
                if step.requests > 0.0 {
                    level = level.max(-slack);
                }
            }
            self.end
                .is_some_and(|end| level + rate * end >= 1.0 + slack)
        };
        (least_rate(enough), least_rate(too_much))
    }

    /// What is in a bucket after each step.
    fn levels(&self, first: f64, after: impl Fn(f64, &Step) -> f64) -> impl Iterator<Item = f64> {
        self.steps.iter().scan(first, move |level, step| {
            *level = after(*level, step);
            Some(*level)
        })
    }

    /// The rate, in requests a second, of a bucket of this size that ends empty; at most `most`.
    ///
    /// With a bucket that never overflows, that is requests over time. The smaller the bucket, the
    /// more of the time it was full and gained nothing, and the higher the rate.
    pub(super) fn rate(&self, burst: f64, most: f64) -> f64 {
        let is_empty = |rate: f64| {
            let levels = self.levels(EMPTY, |level, step| step.after(level, rate, burst));
            (levels.last().unwrap_or(EMPTY) + rate * self.end()).min(burst) < EMPTY
        };
        let most = most.max(LEAST_RATE);
        if is_empty(most) {
            return most;
        }
        narrow(most, |rate| !is_empty(rate)).0
    }

    /// The most that was let through beyond what this rate gives.
    pub(super) fn burst(&self, rate: f64) -> f64 {
        let mut run: f64 = 0.0;
        let runs = self.steps.iter().map(|step| {
            run = (run + step.requests - rate * step.seconds).max(0.0);
            run
        });
        runs.fold(0.0, f64::max)
    }
}

/// The least rate for which this is true, if it is for each greater one; endless if it is for none.
fn least_rate(is_true: impl Fn(f64) -> bool) -> f64 {
    if is_true(MOST_RATE) {
        narrow(MOST_RATE, is_true).1
    } else {
        f64::INFINITY
    }
}

/// The greatest rate for which this is false and the least for which it is true, which lie close together.
fn narrow(most: f64, is_true: impl Fn(f64) -> bool) -> (f64, f64) {
    let (mut low, mut high) = (LEAST_RATE, most);
    for _ in 0..BISECTIONS {
        let middle = (low * high).sqrt();
        if is_true(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (low, high)
}

/// Enough to see a burst and a slope, and half a page of memory.
const MOST_POINTS: usize = 64;
/// What became of a larger crowd that was under way is not looked at one by one: a bound on work.
const MOST_LATE: usize = 128;
/// Halvings of the logarithm: far below what the counts can tell.
const BISECTIONS: u32 = 26;
/// One request in three hours.
const LEAST_RATE: f64 = 1e-4;
const MOST_RATE: f64 = 1e6;
/// In requests: servers round.
const SLACK: f64 = 0.01;
/// A bucket that refuses has not quite enough for a request.
const EMPTY: f64 = 0.95;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    /// A history of requests that were sent at these milliseconds after the opening at 1 s.
    fn trail(sent: impl IntoIterator<Item = u64>, refused: u64) -> Trail {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(0), at(0), 0.0);
        history.sent(0, at(1000));
        let (mut count, mut last) = (0, None);
        for millis in sent {
            last = Some(at(1000 + millis));
            count += 1;
            history.sent(count, at(1000 + millis));
        }
        history.until(last, at(1000 + refused), count, 0.0)
    }

    #[test]
    fn with_an_endless_bucket_the_rate_is_requests_over_time() {
        let trail = trail((0..100).map(|n| n * 40), 4000);
        assert!((trail.rate(f64::INFINITY, 1e4) - 100.0 / 5.0).abs() < 0.1);
    }

    #[test]
    fn time_in_which_the_bucket_was_full_does_not_count() {
        // A bucket of 5 at 20 a second: full after a quarter of the first second.
        let trail = trail(
            std::iter::repeat_n(0, 5).chain((1..=100).map(|n| n * 50)),
            5010,
        );
        let rate = trail.rate(5.0, 1e4);
        assert!((rate - 20.0).abs() < 0.4, "{rate}");
    }

    #[test]
    fn a_burst_is_what_exceeds_the_rate() {
        let trail = trail(
            std::iter::repeat_n(0, 30).chain((1..=100).map(|n| n * 50)),
            5010,
        );
        let burst = trail.burst(20.0);
        assert!((29.0..=31.0).contains(&burst), "{burst}");
    }

    #[test]
    fn a_long_history_is_thinned_and_tells_the_same() {
        let trail = trail((1..=10_000).map(|n| n * 50), 500_050);
        assert!(trail.steps.len() <= MOST_POINTS + 3);
        let rate = trail.rate(1.0, 1e4);
        assert!((rate - 20.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn of_those_under_way_at_a_refusal_only_those_sent_after_it_count() {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(100), at(200), 0.0);
        for millis in [50, 100, 150, 180] {
            history.answered_late(at(millis), false);
        }
        let trail = history.until(None, at(1100), 0, 0.0);
        assert_eq!(trail.requests(), 2.0);
        let earlier = history.until(None, at(1100), 0, 0.5);
        assert!((earlier.seconds() - trail.seconds() - 0.5).abs() < 1e-9);
    }

    /// Of a bucket that was empty at a refusal and is then asked every 20 ms, the answers in any order.
    fn asked(rate: f64, burst: f64, requests: u32) -> History {
        let start = time::now();
        let at = |count| start + Duration::from_millis(20) * count;
        let mut history = History::new(at(0), at(requests), 0.0);
        let mut level: f64 = 0.0;
        let answers = (1..=requests).map(|count| {
            level = (level + rate * 0.02).min(burst);
            let refused = level < 1.0;
            level -= f64::from(u8::from(!refused));
            (count, refused)
        });
        let answers: Vec<_> = answers.collect();
        for (count, refused) in answers.into_iter().rev() {
            history.answered_late(at(count), refused);
        }
        history
    }

    #[test]
    fn what_was_let_through_and_refused_right_after_a_refusal_tells_a_rate() {
        for (rate, burst) in [(20.0, 1.0), (20.0, 5.0), (7.0, 5.0), (33.0, 50.0)] {
            let trail = asked(rate, burst, 25).after_the_refusal();
            let (least, most) = trail.rates(burst, burst, 0.0);
            assert!(
                least <= rate && rate <= most && most < 1.6 * least,
                "{rate} {burst}: {least} {most}"
            );
        }
    }

    #[test]
    fn no_bucket_lets_through_what_it_has_just_refused() {
        let mut history = asked(20.0, 5.0, 25);
        let at = history.heard;
        history.answered_late(at, false);
        history.answered_late(at, false);
        let (least, most) = history.after_the_refusal().rates(5.0, 5.0, 0.0);
        assert!(least > most, "{least} {most}");
    }

    #[test]
    fn a_bucket_that_refuses_in_between_is_empty_again() {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(0), at(11_000), 0.0);
        history.answered_late(at(10_000), true);
        (0..3).for_each(|_| history.answered_late(at(10_100), false));
        // Two of the three came within a tenth of a second.
        let (least, _) = history.after_the_refusal().rates(5.0, 5.0, 0.0);
        assert!(least > 19.0, "{least}");
    }

    #[test]
    fn of_a_crowd_that_was_under_way_only_the_number_let_through_is_looked_at() {
        let history = asked(20.0, 5.0, 1000);
        let trail = history.after_the_refusal();
        assert_eq!((trail.steps.len(), trail.requests()), (1, 400.0));
        assert!((trail.seconds() - 20.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_saved_is_what_was_gained_and_not_let_through() {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(0), at(100), 0.0);
        assert!((history.saved(20.0, 5.0, at(1000)) - 20.0).abs() < 1e-6);
        history.answered_late(at(100), false);
        history.answered_late(at(150), true);
        // Two were gained, of which one was let through; then seventeen more.
        assert!((history.saved(20.0, 5.0, at(1000)) - 19.0).abs() < 1e-6);
    }

    #[test]
    fn a_bucket_that_is_never_full_has_one_rate_but_for_a_request_at_either_end() {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(0), at(0), 0.05);
        for count in 1..=10 {
            history.sent(count, at(100 * count));
        }
        let trail = history.until(Some(at(1000)), at(1050), 10, 0.0);
        let rates = |jitter| trail.rates(f64::INFINITY, f64::INFINITY, jitter);
        let is_near = |rate: f64, expected: f64| (rate / expected - 1.0).abs() < 1e-4;
        // Ten in a second, of which one may have been there at first; and not eleven from when the
        // request before the first refusal was let through.
        let (least, most) = rates(0.0);
        assert!(is_near(least, 9.0 - SLACK), "{least}");
        assert!(is_near(most, (11.0 + SLACK) / 1.1), "{most}");
        let (least, most) = rates(0.1);
        assert!(is_near(least, (9.0 - SLACK) / 1.1), "{least}");
        assert!(is_near(most, 11.0 + SLACK), "{most}");
    }

    #[test]
    fn a_full_bucket_gains_nothing_before_the_first_of_several_requests() {
        let step = |seconds, requests| Step {
            seconds,
            requests,
            refused: false,
        };
        let trail = Trail {
            gap: 0.0,
            steps: vec![step(1.0, 0.0), step(1.0, 20.0)],
            end: Some(0.04),
        };
        let (_, most) = trail.rates(3.0, 3.0, 0.0);
        // Of what is gained in the second step, a twentieth finds it full.
        let expected = (18.0 + SLACK) / (0.95 + 0.04);
        assert!((most / expected - 1.0).abs() < 1e-4, "{most}");
    }

    #[test]
    fn nothing_at_all_is_no_number_to_fear() {
        let trail = trail([], 0);
        for burst in [0.0, 1.0, f64::INFINITY] {
            assert!(trail.rate(burst, 0.0).is_finite());
        }
        assert_eq!(trail.burst(0.0), 0.0);
    }
}
