//! The quota servers of the benchmark `pacing`, and the ideal that it measures against: what they say must be
//! right, or every figure is wrong.

// Not all of it is used here.
#[allow(dead_code)]
#[path = "../benches/pacing/model/mod.rs"]
mod model;

use std::time::Duration;

use http::HeaderMap;

use self::model::{
    figures::jain,
    ideal,
    latency::Latency,
    run::{Job, run},
    scenario::{self, Scenario},
    server::{
        hint::{Fields, Hint, NotBefore},
        quota::{Decision, Quota},
        tally::Tally,
        weather::{Fate, Weather},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn named(name: &str) -> Scenario {
    let found = scenario::all()
        .into_iter()
        .find(|scenario| scenario.name == name);
    found.unwrap()
}

/// How many of a hundred that arrive at this time are admitted, and when the next would be.
fn burst(quota: &mut Quota, at: f64) -> (usize, f64) {
    let decisions: Vec<_> = (0..100).map(|_| quota.admit(seconds(at))).collect();
    let admitted = decisions
        .iter()
        .filter(|decision| matches!(decision, Decision::Admit { .. }))
        .count();
    let opens_in = match decisions.last() {
        Some(Decision::Refuse { opens_in }) => opens_in.as_secs_f64(),
        _ => 0.0,
    };
    (admitted, opens_in)
}

#[test]
fn a_fixed_window_opens_at_its_boundary_for_a_whole_quota() {
    let mut quota = Quota::fixed_window(30, 60 * SECOND, 20 * SECOND);
    assert_eq!(burst(&mut quota, 0.0), (30, 40.0));
    assert_eq!(burst(&mut quota, 39.999).0, 0);
    assert_eq!(burst(&mut quota, 40.0), (30, 60.0));
    assert_eq!(burst(&mut quota, 250.0), (30, 30.0));
}

#[test]
fn a_sliding_window_counts_any_time_of_its_length() {
    let mut quota = Quota::sliding_window(10, 10 * SECOND);
    assert!((0..5).all(|_| is_admitted(&mut quota, 1.0)));
    assert_eq!(burst(&mut quota, 6.0), (5, 5.0));
    assert_eq!(burst(&mut quota, 10.999).0, 0);
    assert_eq!(burst(&mut quota, 11.0), (5, 5.0));
}

fn is_admitted(quota: &mut Quota, at: f64) -> bool {
    matches!(quota.admit(seconds(at)), Decision::Admit { .. })
}

#[test]
fn a_bucket_admits_its_burst_and_then_its_rate() {
    let mut quota = Quota::bucket(20, 5);
    assert_eq!(burst(&mut quota, 0.0), (5, 0.05));
    assert_eq!(burst(&mut quota, 0.049).0, 0);
    assert_eq!(burst(&mut quota, 0.1).0, 2);
    assert_eq!(burst(&mut quota, 100.0).0, 5);
}

#[test]
fn a_bucket_without_burst_never_admits_two_closer_than_its_interval() {
    let mut quota = Quota::bucket(20, 1);
    let admitted = (0..1000).filter(|at| is_admitted(&mut quota, f64::from(*at) / 1000.0));
    assert_eq!(
        admitted.collect::<Vec<_>>(),
        (0..20).map(|n| n * 50).collect::<Vec<_>>()
    );
}

#[test]
fn a_queueing_bucket_lets_its_burst_wait() {
    let mut quota = Quota::queueing_bucket(20, 2);
    let decisions = [0, 1, 2, 3].map(|_| quota.admit(SECOND));
    let waits = [0.0, 0.05, 0.1].map(|after| Decision::Admit {
        after: seconds(after),
    });
    assert_eq!(decisions[..3], waits);
    assert!(matches!(decisions[3], Decision::Refuse { .. }));
}

#[test]
fn of_two_limits_a_refused_request_uses_none() {
    let minute = Quota::fixed_window(30, 60 * SECOND, Duration::ZERO);
    let mut quota = Quota::All(vec![Quota::bucket(20, 20), minute]);
    assert_eq!(burst(&mut quota, 0.0), (20, 0.05));
    assert_eq!(burst(&mut quota, 1.0), (10, 59.0));
    assert_eq!(burst(&mut quota, 60.0).0, 20);
}

#[test]
fn a_limit_on_concurrency_opens_when_one_is_done() {
    let mut quota = Quota::concurrency(3);
    assert_eq!(burst(&mut quota, 0.0), (3, 0.0));
    quota.release();
    assert_eq!(burst(&mut quota, 0.0).0, 1);
}

#[test]
fn a_quota_changes_in_mid_run_and_what_is_used_stays_used() {
    let mut rng = fastrand::Rng::with_seed(1);
    let window = Quota::fixed_window(10, 10 * SECOND, Duration::ZERO);
    let mut weather = Weather::fair(window)
        .then_times(5 * SECOND, 0.5)
        .then_times(15 * SECOND, 2.0);
    let mut admitted = |at: u32| {
        let fates = (0..100).map(|_| weather.fate(at * SECOND, &mut rng));
        fates
            .filter(|fate| matches!(fate, Fate::Processed { .. }))
            .count()
    };
    assert_eq!([0, 6, 10, 15, 20].map(&mut admitted), [10, 0, 5, 15, 20]);
}

#[test]
fn a_server_that_is_down_admits_the_next_when_it_is_up() {
    let mut weather = Weather::fair(Quota::bucket(20, 20)).down_between(10 * SECOND, 40 * SECOND);
    assert_eq!(weather.next_admission(9 * SECOND), Some(9 * SECOND));
    assert_eq!(weather.next_admission(10 * SECOND), Some(40 * SECOND));
    let fate = weather.fate(20 * SECOND, &mut fastrand::Rng::with_seed(1));
    assert_eq!(fate, Fate::Unavailable);
}

#[test]
fn an_early_retry_makes_the_wait_longer_and_one_that_was_under_way_does_not() {
    let window = Quota::fixed_window(1, 10 * SECOND, Duration::ZERO);
    let mut weather = Weather::fair(window).penalising();
    let mut at = |time: f64| match weather.fate(seconds(time), &mut fastrand::Rng::with_seed(1)) {
        Fate::Refused { opens_in } => Some(opens_in.as_secs_f64()),
        _ => None,
    };
    // Refused until 10, and within a second nobody can know that.
    assert_eq!([0.0, 0.0, 0.5].map(&mut at), [None, Some(10.0), Some(9.5)]);
    // Too early: the wait is doubled, once for all that are under way.
    assert_eq!([2.0, 2.5].map(&mut at), [Some(20.0), Some(19.5)]);
    assert_eq!([21.5, 22.0].map(&mut at), [Some(40.0), Some(39.5)]);
    assert_eq!(at(61.5), None);
}

#[test]
fn hints_say_what_their_names_promise() {
    let say = |hint: Hint, opens_in: f64| {
        let mut headers = HeaderMap::new();
        let asked = hint.write(seconds(opens_in), seconds(100.5), &mut headers);
        (
            headers
                .get("retry-after")
                .map(|value| value.to_str().unwrap().to_owned()),
            asked,
        )
    };
    let after = |wait: u64| Some(NotBefore::After(Duration::from_secs(wait)));
    assert_eq!(say(Hint::Exact, 39.2), (Some("40".to_owned()), after(40)));
    assert_eq!(
        say(Hint::Constant { seconds: 1 }, 39.2),
        (Some("1".to_owned()), after(1))
    );
    assert_eq!(
        say(Hint::TooEarly, 39.2),
        (Some("20".to_owned()), after(20))
    );
    assert_eq!(say(Hint::TooLate, 39.2), (Some("80".to_owned()), after(80)));
    assert_eq!(say(Hint::Absent, 39.2), (None, None));
    let date = "Thu, 01 Jan 2026 00:02:20 GMT".to_owned();
    assert_eq!(
        say(Hint::Date, 39.2),
        (Some(date), Some(NotBefore::At(140 * SECOND)))
    );
}

#[test]
fn fields_are_those_of_the_draft() {
    let mut quota = Quota::fixed_window(300, 60 * SECOND, 20 * SECOND);
    burst(&mut quota, 10.5);
    let mut headers = HeaderMap::new();
    Fields::RateLimit.write(&quota.remaining(seconds(10.5)), &mut headers);
    assert_eq!(headers["ratelimit"], "\"default\";r=200;t=30");
    assert_eq!(headers["ratelimit-policy"], "\"default\";q=300;w=60");
    Fields::XRateLimit.write(&quota.remaining(seconds(10.5)), &mut headers);
    assert_eq!(headers["x-ratelimit-remaining"], "200");
}

#[test]
fn what_was_sent_before_the_second_episode_is_start_up() {
    let mut tally = Tally::default();
    let at = |millis: u64| Duration::from_millis(millis);
    // Three in flight together, then one that was sent with the first refusal known, and one beside it.
    for (sent, answered) in [(0, 50), (0, 50), (40, 90), (60, 110), (100, 150)] {
        tally.refusal(at(sent), at(answered));
    }
    // In the moment of the second episode's answer is still before it.
    tally.refusal(at(110), at(160));
    assert_eq!((tally.refused, tally.refused_at_start), (6, 6));
    tally.refusal(at(111), at(161));
    assert_eq!((tally.refused, tally.refused_at_start), (7, 6));
    // And in the moment of the very first answer nobody had learned anything.
    let mut tally = Tally::default();
    for (sent, answered) in [(0, 50), (50, 100), (60, 110), (105, 155), (111, 161)] {
        tally.refusal(at(sent), at(answered));
    }
    assert_eq!((tally.refused, tally.refused_at_start), (5, 4));
}

#[test]
fn a_request_is_early_if_it_is_sent_after_a_hint_and_before_it_is_over() {
    let mut tally = Tally::default();
    tally.hinted(NotBefore::After(10 * SECOND), SECOND);
    tally.hinted(NotBefore::After(SECOND), 2 * SECOND);
    tally.sending(11 * SECOND);
    assert_eq!(tally.early, 0);
    tally.sending(10 * SECOND);
    assert_eq!(tally.early, 1);
}

#[test]
fn the_ideal_takes_the_time_that_arithmetic_says() {
    let least = |name: &str| ideal::makespan(&named(name), 100, 3000, 1).as_secs_f64();
    // Nine boundaries, the first after 40 s; 25 ms there, three rounds of a hundred workers.
    assert!((520.0..520.2).contains(&least("window 300/60 s")));
    assert!((290.0..290.2).contains(&least("sliding 100/10 s")));
    // All but the burst at the rate.
    assert!((149.0..149.1).contains(&least("bucket 20/s, burst 20")));
    assert!((149.95..150.05).contains(&least("bucket 20/s, burst 1, no hint")));
    // Eight at a time, for 25 ms each.
    let concurrent = least("8 at a time, no hint");
    assert!((9.3..9.5).contains(&concurrent), "{concurrent}");
}

#[test]
fn the_ideal_is_bound_by_workers_and_latency_too() {
    let mut scenario = named("bucket 50/s, burst 50");
    scenario.settings.latency = Latency::Constant { millis: 500 };
    let least = ideal::makespan(&scenario, 10, 1000, 1);
    assert_eq!(least, 50 * SECOND);
}

#[test]
fn a_client_that_never_retries_gets_what_the_quota_admits_at_once() {
    let figures = run(&named("window 300/60 s"), Job::of(10), 1, |server| server).unwrap();
    assert_eq!(
        (figures.ok, figures.failed, figures.refused),
        (300, 2700, 2700)
    );
    // It goes on as though it had not been told to wait.
    assert!(figures.early > 2600);
}

#[test]
fn one_seed_gives_one_result() {
    let scenario = named("bucket 20/s, burst 20, latency varies");
    let figures = || {
        let figures = run(&scenario, Job::of(10), 7, |server| server).unwrap();
        (figures.ok, figures.refused, figures.makespan)
    };
    assert_eq!(figures(), figures());
}

#[test]
fn fairness_is_one_where_all_have_the_same() {
    assert_eq!(jain(&[5.0, 5.0]), 1.0);
    assert_eq!(jain(&[10.0, 0.0]), 0.5);
}
