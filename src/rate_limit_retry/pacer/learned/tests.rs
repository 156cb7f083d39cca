use std::collections::VecDeque;

use proptest::prelude::*;

use super::{super::history::Trail, *};

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// ===== a server, and a job that is never out of requests =====

/// What a server lets through, by its own clock in seconds.
#[derive(Clone, Debug)]
enum Server {
    Bucket {
        rate: f64,
        burst: f64,
        level: f64,
        at: f64,
    },
    Window {
        quota: u64,
        length: f64,
        number: f64,
        used: u64,
    },
    /// So many in any time of this length.
    Sliding {
        quota: usize,
        length: f64,
        let_through: VecDeque<f64>,
    },
}

impl Server {
    fn bucket(rate: f64, burst: f64) -> Self {
        Server::Bucket {
            rate,
            burst,
            level: burst,
            at: 0.0,
        }
    }

    fn window(quota: u64, length: f64) -> Self {
        Server::Window {
            quota,
            length,
            number: 0.0,
            used: 0,
        }
    }

    fn sliding(quota: usize, length: f64) -> Self {
        Server::Sliding {
            quota,
            length,
            let_through: VecDeque::new(),
        }
    }

    /// Lets a request through, or says in how many seconds it will.
    fn ask(&mut self, now: f64) -> Result<(), f64> {
        match self {
            Server::Bucket {
                rate,
                burst,
                level,
                at,
            } => {
                *level = (*level + (now - *at) * *rate).min(*burst);
                *at = now;
                if *level < 1.0 - 1e-9 {
                    return Err((1.0 - *level) / *rate);
                }
                *level -= 1.0;
            }
            Server::Window {
                quota,
                length,
                number,
                used,
            } => {
                // The first one is cut short.
                let shifted = now + 0.3 * *length;
                if (shifted / *length).floor() > *number {
                    *number = (shifted / *length).floor();
                    *used = 0;
                }
                if *used >= *quota {
                    return Err((*number + 1.0) * *length - shifted);
                }
                *used += 1;
            }
            Server::Sliding {
                quota,
                length,
                let_through,
            } => {
                let_through.retain(|at| now - at < *length - 1e-9);
                if let_through.len() >= *quota {
                    return Err(*length - (now - let_through[0]));
                }
                let_through.push_back(now);
            }
        }
        Ok(())
    }
}

/// What it says when it refuses.
#[derive(Clone, Copy, Debug)]
enum Hints {
    /// As `Retry-After` does, rounded up.
    WholeSeconds,
    /// The same at every refusal.
    Always(Duration),
    None,
}

impl Hints {
    fn pause(self, opens_in: f64) -> Pause {
        match self {
            Hints::WholeSeconds => Pause::Hint(SECOND.mul_f64(opens_in.ceil().max(1.0))),
            Hints::Always(pause) => Pause::Hint(pause),
            Hints::None => Pause::Guess(millis(1000)),
        }
    }
}

/// What becomes of the refusals of those that were under way at another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// Their pauses are kept, too.
    Obeyed,
    Heard,
    NeverHeard,
}

#[derive(Debug)]
struct Job {
    learned: Learned,
    server: Server,
    hints: Hints,
    round_trip: Duration,
    late: Late,
    start: Instant,
    now: Instant,
    closed_until: Option<Instant>,
    /// What will be heard of each, and when.
    under_way: VecDeque<(Instant, Sent, Option<Pause>)>,
    /// Which second of the server each came in, and whether it was let through.
    log: Vec<(f64, bool)>,
}

impl Job {
    fn new(server: Server, hints: Hints, round_trip: Duration) -> Self {
        let start = time::now();
        Self {
            learned: Learned::new(),
            server,
            hints,
            round_trip,
            late: Late::Obeyed,
            start,
            now: start,
            closed_until: None,
            under_way: VecDeque::new(),
            log: Vec::new(),
        }
    }

    /// Sends so many requests, each as soon as it has its turn.
    fn send(&mut self, requests: usize) {
        (0..requests).for_each(|_| self.send_one());
    }

    /// Sends until so many openings have ended with a refusal.
    fn send_until_closed(&mut self, times: u64) {
        while self.learned.epoch < times {
            self.send_one();
        }
    }

    /// Sends until the server's clock is beyond this second.
    fn send_until(&mut self, second: f64) {
        while self.log.last().is_none_or(|(at, _)| *at < second) {
            self.send_one();
        }
    }

    /// From now on, the server has this bucket. It is empty now.
    fn change_bucket(&mut self, rate: f64, burst: f64) {
        let (now, _) = self.log.last().expect("something was sent");
        self.server = Server::Bucket {
            rate,
            burst,
            level: 0.0,
            at: *now,
        };
    }

    fn send_one(&mut self) {
        loop {
            self.hear();
            let heard_next = self.under_way.front().map(|(at, ..)| *at);
            let next = match self.turn() {
                Turn::Go if self.under_way.len() < MOST_UNDER_WAY => break,
                Turn::Go | Turn::AfterAnswer => heard_next.expect("nothing is under way"),
                Turn::At(at) => {
                    assert!(at > self.now, "a wait of nothing spins");
                    heard_next.map_or(at, |next| next.min(at))
                }
            };
            self.now = next;
        }
        let sent = self.learned.sent(self.learned.epoch > 0, self.now);
        let at = (self.now - self.start + self.round_trip / 2).as_secs_f64();
        let answer = self.server.ask(at);
        self.log.push((at, answer.is_ok()));
        let refused = answer.err().map(|opens_in| self.hints.pause(opens_in));
        self.under_way
            .push_back((self.now + self.round_trip, sent, refused));
    }

    fn turn(&mut self) -> Turn {
        match self.closed_until {
            Some(until) if self.now < until => return Turn::At(until),
            Some(_) => self.learned.open(self.now),
            None => {}
        }
        self.closed_until = None;
        self.learned.turn(self.now)
    }

    fn hear(&mut self) {
        while let Some(&(at, sent, refused)) = self.under_way.front()
            && at <= self.now
        {
            self.under_way.pop_front();
            match refused {
                None => self.learned.let_through(sent, self.now),
                Some(pause) => {
                    let late = sent.epoch < self.learned.epoch;
                    if late && self.late == Late::NeverHeard {
                        continue;
                    }
                    let until = self.learned.refused(sent, pause, self.now);
                    if !late || self.late == Late::Obeyed {
                        self.closed_until = self.closed_until.max(Some(until));
                    }
                }
            }
        }
    }

    fn rate(&self) -> f64 {
        self.learned.estimate().expect("no rate was learnt").0
    }

    fn burst(&self) -> f64 {
        self.learned.estimate().expect("no burst was learnt").1
    }

    /// How many of the newest requests were refused.
    fn refused_of_last(&self, requests: usize) -> usize {
        let newest = &self.log[self.log.len() - requests..];
        newest
            .iter()
            .filter(|(_, let_through)| !let_through)
            .count()
    }

