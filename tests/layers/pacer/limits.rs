//! The limits that a user sets, and the times that a server names.

use proptest::prelude::*;
use tokio::{runtime, time::sleep};
use tower_outbound::{
    mark::{Deadline, Priority},
    rate_limit_retry::Quota,
};

use super::*;

// ===== quotas =====

#[tokio::test(start_paused = true)]
async fn a_quota_holds_from_the_first_request_on() {
    let probe = refusing(0, "");
    let (api, _) = paced(Pacer::new().quota(Quota::per_minute(300)), &probe);
    let start = now();
    all_served(send_all(&api, 0..601)).await;
    let times = times(&probe, start);
    assert_eq!(times[299], Duration::ZERO);
    assert_eq!((times[300], times[599]), (60 * SECOND, 60 * SECOND));
    assert_eq!(times[600], 120 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn of_several_quotas_each_holds() {
    let probe = refusing(0, "");
    let pacer = Pacer::new()
        .quota(Quota::per_second(10).burst(1))
        .quota(Quota::per_minute(30));
    let (api, _) = paced(pacer, &probe);
    let start = now();
    all_served(send_all(&api, 0..61)).await;
    let times = times(&probe, start);
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(100));
    }
    for window in times.windows(31) {
        assert!(window[30] - window[0] >= 60 * SECOND);
    }
    assert!(times[60] < 124 * SECOND, "{:?}", times[60]);
}

#[tokio::test(start_paused = true)]
async fn a_key_may_have_quotas_of_its_own_and_the_closure_is_asked_once() {
    let probe = refusing(0, "");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let pacer = Pacer::new()
        .quota(Quota::per_minute(100))
        .quotas_by_key(move |key| {
            count.fetch_add(1, Ordering::Relaxed);
            match key.as_str() {
                "a" => vec![Quota::per_minute(2)],
                _ => vec![],
            }
        });
    let (api, _) = paced(pacer, &probe);
    let start = now();
    let others = (0..101).map(|number| send(&api, get(&format!("/b/{number}"))));
    let others: Vec<_> = others.collect();
    all_served(send_all(&api, 0..4)).await;
    all_served(others).await;
    let mut times = times(&probe, start);
    times.sort();
    assert_eq!(times.iter().filter(|time| time.is_zero()).count(), 102);
    assert!(times[102..].iter().all(|time| *time == 60 * SECOND));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stretch_of_time_sees_more_than_a_quota_and_nobody_spins(
        quotas in prop::collection::vec((1..12_u32, 1..3000_u64, 1..12_u32), 1..4),
        arrivals in prop::collection::vec(0..800_u64, 1..60),
        refusals in prop::collection::vec(prop::bool::weighted(0.1), 60),
    ) {
        let quotas: Vec<_> = quotas
            .into_iter()
            .map(|(requests, millis, burst)| {
                Quota::new(requests, Duration::from_millis(millis)).burst(burst)
            })
            .collect();
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let probe = Probe::new(move |count, _| {
                Ok(match refusals.get(count - 1) {
                    Some(true) => refused("1"),
                    _ => status(200),
                })
            });
            let pacer = Pacer::new().without_learning();
            let pacer = quotas.iter().fold(pacer, |pacer, quota| pacer.quota(*quota));
            let (api, pacer) = paced(pacer, &probe);
            let polls = Arc::default();
            let mut calls = Vec::new();
            for (number, &pause) in arrivals.iter().enumerate() {
                let call = api.clone().oneshot(numbered(number));
                calls.push(tokio::spawn(Counted::new(call, &polls)));
                sleep(Duration::from_millis(pause)).await;
            }
            all_served(calls).await;
            assert_idle(&pacer);

            let sent: Vec<_> = probe.take_sent().iter().map(|sent| sent.at).collect();
            for quota in &quotas {
                let requests = quota.requests() as usize;
                for window in sent.windows(requests + 1) {
                    let stretch = window[requests] - window[0];
                    assert!(stretch >= quota.period(), "{quota:?}: {stretch:?}");
                }
            }
            // For each time it is sent: it lines up, is first, has its turn, and has an answer.
            let most = 8 * sent.len();
            let polls = polls.load(Ordering::Relaxed);
            assert!(polls <= most, "{polls} polls for {} sent", sent.len());
        });
    }
}

// ===== the server's times =====

