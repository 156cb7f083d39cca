//! What is known of a limit, when it is asked for and when it is forgotten.

use std::sync::Barrier;

use tokio::time::sleep;
use tower_outbound::{backoff::Backoff, rate_limit_retry::Quota};

use super::*;

/// A layer with one key, and how often it was computed.
fn counting(probe: &Probe) -> (Api, Arc<Pacer>, Arc<AtomicUsize>) {
    let (pacer, keys) = (Arc::new(Pacer::new()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&keys);
    let layer = RateLimitRetryLayer::new()
        .pacer(Arc::clone(&pacer))
        .limit_key(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            LimitKey::new("one")
        });
    (layer.layer(probe.clone()), pacer, keys)
}

#[tokio::test(start_paused = true)]
async fn no_key_is_computed_before_a_limit_shows_itself_and_after_it_is_forgotten() {
    let probe = Probe::new(|count, _| {
        Ok(match count {
            101 => refused("1"),
            _ => status(200),
        })
    });
    let (api, pacer, keys) = counting(&probe);
    let keys = || keys.swap(0, Ordering::Relaxed);
    all_served(send_all(&api, 0..100)).await;
    assert_eq!(keys(), 0);
    assert!(pacer.snapshot().is_empty());

    all_served(send_all(&api, [100])).await;
    assert_eq!(keys(), 1);
    all_served(send_all(&api, 101..104)).await;
    assert_eq!(keys(), 3);
    assert_eq!(only(&pacer).refusals, 1);

    sleep(Duration::from_secs(11 * 60)).await;
    served(send(&api, numbered(104))).await;
    assert_eq!(keys(), 1);
    assert!(pacer.snapshot().is_empty());
    all_served(send_all(&api, 105..200)).await;
    assert_eq!(keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_with_requests_under_way_is_not_forgotten() {
    let probe = Probe::slow(Duration::from_secs(3600), |_, _| Ok(status(200)));
    let (api, pacer) = paced(Pacer::new().concurrency(1), &probe);
    let long = send(&api, numbered(0));
    sleep(Duration::from_secs(11 * 60)).await;
    let next = send(&api, numbered(1));
    sleep(SECOND).await;
    assert_eq!(probe.held().1, 1);
    all_served([long, next]).await;
    assert_eq!(probe.most_calls(), 1);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_what_is_known_and_reads_like_a_sentence() {
    let probe = refusing(2, "30");
    let (api, pacer) = paced(Pacer::new().concurrency(2), &probe);
    let calls = send_all(&api, 0..6);
    sleep(LATENCY / 2).await;
    assert_eq!(
        only(&pacer).to_string(),
        "a: open, 4 waiting, 2 under way, 0 refused"
    );
    sleep(LATENCY / 2 + 10 * SECOND).await;
    let limit = only(&pacer);
    assert_eq!(limit.closed_for, Some(20 * SECOND));
    assert_eq!((limit.waiting, limit.under_way, limit.refusals), (6, 0, 2));
    assert_eq!((limit.rate, limit.burst), (None, None));
    let told = "a: closed for 20.0 s, 6 waiting, 0 under way, 2 refused";
    assert_eq!(limit.to_string(), told);
    all_served(calls).await;
    assert_eq!(
        only(&pacer).to_string(),
        "a: open, 0 waiting, 0 under way, 2 refused"
    );

    served(send(&api, get("/b/0"))).await;
    let keys: Vec<_> = pacer
        .snapshot()
        .into_iter()
        .map(|limit| limit.key)
        .collect();
    assert_eq!(keys, ["a", "b"].map(LimitKey::new));
}

/// Has places for so many requests at the same time, and refuses the others.
fn places(places: usize, hint: Option<&'static str>) -> Probe {
    let taken = Arc::new(AtomicUsize::new(0));
    Probe::new(move |_, _| {
        if taken.fetch_add(1, Ordering::Relaxed) >= places {
            taken.fetch_sub(1, Ordering::Relaxed);
            return Ok(hint.map_or_else(|| status(429), refused));
        }
        let taken = Arc::clone(&taken);
        tokio::spawn(async move {
            // The place is free when the answer comes.
            sleep(LATENCY - Duration::from_millis(1)).await;
            taken.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(status(200))
    })
}

#[tokio::test(start_paused = true)]
async fn how_many_may_be_under_way_is_learned_by_how_many_fitted_at_refusals() {
    // Without a hint two of three find it; others take it for a rate, and are as fast, or guess once more.
    for (seed, hint) in [(1, None), (4, None), (5, None), (7, None), (1, Some("1"))] {
        fastrand::seed(seed);
        let (api, pacer) = paced(Pacer::new(), &places(8, hint));
        let start = now();
        all_served(send_all(&api, 0..3000)).await;
        // 3.75 s, if it had been known from the start.
        assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
        let limit = only(&pacer);
        assert!(matches!(limit.concurrency, Some(8..=9)), "{limit}");
        assert_eq!((limit.rate, limit.burst), (None, None));
        assert!(limit.to_string().contains(" at a time, "), "{limit}");
        // The first crowd is sent unseen.
        assert!(limit.refusals < 2992 + 90, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_and_a_burst_are_learned_by_what_was_let_through() {
    for hinted in [false, true] {
        let bucket = bucket(10.0, 20.0);
        let probe = Probe::new(move |count, request| {
            let response = bucket(count, request)?;
            Ok(match response.status().as_u16() {
                429 if hinted => refused("1"),
                _ => response,
            })
        });
        let (api, pacer) = paced(Pacer::new(), &probe);
        let start = now();
        all_served(send_all(&api, 0..600)).await;
        // The first crowd is sent unseen; then it is a matter of pace.
        assert!(start.elapsed() < 90 * SECOND, "{:?}", start.elapsed());
        let limit = only(&pacer);
        let (rate, burst) = (limit.rate.unwrap(), limit.burst.unwrap());
        assert!((8.5..11.8).contains(&rate), "{limit}");
        assert!((1..=25).contains(&burst), "{limit}");
        assert!(limit.refusals > 580, "{limit}");
        assert!(
            limit.to_string().contains(" a second with bursts of "),
            "{limit}"
        );
        assert_idle(&pacer);
    }
}

#[test]
fn two_threads_that_hammer_one_key_are_served_to_the_last_request() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let probe = Probe::slow(Duration::ZERO, |count, _| match count % 97 {
        11 => error("lost"),
        33 => Ok(status(429)),
        _ => Ok(status(200)),
    });
    let pacer = Pacer::new()
        .without_learning()
        .concurrency(3)
        .quota(Quota::new(50, Duration::from_millis(5)));
    let pacer = Arc::new(pacer);
    let layer = RateLimitRetryLayer::new()
        .pacer(Arc::clone(&pacer))
        .refused_backoff(Backoff::new(Duration::ZERO, Duration::ZERO));
    let api = layer.layer(probe.clone());
    let start = Arc::new(Barrier::new(2));
    let hammers = [0, 1].map(|_| {
        let (api, start) = (api.clone(), Arc::clone(&start));
        runtime.spawn(async move {
            start.wait();
            for round in 0..8 {
                let calls: Vec<_> = send_all(&api, 0..40).into_iter().collect();
                // Every fifth is dropped at some point.
                for (number, call) in calls.into_iter().enumerate() {
                    if (number + round) % 5 == 0 {
                        call.abort();
                        let _ = call.await;
                    } else {
                        let _ = call.await.unwrap();
                    }
                }
            }
        })
    });
    runtime.block_on(async {
        // Real time here: a bound for a hang, not for a speed.
        let all = timeout(Duration::from_secs(60), join_all(hammers)).await;
        for hammer in all.expect("some are never served") {
            hammer.unwrap();
        }
    });
    assert!(probe.most_calls() <= 3);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_those_that_find_no_room_are_served_all_the_same() {
    let probe = Probe::slow(SECOND / 10, |_, _| Ok(status(200)));
    let pacer = Arc::new(Pacer::new().concurrency(1));
    let layer = RateLimitRetryLayer::new()
        .pacer(Arc::clone(&pacer))
        .limit_key(|head| LimitKey::new(head.uri.path()));
    let api = layer.layer(probe);
    // One after the other, and all at once.
    for keys in 0..1100 {
        let request = get(&format!("/one/{keys}"));
        assert_eq!(api.clone().oneshot(request).await.unwrap().status(), 200);
    }
    assert_eq!(pacer.snapshot().len(), 1024);
    let calls = (0..1100).flat_map(|key| [key; 3]);
    let calls = calls.map(|key| send(&api, get(&format!("/all/{key}"))));
    let calls: Vec<_> = calls.collect();
    sleep(SECOND / 20).await;
    assert_eq!(pacer.snapshot().len(), 1024);
    all_served(calls).await;
    assert_idle(&pacer);
}