    /// Of what this rate gives while the newest requests were sent, the share that was let through.
    fn share_used(&self, rate: f64, requests: usize) -> f64 {
        let newest = &self.log[self.log.len() - requests..];
        let seconds = newest[requests - 1].0 - newest[0].0;
        (requests - self.refused_of_last(requests)) as f64 / (seconds * rate)
    }

    /// What was let through and refused in each of the server's windows, but for the one under way.
    fn windows(&self, length: f64) -> Vec<(u64, u64)> {
        let mut windows = Vec::new();
        for (at, let_through) in &self.log {
            let number = (at / length + 0.3) as usize;
            windows.resize(windows.len().max(number + 1), (0, 0));
            match let_through {
                true => windows[number].0 += 1,
                false => windows[number].1 += 1,
            }
        }
        windows.pop();
        windows
    }
}

/// Of the job, as its connections allow.
const MOST_UNDER_WAY: usize = 64;

fn job(server: Server, round_trip: Duration) -> Job {
    Job::new(server, Hints::WholeSeconds, round_trip)
}

fn buckets() -> impl Iterator<Item = (f64, f64, Duration)> {
    [7.0, 20.0, 50.0].into_iter().flat_map(|rate| {
        let bursts = [1.0, 5.0, 20.0, 50.0].into_iter();
        bursts.flat_map(move |burst| [5, 50, 500].map(|ms| (rate, burst, millis(ms))))
    })
}

// ===== buckets =====

#[test]
fn the_rate_of_a_bucket_is_found_within_three_percent_or_five_without_bursts() {
    for (rate, burst, round_trip) in buckets() {
        let mut job = job(Server::bucket(rate, burst), round_trip);
        // Whichever comes first: a high rate is found late.
        while job.learned.epoch < 20 && job.log.len() < 8000 {
            job.send_one();
        }
        let off = (job.rate() / rate - 1.0).abs();
        // One that holds a single request refuses by jitter, and is approached from below.
        let most = if burst > 1.0 { 0.03 } else { 0.05 };
        assert!(off < most, "{rate} {burst} {round_trip:?}: {}", job.rate());
    }
}

#[test]
fn the_burst_of_a_bucket_is_found_as_far_as_a_pause_fills_it_and_never_exceeded() {
    for (rate, burst, round_trip) in buckets() {
        let mut job = job(Server::bucket(rate, burst), round_trip);
        job.send(3000);
        let found = job.burst();
        assert!(
            found < burst + 1.0,
            "{rate} {burst} {round_trip:?}: {found}"
        );
        if burst < rate {
            let least = burst * 0.9 - 1.0;
            assert!(found >= least, "{rate} {burst} {round_trip:?}: {found}");
        }
    }
}

#[test]
fn a_bucket_refuses_two_in_a_hundred_at_most_from_the_third_refusal_on() {
    for (rate, burst, round_trip) in buckets() {
        let mut job = job(Server::bucket(rate, burst), round_trip);
        job.send_until_closed(3);
        job.send(2000);
        let refused = job.refused_of_last(2000);
        assert!(refused <= 40, "{rate} {burst} {round_trip:?}: {refused}");
    }
}

#[test]
fn a_bucket_that_doubles_is_found() {
    for (round_trip, most) in [(5, 1200), (50, 1200), (500, 10_000)] {
        let mut job = job(Server::bucket(20.0, 20.0), millis(round_trip));
        job.send(2000);
        job.change_bucket(40.0, 20.0);
        let found = (1..=most).find(|_| {
            job.send_one();
            job.rate() > 30.0
        });
        assert!(found.is_some(), "{round_trip}: {}", job.rate());
    }
}

#[test]
fn a_bucket_that_halves_is_found_before_forty_more_are_refused() {
    for round_trip in [5, 50, 500] {
        let mut job = job(Server::bucket(20.0, 20.0), millis(round_trip));
        job.send(2000);
        job.change_bucket(10.0, 20.0);
        job.send(400);
        assert!(job.rate() < 12.0, "{round_trip}: {}", job.rate());
        let refused = job.refused_of_last(400);
        assert!(refused <= 40, "{round_trip}: {refused}");
    }
}

#[test]
fn a_burst_that_has_grown_is_used_where_a_pause_gains_more_than_it_was() {
    for (rate, round_trip) in [(20.0, 5), (20.0, 50), (20.5, 5), (20.5, 50)] {
        let mut job = job(Server::bucket(rate, 12.0), millis(round_trip));
        job.send(3000);
        assert!(job.burst() < 13.0, "{round_trip}: {}", job.burst());
        if let Server::Bucket { burst, .. } = &mut job.server {
            *burst = 20.0;
        }
        job.send(4000);
        let share = job.share_used(rate, 4000);
        assert!(share > 0.99, "{rate} {round_trip}: {share}");
    }
}

#[test]
fn what_lets_through_more_than_it_did_in_a_second_has_saved_it_up_and_is_no_limit_on_that() {
    let mut learned = Learned::new();
    let mut now = time::now();
    let mut stretch = |learned: &mut Learned, beyond: f64| {
        learned.open(now);
        for _ in 0..20 {
            let sent = learned.sent(false, now);
            learned.let_through(sent, now);
            now += millis(45);
        }
        learned.since_opened.beyond = beyond;
        now = refuse_next(learned, Pause::Hint(2 * SECOND), now);
        learned.agreements = 0;
    };
    (0..4).for_each(|_| stretch(&mut learned, 1.0));
    assert!(learned.second.limit().is_some());
    stretch(&mut learned, 2.0);
    assert!(learned.second.limit().is_some());
    stretch(&mut learned, 4.0);
    assert!(learned.second.limit().is_none());
}

#[test]
fn who_was_refused_while_under_way_is_not_counted_in_a_second() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    for _ in 0..6 {
        learned.open(now);
        let sent: Vec<_> = (0..16).map(|_| learned.sent(false, now)).collect();
        sent[..10]
            .iter()
            .for_each(|sent| learned.let_through(*sent, now));
        sent[10..]
            .iter()
            .for_each(|sent| _ = learned.refused(*sent, Pause::Hint(SECOND), now));
        now += millis(600);
    }
    let (limit, _) = learned.second.limit().expect("it was the same three times");
    assert_eq!((limit.least, limit.most), (20, 20));
}

#[test]
fn a_search_without_a_hint_has_eight_under_way_at_least() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    let pause = Pause::Guess(SECOND);
    now = refuse_next(&mut learned, pause, now);
    learned.open(now);
    let sent = learned.sent(false, now);
    learned.let_through(sent, now + millis(500));
    refuse_next(&mut learned, pause, now);
    assert!(learned.ramp.is_some_and(|ramp| ramp.is_search()));
    assert_eq!(learned.since_opened.window, 8.0);
}

#[test]
fn without_hints_a_bucket_is_found_as_well() {
    for (rate, burst, round_trip) in buckets() {
        let mut job = Job::new(Server::bucket(rate, burst), Hints::None, round_trip);
        job.send(4000);
        let off = (job.rate() / rate - 1.0).abs();
        assert!(off < 0.03, "{rate} {burst} {round_trip:?}: {}", job.rate());
        let refused = job.refused_of_last(2000);
        assert!(refused <= 40, "{rate} {burst} {round_trip:?}: {refused}");
    }
}