fn only_or_none(pacer: &Pacer) -> Option<LimitSnapshot> {
    pacer.snapshot().into_iter().next()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_sent_before_a_time_that_the_server_has_named(
        arrivals in prop::collection::vec(0..3000_u64, 1..60),
        answers in prop::collection::vec(prop::option::weighted(0.4, 1..20_u64), 120),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let hints = answers.clone();
            let probe = Probe::new(move |count, _| {
                Ok(match hints.get(count - 1) {
                    Some(Some(hint)) => refused(&hint.to_string()),
                    _ => status(200),
                })
            });
            let (api, pacer) = paced(Pacer::new(), &probe);
            let mut calls = Vec::new();
            for (number, &pause) in arrivals.iter().enumerate() {
                calls.extend(send_all(&api, [number]));
                sleep(Duration::from_millis(pause)).await;
            }
            // Not all may be done by then: what is refused by chance looks like a low rate.
            sleep(3600 * SECOND).await;
            assert_eq!(only_or_none(&pacer).map_or(0, |limit| limit.under_way), 0);
            calls.iter().for_each(JoinHandle::abort);
            join_all(calls).await;
            assert_idle(&pacer);
            let sent: Vec<_> = probe.take_sent().iter().map(|sent| sent.at).collect();
            let closed = sent.iter().zip(&answers).filter_map(|(at, hint)| {
                let heard = *at + LATENCY;
                Some((heard, heard + SECOND * u32::try_from((*hint)?).unwrap()))
            });
            for (heard, until) in closed {
                let early = sent.iter().find(|at| **at > heard && **at < until);
                assert_eq!(early, None, "closed from {heard:?} until {until:?}");
            }
        });
    }
}

// ===== options =====

