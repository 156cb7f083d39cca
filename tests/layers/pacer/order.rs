//! Who goes first.

use http::StatusCode;
use tokio::time::{sleep, sleep_until};
use tower_outbound::{
    mark::{NoRetry, Priority},
    outcome::Outcome,
    rate_limit_retry::{Pacer, Quota},
};

use super::*;

#[tokio::test(start_paused = true)]
async fn refused_requests_go_first_and_then_those_that_came_later_in_order_of_arrival() {
    let probe = refusing(3, "10");
    let (api, pacer) = paced(Pacer::new(), &probe);
    let mut calls = send_all(&api, 0..3);
    sleep(SECOND).await;
    calls.extend(send_all(&api, 3..40));
    all_served(calls).await;
    let order = order(&probe);
    assert_eq!(order[..3], [0, 1, 2]);
    assert!(order[3..].iter().copied().eq(0..40), "{order:?}");
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_late_goes_before_those_who_wait_already() {
    let probe = refusing(2, "10");
    let (api, _) = paced(Pacer::new(), &probe);
    let mut calls = Vec::new();
    for number in 0..5 {
        // The first is refused after the second was sent, the second when the third waits.
        calls.extend(send_all(&api, [number]));
        sleep(LATENCY * 3 / 5).await;
    }
    all_served(calls).await;
    assert_eq!(order(&probe), [0, 1, 0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_again_keeps_its_place() {
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1 | 2 | 4 => refused("10"),
            _ => status(200),
        })
    });
    let (api, _) = paced(Pacer::new().concurrency(1), &probe);
    all_served(send_all(&api, 0..4)).await;
    assert_eq!(order(&probe), [0, 0, 0, 1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_whatever_the_pace_lets_the_others_go() {
    // What it asks for costs too much: no wait cures that.
    let probe = Probe::new(|_, request| {
        Ok(match request.uri().path() {
            "/a/0" => refused("10"),
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new().concurrency(1), &probe);
    let mut calls = send_all(&api, 0..20);
    let hopeless = calls.remove(0);
    all_served(calls).await;
    let order = order(&probe);
    assert_eq!(order[..4], [0; 4], "{order:?}");
    assert!(order[4..23].iter().copied().eq(1..20), "{order:?}");
    let response = hopeless.await.unwrap().unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(Outcome::of(&response).refusals, 17);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_whether_a_server_is_back_take_turns() {
    // It is down for longer than one of them may try.
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1..=7 => {
                let mut down = refused("5");
                *down.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                down
            }
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new().concurrency(1), &probe);
    all_served(send_all(&api, 0..6)).await;
    assert_eq!(order(&probe), [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 0, 1, 2]);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_priority_goes_before_earlier_arrivals_and_equals_in_order_of_arrival() {
    let probe = refusing(1, "10");
    let (api, _) = paced(Pacer::new().concurrency(1), &probe);
    let mut calls = send_all(&api, 0..3);
    for (number, priority) in [(3, -1), (4, 1), (5, 0), (6, 1), (7, i8::MAX), (8, -1)] {
        calls.push(send(&api, marked(numbered(number), Priority(priority))));
    }
    all_served(calls).await;
    assert_eq!(order(&probe), [0, 7, 4, 6, 0, 1, 2, 5, 3, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_priority_is_kept_through_a_refusal() {
    // The second is the request with priority.
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1 | 2 => refused("10"),
            _ => status(200),
        })
    });
    let (api, _) = paced(Pacer::new().concurrency(1), &probe);
    let mut calls = send_all(&api, 0..3);
    calls.push(send(&api, marked(numbered(3), Priority(1))));
    all_served(calls).await;
    assert_eq!(order(&probe), [0, 3, 3, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_the_queue_not_even_at_the_moment_when_it_opens() {
    for early in [true, false] {
        let probe = refusing(1, "10");
        let (api, _) = paced(Pacer::new().concurrency(2), &probe);
        let opens = now() + LATENCY + 10 * SECOND;
        let arrive = |number| {
            let api = api.clone();
            spawn(async move {
                sleep_until(opens).await;
                api.oneshot(numbered(number)).await
            })
        };
        // Their timers are set before or after those of the queue.
        let mut calls = Vec::new();
        if early {
            calls.extend((10..15).map(arrive));
        }
        calls.extend(send_all(&api, 0..10));
        sleep(SECOND).await;
        if !early {
            calls.extend((10..15).map(arrive));
        }
        all_served(calls).await;
        let order = order(&probe);
        // Two were sent at once, and the first was refused.
        assert!(
            order[2..].iter().copied().eq([0].into_iter().chain(2..15)),
            "{order:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_the_queue_of_a_quota() {
    let probe = refusing(0, "");
    let (api, _) = paced(Pacer::new().quota(Quota::per_second(2)), &probe);
    let mut calls = Vec::new();
    for number in 0..40 {
        calls.extend(send_all(&api, [number]));
        sleep(Duration::from_millis(100 * (number as u64 % 7))).await;
    }
    all_served(calls).await;
    assert!(order(&probe).into_iter().eq(0..40));
}

#[tokio::test(start_paused = true)]
async fn one_key_never_stalls_another_with_queues_before_both() {
    let probe = Probe::new(|count, request| {
        Ok(match (count, request.uri().path()) {
            (1 | 2, "/a/0") => refused("60"),
            (1 | 2, "/b/0") => refused("5"),
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new(), &probe);
    let start = now();
    let path = |key: char, number: usize| get(&format!("/{key}/{number}"));
    let first = [send(&api, path('a', 0)), send(&api, path('b', 0))];
    sleep(SECOND).await;
    let [a, b] = ['a', 'b'].map(|key| {
        let requests = (1..50).map(|number| path(key, number));
        requests
            .map(|request| send(&api, request))
            .collect::<Vec<_>>()
    });
    sleep(SECOND).await;
    let waiting: Vec<_> = pacer.snapshot().iter().map(|limit| limit.waiting).collect();
    assert_eq!(waiting, [50, 50]);
    // A third has no limit at all.
    served(send(&api, path('c', 0))).await;
    assert!(start.elapsed() < 3 * SECOND);

    all_served(b).await;
    assert!((5 * SECOND..6 * SECOND).contains(&start.elapsed()));
    all_served(a).await;
    assert!((60 * SECOND..61 * SECOND).contains(&start.elapsed()));
    all_served(first).await;
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_keeps_its_place_too() {
    // With a time to come back at, without one, and lost on the way.
    for failure in ["hinted", "bare", "lost"] {
        let probe = Probe::new(move |count, _| match (count, failure) {
            (3, "hinted") => Ok(with_field(status(503), "retry-after", "10")),
            (3, "bare") => Ok(status(503)),
            (3, _) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            _ => Ok(status(200)),
        });
        let (api, pacer) = paced(Pacer::new().quota(Quota::per_second(1)), &probe);
        all_served(send_all(&api, 0..60)).await;
        let order = order(&probe);
        let again = order.iter().rposition(|number| *number == 2).unwrap();
        // Others may go during a pause of its own, but not while the limit is closed for all.
        let latest = if failure == "hinted" { 3 } else { 6 };
        assert!(again <= latest, "{failure}: {order:?}");
        assert_idle(&pacer);
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_time_came_while_another_was_under_way_is_woken_when_the_limit_closes() {
    let probe = Probe::slow(5 * SECOND, |count, _| {
        Ok(if count == 1 {
            refused("10")
        } else {
            status(200)
        })
    });
    let pacer = Pacer::new()
        .without_learning()
        .concurrency(1)
        .quota(Quota::per_second(1));
    let (api, pacer) = paced(pacer, &probe);
    let start = now();
    // Its quota has room again after a second, its bound after five; then the limit is closed.
    let once = send(&api, marked(numbered(0), NoRetry));
    let next = send_all(&api, 1..4);
    assert_eq!(in_time(once).await.unwrap().unwrap().status(), 429);
    all_served(next).await;
    let times = times(&probe, start);
    assert_eq!(times, [0, 15, 20, 25].map(|seconds| seconds * SECOND));
    assert_idle(&pacer);
}