#[test]
fn a_slow_bucket_refuses_two_in_a_hundred_at_most_as_well() {
    for rate in [1.0, 0.2, 0.03] {
        for (burst, round_trip) in [(1.0, 50), (1.0, 500), (5.0, 50), (5.0, 500)] {
            for hints in [Hints::WholeSeconds, Hints::None] {
                let mut job = Job::new(Server::bucket(rate, burst), hints, millis(round_trip));
                job.send(1000);
                let refused = job.refused_of_last(800);
                let used = job.share_used(rate, 800);
                assert!(
                    refused <= 16 && used > 0.97,
                    "{rate} {burst} {round_trip} {hints:?}: {refused} {used}"
                );
            }
        }
    }
}

// ===== a bucket by all that it did =====

#[test]
fn after_the_fourth_refusal_a_bucket_is_known_to_about_a_hundredth_and_its_burst_to_the_request() {
    for (rate, burst, round_trip) in buckets_with_bursts() {
        let mut job = job(Server::bucket(rate, burst), round_trip);
        job.send_until_closed(4);
        let known = job.learned.bucket.expect("it is a bucket");
        let off = (known.rate.value() / rate - 1.0).abs();
        assert!(off < 0.015, "{rate} {burst} {round_trip:?}: {known:?}");
        assert_eq!(known.burst, burst, "{rate} {round_trip:?}: {known:?}");
    }
}

#[test]
fn a_long_job_meets_five_refusals_that_are_news() {
    for round_trip in [5, 50] {
        let mut job = job(Server::bucket(20.0, 5.0), millis(round_trip));
        job.send(3000);
        assert!(job.learned.epoch <= 5, "{}", job.learned.epoch);
    }
}

#[test]
fn a_window_without_hints_is_never_kept_below_half_for_long() {
    for (quota, length) in [(60, 10.0), (20, 1.0), (300, 60.0)] {
        for round_trip in [5, 50] {
            let mut job = Job::new(
                Server::window(quota, length),
                Hints::None,
                millis(round_trip),
            );
            job.send_until(40.0 * length);
            let windows = job.windows(length);
            let used: u64 = windows[2..].iter().map(|window| window.0).sum();
            let share = used as f64 / (quota as f64 * (windows.len() - 2) as f64);
            assert!(share > 0.5, "{quota} {length} {round_trip}: {share}");
        }
    }
}

#[test]
fn a_bucket_that_changes_once_at_random_is_not_kept_below_half_for_ever() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..12 {
        let (before, after) = (10.0 + 30.0 * random.f64(), 10.0 + 30.0 * random.f64());
        let mut job = job(Server::bucket(before, 5.0), millis(20));
        job.send(1000);
        job.change_bucket(after, 5.0);
        // One that has grown is found by a creep, which takes its time.
        job.send(if after < before { 2000 } else { 8000 });
        let share = job.share_used(after, 1000);
        assert!(share > 0.7, "{before} to {after}: {share}");
    }
}

#[test]
fn a_bucket_that_would_do_but_refuses_soon_again_and_again_is_given_up() {
    // What is sent a little too fast to the second is refused as the first would.
    for (before, after) in [(36.0, 28.0), (25.0, 17.0), (50.0, 31.0), (22.0, 20.0)] {
        let mut job = job(Server::bucket(before, 1.0), millis(20));
        job.send(1000);
        job.change_bucket(after, 5.0);
        job.send(2000);
        let share = job.share_used(after, 1000);
        assert!(share > 0.95, "{before} to {after}: {share}");
    }
}

#[test]
fn after_a_short_hint_the_rate_is_searched_for() {
    for pause in [Pause::Hint(SECOND), Pause::Outage(2 * SECOND)] {
        let (mut learned, mut now) = (Learned::new(), time::now());
        now = refuse_next(&mut learned, pause, now);
        learned.open(now);
        let doubled_in = pause.length() / 8;
        // What is sent in each such time, with answers that come at once.
        let mut counts = Vec::new();
        for _ in 0..5 {
            let (mut sent, end) = (0, now + doubled_in);
            while now < end {
                match learned.turn(now) {
                    Turn::Go => {
                        sent += 1;
                        let request = learned.sent(sent > 1, now);
                        learned.let_through(request, now);
                    }
                    Turn::At(at) => now = at,
                    Turn::AfterAnswer => unreachable!("each is answered at once"),
                }
            }
            counts.push(sent);
        }
        let [first, .., before_last, last] = counts[..] else {
            unreachable!("there are five");
        };
        assert!(first < 12, "{pause:?}: {counts:?}");
        let grown = f64::from(last) / f64::from(before_last);
        assert!((1.6..2.4).contains(&grown), "{pause:?}: {counts:?}");
    }
}

#[test]
fn a_search_begins_with_48_under_way_and_with_fewer_after_a_start_with_fewer() {
    for (mut learned, most) in [(Learned::new(), 48), (Learned::gentle(8), 8)] {
        let mut now = time::now();
        now = refuse_next(&mut learned, Pause::Hint(SECOND), now);
        learned.open(now);
        // The answers take so long that the rate is no bound.
        let mut sent = 0;
        loop {
            match learned.turn(now) {
                Turn::Go => learned.sent(true, now),
                turn if turn == after_an_answer(now) => break,
                Turn::At(at) => {
                    now = at;
                    continue;
                }
                Turn::AfterAnswer => unreachable!("a time is said"),
            };
            sent += 1;
        }
        assert_eq!(sent, most);
    }
}

#[test]
fn after_a_long_hint_four_are_sent_and_twice_as_many_with_each_round_trip() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    now = refuse_next(&mut learned, Pause::Hint(3 * SECOND), now);
    learned.open(now);
    let rounds = [(); 4].map(|()| {
        let sent = send_while_go(&mut learned, now);
        now += millis(50);
        sent.iter().for_each(|sent| learned.let_through(*sent, now));
        sent.len()
    });
    assert_eq!(rounds, [4, 8, 16, 32]);
}

#[test]
fn of_a_bucket_that_is_known_one_request_is_left_in_it() {
    for (burst, rush) in [(1.0, 1), (2.0, 1), (5.0, 4)] {
        let mut learned = known_bucket(20.0, burst);
        let now = refuse_next(&mut learned, Pause::Hint(SECOND), time::now());
        learned.burst.tried = burst;
        learned.open(now);
        assert_eq!(learned.since_opened.rush_left, rush, "{burst}");
    }
}

#[test]
fn what_those_may_take_of_whom_nothing_was_heard_is_not_sent_at_once() {
    let mut learned = known_bucket(20.0, 5.0);
    let now = refuse_next(&mut learned, Pause::Hint(SECOND), time::now());
    learned.burst.tried = 5.0;
    // Of twenty that it has gained by then.
    learned.opening.unanswered = 17.0;
    learned.open(now);
    assert_eq!(learned.since_opened.rush_left, 1);
}

