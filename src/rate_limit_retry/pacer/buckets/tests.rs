use std::time::Duration;

use proptest::prelude::*;

use super::{super::history::History, *};
use crate::time;

/// A bucket that has just refused a request, the clock, and how requests are sent to it.
#[derive(Debug)]
struct Server {
    rate: f64,
    burst: f64,
    level: f64,
    /// In milliseconds.
    now: u64,
    last: u64,
}

impl Server {
    fn new(rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            level: 0.0,
            now: 0,
            last: 0,
        }
    }

    fn ask(&mut self) -> bool {
        let gained = self.rate * (self.now - self.last) as f64 / 1000.0;
        self.level = (self.level + gained).min(self.burst);
        self.last = self.now;
        let lets_through = self.level >= 1.0;
        self.level -= f64::from(u8::from(lets_through));
        lets_through
    }

    /// Nothing for so long, so many at once, and then one after each of these, until one is refused.
    /// All in milliseconds; `gap` is between the refusal before and the request before that.
    fn stretch(
        &mut self,
        gap: u64,
        closed: u64,
        rush: u64,
        mut gaps: impl Iterator<Item = u64>,
    ) -> (Trail, u64) {
        let start = time::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(at(self.now), at(self.now), gap as f64 / 1000.0);
        self.now += closed;
        history.sent(0, at(self.now));
        let (mut count, mut last) = (0, None);
        loop {
            if count >= rush {
                self.now += gaps.next().expect("none was refused");
            }
            let from = last.unwrap_or(self.now);
            if !self.ask() {
                let trail = history.until(last.map(at), at(self.now), count, 0.0);
                return (trail, self.now - from);
            }
            count += 1;
            last = Some(self.now);
            history.sent(count, at(self.now));
        }
    }
}

fn every(millis: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_n(millis, 10_000)
}

/// From slow to fast.
fn ramp() -> impl Iterator<Item = u64> {
    (1..200).rev()
}

#[test]
fn one_stretch_leaves_small_ones_with_a_high_rate_and_large_ones_with_a_low_one() {
    let (trail, _) = Server::new(20.0, 5.0).stretch(0, 1000, 4, ramp());
    let found = Buckets::of(&trail, 0.0);
    let (small, large) = (found.of_size(5.0).unwrap(), found.of_size(10.0).unwrap());
    assert!(small.least <= 20.0 && 20.0 <= small.most, "{small:?}");
    assert!(large.most < small.least, "{small:?} {large:?}");
    let (least, most, _) = found.common().unwrap();
    assert!(most > 1.2 * least, "{least} {most}");
}

#[test]
fn stretches_of_other_shapes_leave_one() {
    for (rate, burst) in [(20.0, 5.0), (20.0, 1.0), (7.0, 3.0), (50.0, 10.0)] {
        let mut server = Server::new(rate, burst);
        let (short, gap) = server.stretch(0, 1000, 1, ramp());
        let much_too_fast = (700.0 / rate) as u64;
        let (fast, gap) = server.stretch(gap, 1000, 1, every(much_too_fast));
        let slightly_too_fast = (970.0 / rate) as u64;
        let (long, _) = server.stretch(gap, 1000, 1, every(slightly_too_fast));
        let found = [short, fast, long].map(|trail| Buckets::of(&trail, 0.0));
        let found = found[0].and(&found[1]).and(&found[2]);
        let (least, most, smallest) = found.common().unwrap();
        assert_eq!(smallest, burst);
        assert!(least <= rate && rate <= most, "{rate}: {least} to {most}");
        assert!(most < 1.07 * least, "{rate}: {least} to {most}");
    }
}

#[test]
fn what_was_sent_slightly_too_fast_tells_the_rate_to_a_few_thousandths() {
    let mut server = Server::new(20.0, 1.0);
    let (first, gap) = server.stretch(0, 1000, 1, every(49));
    let (second, _) = server.stretch(gap, 500, 1, every(50).take(100).chain(every(49)));
    let found = Buckets::of(&first, 0.0).and(&Buckets::of(&second, 0.0));
    let (least, most, _) = found.common().unwrap();
    assert!(least > 19.7 && most < 20.7, "{least} to {most}");
}

#[test]
fn stretches_of_two_limits_leave_none() {
    let slower = |millis: u64| every(millis + 1).take(50).chain(every(millis - 3));
    let (slow, _) = Server::new(10.0, 1.0).stretch(0, 1000, 1, slower(100));
    let (fast, _) = Server::new(20.0, 1.0).stretch(0, 1000, 1, slower(50));
    assert!(
        Buckets::of(&slow, 0.0)
            .and(&Buckets::of(&fast, 0.0))
            .is_empty()
    );
}

#[test]
fn what_any_size_would_have_done_tells_nothing() {
    // Nothing was let through.
    let history = History::new(time::now(), time::now(), 0.0);
    let trail = history.until(None, time::now() + Duration::from_secs(1), 0, 0.0);
    assert!(
        Buckets::of(&trail, 0.0)
            .common()
            .is_none_or(|(least, most, _)| most > 2.0 * least)
    );
}

#[test]
fn where_the_endless_one_is_the_only_one_no_size_is_told() {
    let endless = Size {
        burst: f64::INFINITY,
        least: 1.0,
        most: 2.0,
    };
    let found = Buckets {
        sizes: vec![endless],
        largest: 5.0,
    };
    assert!(found.common().is_none());
}

proptest! {
    /// Whatever is sent, the true one is never ruled out. (Of more requests than these, a history keeps
    /// only some.)
    #[test]
    fn the_bucket_that_there_is_is_among_them(
        rate in 1.0..100.0f64,
        burst in 1u32..40,
        closed in proptest::collection::vec(0u64..3000, 1..4),
        rush in 0u64..50,
        gaps in proptest::collection::vec(0u64..400, 1..10),
        jitter in 0.0..0.02f64,
    ) {
        let burst = f64::from(burst);
        let mut server = Server::new(rate, burst);
        let (mut found, mut gap): (Option<Buckets>, u64) = (None, 0);
        for closed in closed {
            // Ever faster, so that one is refused.
            let rest = (0..).flat_map(|round| gaps.iter().map(move |gap| gap >> round.min(10)));
            let (trail, next_gap) = server.stretch(gap, closed, rush, rest);
            gap = next_gap;
            if trail.requests() >= 60.0 {
                break;
            }
            let newest = Buckets::of(&trail, jitter);
            let both = found.map_or(newest.clone(), |found| found.and(&newest));
            let size = both.sizes.iter().rev().find(|size| size.burst <= burst);
            let endless = both.of_size(f64::INFINITY);
            let holds = |size: &Size| size.least <= rate && rate <= size.most;
            prop_assert!(
                if burst < both.largest { size.is_some_and(holds) } else { endless.as_ref().is_some_and(holds) },
                "{rate} {burst}: {both:?} {trail:?}"
            );
            found = Some(both);
        }
    }
}