#[tokio::test(start_paused = true)]
async fn without_a_pacer_each_waits_for_itself() {
    let probe = refusing(1, "30");
    let (api, pacer) = paced(Pacer::off(), &probe);
    let start = now();
    let first = send(&api, numbered(0));
    sleep(SECOND).await;
    all_served(send_all(&api, 1..10)).await;
    assert!(start.elapsed() < 2 * SECOND);
    assert!(pacer.snapshot().is_empty());
    served(first).await;
    assert!(start.elapsed() >= 30 * SECOND);
    assert_eq!(order(&probe), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_learning_a_pause_holds_and_then_all_go_at_once() {
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1 | 103 => refused("30"),
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new().without_learning(), &probe);
    let start = now();
    let first = send(&api, numbered(0));
    sleep(SECOND).await;
    all_served(send_all(&api, 1..101)).await;
    served(first).await;
    all_served(send_all(&api, [101])).await;
    let times = times(&probe, start);
    let opened = LATENCY + 30 * SECOND;
    assert!(times[1..102].iter().all(|time| *time == opened));
    assert_eq!(times.len(), 104);
    assert_eq!(times[103] - times[102], opened);
    let limit = only(&pacer);
    assert_eq!((limit.rate, limit.burst, limit.refusals), (None, None, 2));
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_a_full_queue_is_told_at_once() {
    let probe = refusing(2, "30");
    let (api, _) = paced(Pacer::new().max_queue(3), &probe);
    let mut calls = send_all(&api, 0..2);
    sleep(SECOND).await;
    // Two that were refused are in it already.
    calls.extend(send_all(&api, [2]));
    let start = now();
    let opens = start - SECOND + LATENCY + 30 * SECOND;
    let error = failed(send(&api, numbered(3))).await;
    assert_reason(&error, Reason::QueueFull, opens);
    assert_eq!(start.elapsed(), Duration::ZERO);
    all_served(calls).await;
    served(send(&api, numbered(4))).await;
    assert_eq!(order(&probe), [0, 1, 0, 1, 2, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_comes_back_to_a_queue_that_is_full() {
    let probe = refusing(5, "30");
    let (api, _) = paced(Pacer::new().max_queue(0), &probe);
    all_served(send_all(&api, 0..5)).await;
    assert_eq!(order(&probe), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_limit_opens_fails_at_once_and_says_when_it_opens() {
    let probe = refusing(1, "30");
    let (api, _) = paced(Pacer::new(), &probe);
    let start = now();
    let first = send(&api, numbered(0));
    sleep(SECOND).await;
    let asked = now();
    let urgent = marked(numbered(1), Deadline::within(5 * SECOND));
    let error = failed(send(&api, urgent)).await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_reason(&error, Reason::Deadline, start + LATENCY + 30 * SECOND);
    assert_eq!(error.key().as_str(), "a");
    served(first).await;
    assert_eq!(order(&probe), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_fails_then_and_not_later() {
    let probe = refusing(0, "");
    let (api, pacer) = paced(Pacer::new().quota(Quota::new(1, 10 * SECOND)), &probe);
    let start = now();
    let urgent = |number| {
        let (api, deadline) = (api.clone(), Deadline::within(15 * SECOND));
        spawn(async move {
            let answer = api.oneshot(marked(numbered(number), deadline)).await;
            answer.map_err(|error| {
                let limited = RateLimited::find(&*error).unwrap();
                (limited.reason(), now())
            })
        })
    };
    let calls: Vec<_> = (0..4).map(urgent).collect();
    let patient = send(&api, numbered(9));
    let answers = in_time(join_all(calls)).await.into_iter();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().err()).collect();
    let late = Some((Reason::Deadline, start + 15 * SECOND));
    assert_eq!(answers, [None, None, late, late]);
    assert_eq!(start.elapsed(), 15 * SECOND);
    served(patient).await;
    assert_eq!(order(&probe), [0, 1, 9]);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_measured_by_those_who_go_before_and_not_by_those_who_go_after() {
    // About ten a second are let through, and a thousand wait.
    let probe = Probe::new(bucket(10.0, 5.0));
    let (api, pacer) = paced(Pacer::new(), &probe);
    all_served(send_all(&api, 0..200)).await;
    assert!(only(&pacer).rate.is_some());
    let job = send_all(&api, 200..1200);
    sleep(SECOND).await;
    let urgent = marked(numbered(2000), Deadline::within(30 * SECOND));
    let error = failed(send(&api, urgent.clone())).await;
    assert_eq!(error.reason(), Reason::Deadline);
    assert!(error.retry_after() > 60 * SECOND, "{error}");
    let start = now();
    served(send(&api, marked(urgent, Priority(1)))).await;
    assert!(start.elapsed() < 15 * SECOND, "{:?}", start.elapsed());
    all_served(job).await;
}

#[tokio::test(start_paused = true)]
async fn a_gentle_start_adds_one_for_each_that_is_let_through() {
    for at_first in [1, 3, 8] {
        let probe = Probe::slow(SECOND, |count, _| {
            Ok(match count % 50 {
                20 => refused("1"),
                _ => status(200),
            })
        });
        let (api, pacer) = paced(Pacer::new().gentle_start(at_first), &probe);
        let calls = send_all(&api, 0..200);
        let start = now();
        let (mut accepted, mut most) = (0, 0);
        while !calls.iter().all(JoinHandle::is_finished) {
            sleep(Duration::from_millis(100)).await;
            let limit = only(&pacer);
            accepted = accepted.max(probe.count() - probe.held().1);
            assert!(
                limit.under_way as usize <= at_first as usize + accepted,
                "{limit} with {accepted}"
            );
            most = most.max(limit.under_way);
            assert!(start.elapsed() < 3600 * SECOND, "it never comes to an end");
        }
        assert!(most > 2 * at_first, "{most}");
        all_served(calls).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_remembered_for_its_whole_period() {
    let probe = refusing(0, "");
    let (api, _) = paced(Pacer::new().quota(Quota::per_hour(100)), &probe);
    let start = now();
    all_served(send_all(&api, 0..60)).await;
    // Long enough for what was learned to be forgotten; this was not learned.
    sleep(Duration::from_secs(11 * 60)).await;
    all_served(send_all(&api, 60..120)).await;
    let times = times(&probe, start);
    assert!(times[100] >= Duration::from_secs(3600), "{:?}", times[100]);
}

#[tokio::test(start_paused = true)]
async fn a_gentle_start_that_is_refused_at_once_stays_gentle() {
    let probe = Probe::slow(SECOND, |count, _| {
        Ok(match count {
            1 => refused("5"),
            _ => status(200),
        })
    });
    let (api, _) = paced(Pacer::new().gentle_start(1), &probe);
    let start = now();
    all_served(send_all(&api, 0..20)).await;
    let times = times(&probe, start);
    assert_eq!(times[0], Duration::ZERO);
    let opened = times[1];
    let at_once = times.iter().filter(|time| **time == opened).count();
    assert_eq!(at_once, 1, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_by_chance_do_not_starve_a_job() {
    // As of a quota that others use as well: three of ten are refused, whenever they come, for a second.
    // The ideal takes about a minute and a half.
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let chances: Vec<_> = (0..5000).map(|_| random.u8(0..10) < 3).collect();
        let probe = Probe::new(move |count, _| {
            Ok(match chances.get(count - 1) {
                Some(true) => refused("1"),
                _ => status(200),
            })
        });
        let (api, pacer) = paced(Pacer::new(), &probe);
        let calls = send_all(&api, 0..200);
        sleep(1000 * SECOND).await;
        let done = calls.iter().filter(|call| call.is_finished()).count();
        assert_eq!(done, 200, "seed {seed}: {}", only(&pacer));
        calls.iter().for_each(JoinHandle::abort);
        join_all(calls).await;
    }
}