#[test]
fn a_bucket_that_holds_less_than_was_sent_at_once_is_another_one() {
    let mut job = job(Server::bucket(20.0, 5.0), millis(20));
    job.send(1000);
    let Bucket { burst, .. } = job.learned.bucket.expect("a bucket");
    assert_eq!((burst, job.learned.burst.tried), (5.0, 5.0));

    let mut now = refuse_next(&mut job.learned, Pause::Hint(SECOND), job.now + SECOND);
    job.learned.open(now);
    let sent = send_while_go(&mut job.learned, now);
    assert_eq!(sent.len(), 4);
    now += millis(20);
    job.learned.let_through(sent[0], now);
    job.learned.refused(sent[1], Pause::Hint(SECOND), now);
    assert!(job.learned.bucket.is_none() && job.learned.buckets.is_none());
    assert_eq!(job.burst(), 1.0);
}

/// Two a tenth of a second apart, and a third that was refused soon after.
fn trail() -> Trail {
    let start = time::now();
    let at = |after| start + millis(after);
    let mut history = History::new(at(0), at(0), 0.0);
    history.sent(0, at(1000));
    history.sent(1, at(1000));
    history.sent(2, at(1100));
    history.until(Some(at(1100)), at(1140), 2, 0.0)
}

#[test]
fn one_or_two_requests_between_refusals_do_not_undo_what_is_known_of_a_rate() {
    for (accepted, undone) in [(1.0, false), (2.0, false), (3.0, true)] {
        let mut learned = Learned::new();
        learned.rate = Some(Rate {
            least: 92.0,
            most: 94.0,
            seen: 200.0,
        });
        // Two in a second.
        let rate = learned.measure(&trail(), accepted, 1.0, Pause::Guess(SECOND));
        assert!(rate.least < 4.0, "{rate:?}");
        assert_eq!(rate.most < 94.0, undone, "{accepted}: {rate:?}");
    }
}

#[test]
fn the_more_round_trips_differ_the_less_is_known_of_a_bucket() {
    let found = [0.0, 0.01].map(|deviation| {
        let mut learned = Learned::new();
        learned.deviation = deviation;
        let rate = Rate {
            least: 10.0,
            most: 25.0,
            seen: 2.0,
        };
        assert!(learned.find_bucket(&trail(), rate).is_none());
        let (least, most, _) = learned
            .buckets
            .and_then(|buckets| buckets.common())
            .unwrap();
        most - least
    });
    assert!(found[1] > found[0] + 5.0, "{found:?}");
}

#[test]
fn after_the_first_stretch_the_rate_is_searched_for_unless_much_would_be_hidden_by_then() {
    for (burst, round_trip, searches) in [(1.0, 5, true), (1.0, 500, true), (20.0, 500, false)] {
        let server = Server::bucket(20.0, burst);
        let mut job = Job::new(server, Hints::None, millis(round_trip));
        job.send_until_closed(2);
        let ramp = job.learned.ramp.unwrap();
        assert_eq!(ramp.is_search(), searches, "{burst} {round_trip}");
    }
}

#[test]
fn the_more_are_under_way_the_longer_a_bucket_is_left_alone() {
    let paces = [0.0, 0.5].map(|round_trip| {
        let mut learned = known_bucket(20.0, 5.0);
        learned.round_trip = round_trip;
        let rate = learned.rate.unwrap();
        learned.next_ramp(rate, false, 0.1, 0.0).pace(300.0)
    });
    assert!(paces[1] - 20.0 < 0.5 * (paces[0] - 20.0), "{paces:?}");
}

#[test]
fn a_limit_that_one_bucket_does_not_explain_may_have_others_that_use_it() {
    let mut job = job(Server::bucket(20.0, 5.0), millis(50));
    job.send(1000);
    assert!(job.learned.is_alone());
    job.change_bucket(5.0, 5.0);
    let known = job.learned.epoch;
    job.send_until_closed(known + 2);
    assert!(!job.learned.is_alone());
    // Until ten agree again.
    job.send_until_closed(known + 30);
    assert!(job.learned.is_alone());
}

#[test]
fn a_bucket_that_is_given_up_may_have_others_that_use_it() {
    let mut learned = known_bucket(20.0, 5.0);
    let mut now = time::now();
    learned.lean = -0.2;
    for _ in 0..2 {
        now = refuse_next(&mut learned, Pause::Hint(SECOND), now);
        learned.open(now);
        let sent = learned.sent(true, now);
        learned.let_through(sent, now);
    }
    assert!(!learned.is_alone() && learned.lean == MOST_LEAN);
}

#[test]
fn a_slow_share_is_tried_again_sooner_than_a_slow_bucket() {
    let [share, alone] = [0, AGREED].map(|agreements| {
        let mut learned = known_bucket(0.5, 5.0);
        learned.agreements = agreements;
        let rate = learned.rate.unwrap();
        let creep = learned.next_ramp(rate, false, 1.0, 0.0);
        learned.bucket = None;
        let rate = Rate {
            seen: 1000.0,
            ..rate
        };
        [creep, learned.next_ramp(rate, false, 1.0, 0.0)].map(|ramp| ramp.planned())
    });
    assert!(share[0] < 0.4 * alone[0], "{share:?} {alone:?}");
    assert!(share[1] < 20.0 && alone[1] > 100.0, "{share:?} {alone:?}");
}

#[test]
fn a_rate_is_not_believed_that_is_below_what_asking_when_told_to_lets_through() {
    let trail = trail();
    let mut learned = Learned::new();
    // The last one was let through forty milliseconds before the refusal.
    assert!((learned.asked_every(&trail, Pause::Hint(SECOND)) - 1.04).abs() < 1e-9);
    assert!((learned.asked_every(&trail, Pause::Guess(millis(1))) - 0.14).abs() < 1e-9);
    learned.doubted = true;
    assert!((learned.asked_every(&trail, Pause::Hint(SECOND)) - 1.0).abs() < 1e-9);

    let mut learned = known_bucket(0.25, 1.0);
    learned.slowest = 0.5;
    assert_eq!(learned.estimate(), Some((0.25, 1.0)));
    learned.bucket = None;
    assert_eq!(learned.estimate(), Some((0.5, 1.0)));
}

#[test]
fn a_share_of_what_others_use_is_no_bucket_that_is_slower_than_one_is_asked_to_be() {
    for doubted in [false, true] {
        let hints = Hints::Always(2 * SECOND);
        let mut job = Job::new(Server::bucket(0.25, 1.0), hints, millis(50));
        job.send(200);
        (job.learned.agreements, job.learned.doubted) = (0, doubted);
        let known = job.learned.epoch;
        job.send_until_closed(known + 4);
        assert_eq!(job.learned.bucket.is_none(), doubted);
    }
}

#[test]
fn a_bucket_of_one_is_used_all_the_same() {
    for hints in [Hints::WholeSeconds, Hints::None] {
        let mut job = Job::new(Server::bucket(5.0, 1.0), hints, millis(20));
        job.send(2000);
        let share = job.share_used(5.0, 1000);
        assert!(share > 0.9, "{hints:?}: {share}");
    }
}

#[test]
fn without_a_hint_the_pause_of_a_known_bucket_is_one_gap_and_doubles() {
    for (rate, shortest) in [(20.0, 50), (5.0, 200), (1000.0, 10)] {
        let mut learned = known_bucket(rate, 5.0);
        // Nothing is let through, so the bucket stays as it is known.
        let now = time::now();
        let pauses = [(); 4].map(|()| {
            let opens = refuse_next(&mut learned, Pause::Guess(SECOND), now);
            (opens - now).as_secs_f64() * 1000.0
        });
        for (pause, factor) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            let off = pause / (f64::from(shortest) * factor) - 1.0;
            assert!(off.abs() < 1e-3, "{rate}: {pauses:?}");
        }
    }
}

fn buckets_with_bursts() -> impl Iterator<Item = (f64, f64, Duration)> {
    [20.0, 50.0].into_iter().flat_map(|rate| {
        let bursts = [2.0, 5.0, 10.0, 20.0].into_iter();
        bursts.flat_map(move |burst| [5, 50].map(|ms| (rate, burst, millis(ms))))
    })
}

/// Of a limit that is known to be this bucket.
fn known_bucket(rate: f64, burst: f64) -> Learned {
    let mut learned = Learned::new();
    let seen = 100.0;
    let rate = Rate {
        least: rate,
        most: rate,
        seen,
    };
    learned.rate = Some(rate);
    learned.bucket = Some(Bucket { rate, burst });
    learned
}

// ===== windows =====

#[test]
fn a_window_is_used_up_and_costs_one_refusal_once_it_was_seen_twice() {
    for (quota, length) in [(60, 10.0), (300, 60.0), (1000, 60.0), (10, 10.0)] {
        for round_trip in [5, 50, 500] {
            let mut job = job(Server::window(quota, length), millis(round_trip));
            job.send_until(12.0 * length);
            let windows = job.windows(length);
            assert!(windows.len() > 10);
            assert_eq!((windows[0].0, windows[1].0), (quota, quota));
            for window in &windows[2..] {
                assert_eq!(*window, (quota, 1), "{length} {round_trip}: {windows:?}");
            }
        }
    }
}

// At whole seconds, a pause that begins between two of them ends up to one late.
#[test]
fn a_window_of_a_few_seconds_is_opened_as_late_each_time_as_the_first_time() {
    for length in [3.0, 4.0, 5.0, 7.0] {
        let mut job = job(Server::window(60, length), millis(5));
        job.send_until(12.0 * length);
        let mut late: Vec<f64> = Vec::new();
        let mut window = 0.0;
        for (at, _) in job.log.iter().filter(|(_, let_through)| *let_through) {
            let since = (at + 0.3 * length) / length;
            if since.floor() > window {
                window = since.floor();
                late.push((since - window) * length);
            }
        }
        let is_as_the_first = |one: &f64| (one - late[0]).abs() < 0.2;
        assert!(late.iter().all(is_as_the_first), "{length}: {late:?}");
    }
}

#[test]
fn a_quota_a_second_is_used_up_and_hardly_ever_refuses_once_it_was_seen() {
    for quota in [3, 10, 50] {
        for server in [
            Server::window(quota, 1.0),
            Server::sliding(quota as usize, 1.0),
        ] {
            for hints in [Hints::WholeSeconds, Hints::None] {
                for round_trip in [5, 50] {
                    let mut job = Job::new(server.clone(), hints, millis(round_trip));
                    job.send(quota as usize * 100);
                    let last = quota as usize * 500;
                    job.send(last);
                    let used = job.share_used(quota as f64, last);
                    let refused = job.refused_of_last(last);
                    assert!(
                        used > 0.96 && refused <= last / 50,
                        "{server:?} {hints:?} {round_trip}: {used} {refused}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_quota_that_halves_or_doubles_is_followed_within_two_windows() {
    for (before, after) in [(60, 30), (60, 120), (1000, 500), (1000, 2000)] {
        for round_trip in [5, 50] {
            let mut job = job(Server::window(before, 10.0), millis(round_trip));
            // In the sixth one, once it was used up.
            job.send_until(52.0);
            let Server::Window { quota, .. } = &mut job.server else {
                unreachable!("it is a window");
            };
            *quota = after;
            job.send_until(250.0);
            let windows = job.windows(10.0);
            assert_eq!(windows[5], (before, 1));
            assert_eq!(windows[6].0, after);
            assert!(windows[7..].iter().all(|window| window.0 == after));
            // One for each window, and few more until it is known to be one still.
            let refused: u64 = windows[7..].iter().map(|window| window.1 - 1).sum();
            assert!(refused <= after / 10, "{before} {round_trip}: {windows:?}");
            assert_eq!(job.burst(), after as f64);
        }
    }
}

#[test]
fn a_pause_of_a_server_that_is_down_is_never_taken_for_a_window() {
    // A hundred are let through in a second, and then there is a minute's pause.
    let after_the_rush = |pause: fn(Duration) -> Pause| {
        let (mut learned, mut now) = (Learned::new(), time::now());
        refuse_next(&mut learned, pause(SECOND), now);
        now += SECOND;
        learned.open(now);
        for _ in 0..100 {
            let sent = learned.sent(true, now);
            learned.let_through(sent, now);
        }
        refuse_next(&mut learned, pause(60 * SECOND), now);
        now += 60 * SECOND;
        learned.open(now);
        send_while_go(&mut learned, now);
        (learned.turn(now), now)
    };
    let (turn, now) = after_the_rush(Pause::Hint);
    assert_eq!(turn, Turn::At(now + 15 * SECOND));
    let (turn, now) = after_the_rush(Pause::Outage);
    let soon = |at| now < at && at < now + SECOND;
    assert!(matches!(turn, Turn::At(at) if soon(at)), "{turn:?}");
}

#[test]
fn what_seems_to_be_a_window_is_left_alone_after_the_rush_and_then_asked_by_one() {
    let (mut learned, mut now) = seems_a_window(60 * SECOND);
    assert_eq!(send_while_go(&mut learned, now).len(), 100);
    assert_eq!(learned.turn(now), Turn::At(now + 15 * SECOND));
    now += 15 * SECOND;
    for requests in [1, 2, 4] {
        let asking = send_while_go(&mut learned, now);
        assert_eq!(asking.len(), requests);
        assert_eq!(learned.turn(now), after_an_answer(now));
        for sent in asking {
            learned.let_through(sent, now);
        }
    }
}

#[test]
fn a_window_that_has_grown_by_half_at_most_is_still_one() {
    for (more, windowed) in [(0, true), (50, true), (60, false)] {
        let (mut learned, mut now) = seems_a_window(60 * SECOND);
        send_while_go(&mut learned, now);
        now += 15 * SECOND;
        for _ in 0..more {
            let sent = learned.sent(true, now);
            learned.let_through(sent, now);
        }
        refuse_next(&mut learned, Pause::Hint(45 * SECOND), now);
        assert_eq!(learned.windowed, windowed, "{more}");
    }
}

// At fifty times less than its rate, as if it were a window; found where servers name the same time
// at every refusal.
#[test]
fn a_bucket_whose_server_always_names_a_long_time_is_used_all_the_same() {
    for (rate, burst) in [(20.0, 1.0), (20.0, 5.0), (20.0, 20.0), (100.0, 100.0)] {
        for pause in [2, 5, 30, 60] {
            let hints = Hints::Always(pause * SECOND);
            let mut job = Job::new(Server::bucket(rate, burst), hints, millis(50));
            job.send(400 * rate as usize);
            // Each time that it is asked for more costs a pause.
            let share = job.share_used(rate, 300 * rate as usize);
            assert!(share > 0.75, "{rate} {burst} {pause}: {share}");
        }
    }
}

#[test]
fn who_was_refused_before_another_and_is_heard_later_is_not_counted_as_let_through() {
    let (mut learned, mut now) = seems_a_window(60 * SECOND);
    let rush = send_while_go(&mut learned, now);
    let pause = Pause::Hint(60 * SECOND);
    // Fifty were let through; of the others the seventy-first is heard first.
    let until = learned.refused(rush[70], pause, now);
    let late = rush[50..].iter().filter(|sent| sent.number != 71);
    for sent in late {
        learned.refused(*sent, pause, now);
    }
    now = until;
    learned.open(now);
    assert_eq!(learned.burst.most, learned.burst.least + 1.0);
    assert_eq!(send_while_go(&mut learned, now).len(), 50);
}

#[test]
fn nor_is_who_was_refused_before_another_in_a_window_that_was_not_known() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    let mut pause = Pause::Hint(60 * SECOND);
    now = refuse_next(&mut learned, pause, now);
    learned.open(now);
    let sent: Vec<_> = (0..100).map(|_| learned.sent(true, now)).collect();
    now = learned.refused(sent[90], pause, now);
    assert_eq!(learned.burst(), 90.0);
    for sent in &sent[50..90] {
        learned.refused(*sent, pause, now);
    }
    assert_eq!(learned.burst(), 50.0);

    // Those of before say nothing of what it holds now.
    learned.open(now);
    let rush = send_while_go(&mut learned, now);
    pause = Pause::Hint(SECOND);
    learned.refused(rush[40], pause, now);
    learned.refused(sent[30], pause, now);
    assert_eq!(learned.burst(), 40.0);
}

#[test]
fn how_much_a_bucket_holds_is_not_known_by_how_many_were_let_through_in_all() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    let pause = Pause::Hint(SECOND);
    now = refuse_next(&mut learned, pause, now);
    learned.open(now);
    let mut sent = Vec::new();
    for _ in 0..20 {
        sent.push(learned.sent(true, now));
        now += millis(50);
    }
    // As it was once, by this many.
    learned.burst.counted = 20;
    learned.refused(sent[19], pause, now);
    assert!(!learned.windowed);
    let burst = learned.burst();
    learned.refused(sent[0], pause, now);
    assert_eq!(learned.burst(), burst);
}

#[test]
fn a_search_does_not_begin_with_a_gap_as_long_as_the_pause_that_the_server_named_or_as_a_round_trip()
 {
    for (by_hint, round_trip, rate, first) in [
        (true, 0.5, 0.02, 8.0 / 60.0),
        (true, 0.5, 5.0, 5.0),
        (false, 0.5, 0.02, 2.0),
        (false, 0.05, 0.02, 4.0),
        (false, 0.0, 5.0, 5.0),
    ] {
        let mut learned = Learned::new();
        learned.opening.by_hint = by_hint;
        learned.round_trip = round_trip;
        let begins = learned.search(rate, 60.0).pace(0.0);
        assert_eq!(begins, first, "{by_hint} {round_trip} {rate}");
    }
}

// ===== refusals =====

#[test]
fn refusals_of_requests_under_way_at_one_tell_more_of_it_and_are_none_of_their_own() {
    for server in [Server::bucket(20.0, 20.0), Server::window(60, 10.0)] {
        for round_trip in [5, 50, 500] {
            let mut heard = job(server.clone(), millis(round_trip));
            heard.late = Late::Heard;
            let mut never = job(server.clone(), millis(round_trip));
            never.late = Late::NeverHeard;
            heard.send(1000);
            never.send(1000);
            assert!(heard.refused_of_last(1000) as u64 > heard.learned.epoch);
            assert!(heard.learned.epoch <= never.learned.epoch);
        }
    }
}

#[test]
fn what_became_of_those_under_way_at_the_second_refusal_tells_the_rate_of_a_bucket() {
    for (rate, burst, least) in [(20.0, 5.0, 0.05), (50.0, 50.0, 0.02)] {
        let mut job = job(Server::bucket(rate, burst), millis(500));
        job.send_until_closed(2);
        // All that were under way are heard of, and it opens.
        job.send_one();
        let bucket = job.learned.bucket.expect("it is a bucket");
        let off = (bucket.rate.value() / rate - 1.0).abs();
        assert!(off < least, "{rate} {burst}: {bucket:?}");
    }
}

// The numbers began anew at the second opening; a refusal of one of before then was a panic.
#[test]
fn a_pause_that_is_asked_for_when_the_limit_has_opened_loses_no_count() {
    let (mut learned, start) = (Learned::new(), time::now());
    let first: Vec<_> = (0..2).map(|_| learned.sent(false, start)).collect();
    learned.refused(first[0], Pause::Hint(SECOND), start);
    let opened = start + SECOND;
    learned.open(opened);
    let second: Vec<_> = (0..4)
        .map(|quarters| learned.sent(true, opened + SECOND / 4 * quarters))
        .collect();

    let late = opened + SECOND;
    assert_eq!(
        learned.refused(first[1], Pause::Hint(SECOND), late),
        late + SECOND
    );
    learned.open(late + SECOND);
    let third = learned.sent(true, late + SECOND);
    for sent in &second[..3] {
        learned.let_through(*sent, late + SECOND);
    }
    learned.refused(second[3], Pause::Hint(SECOND), late + SECOND);
    assert_eq!(third.number, 5);
    // Three within the seven quarters of a second between the two refusals.
    let (rate, _) = learned.estimate().unwrap();
    assert!((1.5..=4.5).contains(&rate), "{rate}");
}

// Digits beyond any integer are read as `Duration::MAX`; the time that the answer took came on top.
#[test]
fn the_longest_pause_of_all_is_no_overflow() {
    for pause in [Pause::Hint, Pause::Outage, Pause::Guess] {
        let (mut learned, start) = (Learned::new(), time::now());
        let sent = learned.sent(false, start);
        let heard = start + SECOND;
        let opens = learned.refused(sent, pause(Duration::MAX), heard);
        assert_eq!(opens, time::after(heard, Duration::MAX));
    }
}
#[test]
fn a_limit_opens_when_the_server_says_whoever_is_refused() {
    let (mut learned, now) = (Learned::new(), time::now());
    let sent = [learned.sent(false, now), learned.sent(false, now)];
    for pause in [Pause::Hint, Pause::Outage] {
        for (seconds, sent) in sent.iter().enumerate() {
            let length = SECOND * (3 + seconds as u32);
            assert_eq!(learned.refused(*sent, pause(length), now), now + length);
        }
        let unseen = learned.refused_unseen(pause(9 * SECOND), now);
        assert_eq!(unseen, now + 9 * SECOND);
    }
}

#[test]
fn without_hints_the_pauses_double_until_one_is_let_through() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    let mut pause = |learned: &mut Learned, guess| {
        let length = refuse_next(learned, Pause::Guess(guess), now) - now;
        now += length;
        learned.open(now);
        length
    };
    let pauses: Vec<_> = (0..9)
        .map(|_| pause(&mut learned, Duration::ZERO))
        .collect();
    let doubled = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 20_000];
    assert_eq!(pauses, doubled.map(millis));
    for _ in 0..100 {
        assert_eq!(pause(&mut learned, millis(500)), 20 * SECOND);
    }

    let sent = learned.sent(true, now);
    learned.let_through(sent, now);
    // One was let through in half an hour. That is no reason to wait for another half.
    let until = refuse_next(&mut learned, Pause::Guess(millis(500)), now);
    assert_eq!(until - now, 20 * SECOND);
    assert!(learned.estimate().unwrap().0 > 1.0);
}

#[test]
fn the_hint_of_a_server_that_refuses_again_and_again_is_doubled_from_the_fourth_time_on() {
    let mut now = time::now();
    let mut pause = |learned: &mut Learned, hint: u32| {
        let pause = refuse_next(learned, Pause::Hint(hint * SECOND), now) - now;
        now += pause;
        learned.open(now);
        pause.as_secs()
    };
    let succeed = |learned: &mut Learned| {
        let sent = learned.sent(true, time::now());
        learned.let_through(sent, time::now());
    };

    let mut learned = Learned::new();
    let row = [(); 7].map(|()| pause(&mut learned, 3));
    assert_eq!(row, [3, 3, 3, 6, 12, 20, 20]);
    // Half of that is kept, and given back as soon as it is not needed any more.
    for expected in [12, 6, 3, 3] {
        succeed(&mut learned);
        assert_eq!(pause(&mut learned, 3), expected);
    }

    // However long the row was, not more is kept than makes a difference.
    let mut learned = Learned::new();
    for _ in 0..100 {
        pause(&mut learned, 1);
    }
    for expected in [20, 16, 8, 4, 2, 1] {
        succeed(&mut learned);
        assert_eq!(pause(&mut learned, 1), expected);
    }

    // One that is longer than any guess stays what it is.
    let mut learned = Learned::new();
    for _ in 0..6 {
        assert_eq!(pause(&mut learned, 30), 30);
    }
}

#[test]
fn who_is_down_is_believed_when_to_come_back() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    let outages = [Pause::Outage(3 * SECOND); 6].into_iter();
    for pause in outages.chain([Pause::Hint(3 * SECOND)]) {
        let opens = refuse_next(&mut learned, pause, now);
        assert_eq!(opens - now, 3 * SECOND);
        now = opens;
        learned.open(now);
    }
}

#[test]
fn pauses_that_were_guessed_say_nothing_of_hints() {
    let (mut learned, mut now) = (Learned::new(), time::now());
    for _ in 0..10 {
        now = refuse_next(&mut learned, Pause::Guess(SECOND), now);
        learned.open(now);
    }
    let sent = learned.sent(true, now);
    learned.let_through(sent, now);
    let pause = refuse_next(&mut learned, Pause::Hint(SECOND), now) - now;
    assert_eq!(pause, SECOND);
}

#[test]
fn an_opening_that_was_found_closed_does_not_cut_what_is_measured_of_a_bucket() {
    let began = |learned: &Learned| learned.history.as_ref().unwrap().from();
    let start = time::now();
    let (hint, outage) = (Pause::Hint(SECOND), Pause::Outage(SECOND));
    for (doubted, pause, goes_on) in [
        (false, hint, true),
        (false, outage, false),
        (true, hint, false),
    ] {
        let mut learned = Learned::new();
        let now = refuse_next(&mut learned, hint, start);
        learned.doubted = doubted;
        learned.open(now);
        refuse_next(&mut learned, pause, now);
        let expected = if goes_on { start } else { now };
        assert_eq!(began(&learned), expected, "{doubted} {pause:?}");
    }
}

#[test]
fn a_slow_bucket_whose_server_always_names_a_second_is_kept_to() {
    for (rate, burst) in [(0.2, 1.0), (0.2, 5.0), (0.5, 1.0)] {
        let hints = Hints::Always(SECOND);
        let mut job = Job::new(Server::bucket(rate, burst), hints, millis(50));
        job.send(1000);
        let (refused, used) = (job.refused_of_last(500), job.share_used(rate, 500));
        assert!(
            refused <= 10 && used > 0.98,
            "{rate} {burst}: {refused} {used}"
        );
    }
}

#[test]
fn who_is_refused_without_a_hint_after_another_holds_nobody() {
    let (mut learned, now) = (Learned::new(), time::now());
    let late = learned.sent(false, now);
    refuse_next(&mut learned, Pause::Guess(SECOND), now);
    assert_eq!(learned.refused(late, Pause::Guess(SECOND), now), now);
    assert_eq!(learned.refused_unseen(Pause::Guess(SECOND), now), now);
}

// ===== openings =====

#[test]
fn after_an_opening_was_found_closed_eight_are_tried_with_one_request() {
    let mut now = time::now();
    let mut learned = found_closed(&mut now);
    for opening in 0..9 {
        learned.since_opened.rush_left = 3;
        assert_eq!(learned.turn(now), Turn::Go);
        let scout = learned.sent(true, now);
        let turn = learned.turn(now);
        assert_eq!(
            turn == after_an_answer(now),
            opening < 8,
            "{opening}: {turn:?}"
        );
        learned.let_through(scout, now);
        // It was one of those that the limit is known to hold.
        assert_eq!(send_while_go(&mut learned, now).len(), 2);
        let opens = refuse_next(&mut learned, Pause::Hint(10 * SECOND), now);
        now = opens;
        learned.open(now);
    }
}

#[test]
fn a_scout_that_is_refused_says_nothing_of_what_the_limit_holds() {
    let (mut learned, start) = (known_bucket(20.0, 5.0), time::now());
    learned.burst.least = 5.0;
    let first = learned.sent(true, start);
    let late = learned.sent(true, start + millis(1));
    let now = learned.refused(first, Pause::Hint(SECOND), start + millis(50));
    learned.distrust = DISTRUSTED_OPENINGS;
    learned.open(now);
    learned.since_opened.rush_left = 3;
    let scout = learned.sent(true, now);
    learned.let_through(late, now);
    learned.refused(scout, Pause::Hint(SECOND), now);
    assert_eq!(learned.burst.least, 5.0);
}

#[test]
fn a_scout_that_is_lost_is_followed_by_another_request() {
    let mut now = time::now();
    let mut learned = found_closed(&mut now);
    let scout = learned.sent(true, now);
    assert_eq!(learned.turn(now), after_an_answer(now));
    learned.lost(scout);
    assert_eq!(learned.turn(now), Turn::Go);
}

#[test]
fn a_gentle_start_doubles_with_every_round_trip_and_slows_down_at_64() {
    let (mut learned, now) = (Learned::gentle(8), time::now());
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let sent = send_while_go(&mut learned, now);
        rounds.push(sent.len());
        for sent in sent {
            learned.let_through(sent, now);
        }
    }
    assert_eq!(rounds[..4], [8, 16, 32, 64]);
    assert!((65..96).contains(&rounds[4]), "{rounds:?}");
}

#[test]
fn a_gentle_start_with_none_at_a_time_is_one_with_one() {
    let mut learned = Learned::gentle(0);
    assert_eq!(send_while_go(&mut learned, time::now()).len(), 1);
}

#[test]
fn without_a_gentle_start_all_go_at_once_until_the_first_refusal_and_then_four() {
    let (mut learned, now) = (Learned::new(), time::now());
    assert_eq!(send_while_go(&mut learned, now).len(), A_CROWD);
    refuse_next(&mut learned, Pause::Hint(SECOND), now);
    learned.open(now + SECOND);
    assert_eq!(send_while_go(&mut learned, now + SECOND).len(), 4);
}

#[test]
fn a_lost_request_makes_room_for_another() {
    let (mut learned, now) = (Learned::gentle(3), time::now());
    for _ in 0..5 {
        let sent = send_while_go(&mut learned, now);
        assert_eq!(sent.len(), 3);
        assert_eq!(learned.turn(now), after_an_answer(now));
        sent.into_iter().for_each(|sent| learned.lost(sent));
    }
}

#[test]
fn a_request_that_is_long_in_coming_back_holds_the_others_for_a_second() {
    let (mut learned, now) = (Learned::gentle(1), time::now());
    learned.sent(false, now);
    assert_eq!(learned.turn(now), after_an_answer(now));
    assert_eq!(learned.turn(now + LONG_IN_COMING), Turn::Go);
}

#[test]
fn a_request_that_is_lost_after_a_refusal_makes_no_room() {
    let (mut learned, now) = (Learned::new(), time::now());
    let late = learned.sent(false, now);
    let opens = refuse_next(&mut learned, Pause::Hint(10 * SECOND), now);
    learned.open(opens);
    send_while_go(&mut learned, opens);
    learned.lost(late);
    assert_eq!(learned.turn(opens), after_an_answer(opens));
}

/// What is said at this time when something was just sent whose answer is waited for.
fn after_an_answer(now: Instant) -> Turn {
    Turn::At(now + LONG_IN_COMING)
}

fn refuse_next(learned: &mut Learned, pause: Pause, now: Instant) -> Instant {
    let sent = learned.sent(true, now);
    learned.refused(sent, pause, now)
}

/// Sends all that may go at this time, or a crowd.
fn send_while_go(learned: &mut Learned, now: Instant) -> Vec<Sent> {
    let mut sent = Vec::new();
    while sent.len() < A_CROWD && learned.turn(now) == Turn::Go {
        sent.push(learned.sent(true, now));
    }
    sent
}

/// A hundred were let through before a pause of this length, and now it opens.
fn seems_a_window(pause: Duration) -> (Learned, Instant) {
    let (mut learned, mut now) = (Learned::new(), time::now());
    refuse_next(&mut learned, Pause::Hint(pause), now);
    now += pause;
    learned.open(now);
    for _ in 0..100 {
        let sent = learned.sent(true, now);
        learned.let_through(sent, now);
    }
    refuse_next(&mut learned, Pause::Hint(pause), now);
    now += pause;
    learned.open(now);
    (learned, now)
}

const A_CROWD: usize = 1000;

/// Some twenty a second; the first request of an opening was refused, and now it opens again.
fn found_closed(now: &mut Instant) -> Learned {
    let mut learned = Learned::new();
    *now = refuse_next(&mut learned, Pause::Hint(SECOND), *now);
    learned.open(*now);
    for _ in 0..40 {
        let sent = learned.sent(true, *now);
        *now += millis(50);
        learned.let_through(sent, *now);
    }
    for _ in 0..2 {
        *now = refuse_next(&mut learned, Pause::Hint(10 * SECOND), *now);
        learned.open(*now);
    }
    learned
}

// ===== any order =====

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    SendUnasked,
    LetThrough(usize),
    Refused(usize, Pause),
    RefusedUnseen(Pause),
    Lost(usize),
    Open,
}

fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..100_u64, 0..100_000_u64]
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![
        (0..200_000_u64).prop_map(|length| Pause::Hint(millis(length))),
        (0..200_000_u64).prop_map(|length| Pause::Outage(millis(length))),
        (0..20_000_u64).prop_map(|length| Pause::Guess(millis(length))),
        Just(Pause::Hint(Duration::MAX)),
    ];
    prop_oneof![
        10 => Just(Step::Send),
        2 => Just(Step::SendUnasked),
        8 => (0..100_usize).prop_map(Step::LetThrough),
        3 => (0..100_usize, pause.clone()).prop_map(|(which, pause)| Step::Refused(which, pause)),
        1 => pause.prop_map(Step::RefusedUnseen),
        1 => (0..100_usize).prop_map(Step::Lost),
        3 => Just(Step::Open),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_a_wait_has_an_end_and_the_estimate_is_a_number(
        gentle in prop::option::of(0..100_u32),
        steps in prop::collection::vec((step(), pause()), 1..300),
    ) {
        let mut learned = gentle.map_or_else(Learned::new, Learned::gentle);
        let (mut now, mut under_way, mut closed) = (time::now(), Vec::new(), false);
        for (step, pause) in steps {
            now += millis(pause);
            let turn = learned.turn(now);
            if let Turn::At(at) = turn {
                prop_assert!(at > now);
            }
            let mut take = |which: usize| match under_way.len() {
                0 => None,
                length => Some(under_way.swap_remove(which % length)),
            };
            match step {
                Step::Send if turn != Turn::Go => {}
                Step::Send | Step::SendUnasked => {
                    if mem::take(&mut closed) {
                        learned.open(now);
                    }
                    under_way.push(learned.sent(pause > 0, now));
                }
                Step::LetThrough(which) => {
                    take(which).into_iter().for_each(|sent| learned.let_through(sent, now));
                }
                Step::Refused(which, pause) => {
                    if let Some(sent) = take(which) {
                        prop_assert!(learned.refused(sent, pause, now) >= now);
                        closed = true;
                    }
                }
                Step::RefusedUnseen(pause) => {
                    prop_assert!(learned.refused_unseen(pause, now) >= now);
                    closed = true;
                }
                Step::Lost(which) => take(which).into_iter().for_each(|sent| learned.lost(sent)),
                Step::Open => {
                    closed = false;
                    learned.open(now);
                }
            }
            if let Some((rate, burst)) = learned.estimate() {
                prop_assert!(rate.is_finite() && rate > 0.0, "{rate}");
                prop_assert!(burst.is_finite() && burst >= 1.0, "{burst}");
            }
        }
    }
}
