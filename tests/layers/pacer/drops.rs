//! What a dropped request, and one that failed, leaves behind.

use std::{pin::pin, task::Waker};

use proptest::prelude::*;
use tokio::{runtime, time::sleep};
use tower::{Service, ServiceBuilder};
use tower_outbound::{
    mark::{Deadline, Priority},
    rate_limit_retry::Quota,
};

use super::*;

/// Polls a future by hand, with a waker that nobody hears.
fn poll_unheard<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_gives_its_place_to_the_next_in_time() {
    // The first of the queue, one in the middle, the last, and several.
    for gone in [&[1][..], &[5], &[9], &[1, 2, 3], &[1, 9, 4], &[0, 1]] {
        let probe = refusing(1, "10");
        let (api, pacer) = paced(Pacer::new(), &probe);
        let start = now();
        let mut calls = send_all(&api, [0]);
        sleep(SECOND).await;
        calls.extend(send_all(&api, 1..10));
        sleep(SECOND).await;
        assert_eq!(only(&pacer).waiting, 10);
        for &number in gone {
            calls[number].abort();
            sleep(Duration::from_millis(7)).await;
        }
        assert_eq!(only(&pacer).waiting, 10 - gone.len());
        let left = calls.into_iter().enumerate();
        let left = left.filter(|(number, _)| !gone.contains(number));
        all_served(left.map(|(_, call)| call)).await;
        let sent = numbers(&probe);
        let order = sent[1..].iter().map(|(number, _)| *number);
        assert!(order.eq((0..10).filter(|number| !gone.contains(number))));
        assert_eq!(sent[1].1 - start, LATENCY + 10 * SECOND, "without {gone:?}");
        assert_idle(&pacer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_takes_goes_to_the_next_when_its_waiter_is_dropped() {
    let probe = refusing(0, "");
    let (api, pacer) = paced(Pacer::new().concurrency(1), &probe);
    let first = send(&api, numbered(0));
    sleep(LATENCY / 2).await;
    let mut unheard = Box::pin(api.clone().oneshot(numbered(1)));
    assert!(poll_unheard(unheard.as_mut()).is_pending());
    let last = send(&api, numbered(2));
    served(first).await;
    sleep(SECOND).await;
    // It has the turn, and does not know.
    let limit = only(&pacer);
    assert_eq!((limit.waiting, limit.under_way, probe.count()), (1, 1, 1));
    drop(unheard);
    let start = now();
    served(last).await;
    assert_eq!(start.elapsed(), LATENCY);
    assert_eq!(order(&probe), [0, 2]);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_after_any_poll_holds_neither_a_place_nor_a_turn() {
    // Two at a time, the first two are refused, and later one fails.
    let mut polls = 0;
    loop {
        let probe = Probe::new(|count, _| match count {
            1 | 2 => Ok(refused("1")),
            4 => Ok(status(503)),
            5 => error("lost"),
            _ => Ok(status(200)),
        });
        let (api, pacer) = paced(Pacer::new().concurrency(2), &probe);
        let before = send_all(&api, [0]);
        tokio::task::yield_now().await;
        let mut victim = Box::pin(api.clone().oneshot(numbered(1)));
        let after = send_all(&api, 2..6);
        let mut ended = false;
        for _ in 0..polls {
            ended |= poll_unheard(victim.as_mut()).is_ready();
            if ended {
                break;
            }
            sleep(Duration::from_millis(9)).await;
        }
        drop(victim);
        for call in before.into_iter().chain(after) {
            // One of them may be the one whose error is its own.
            let _ = in_time(call).await.unwrap();
        }
        assert_idle(&pacer);
        assert_eq!(probe.held(), (0, 0), "after {polls} polls");
        let next = now();
        served(send(&api, numbered(9))).await;
        assert!(next.elapsed() < 2 * SECOND, "after {polls} polls");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 100, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn errors_and_answers_of_any_kind_give_the_turn_back() {
    let probe = Probe::new(|count, _| match count % 5 {
        0 => error("of its own kind"),
        1 => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
        2 => Ok(status(500)),
        3 => Ok(status(503)),
        _ => Ok(refused("1")),
    });
    let (api, pacer) = paced(Pacer::new().concurrency(3), &probe);
    for call in send_all(&api, 0..60) {
        let _ = in_time(call).await.unwrap();
    }
    assert_idle(&pacer);
    assert!(probe.most_calls() <= 3, "{}", probe.most_calls());
}

/// Fails to become ready, now and then.
#[derive(Clone)]
struct Unready {
    probe: Probe,
    fail: bool,
}

impl Service<Request<Bytes>> for Unready {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = <Probe as Service<Request<Bytes>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Only after it has been released, that is, after a wait.
        match self.fail && self.probe.count() >= 1 {
            true => Poll::Ready(Err("broken".into())),
            false => self.probe.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.probe.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_holds_nothing_even_if_its_future_is_kept() {
    // Its service cannot become ready again after the wait.
    let probe = refusing(0, "");
    let pacer = Arc::new(Pacer::new().concurrency(1));
    let layer = RateLimitRetryLayer::new().pacer(Arc::clone(&pacer));
    let [good, bad] = [false, true].map(|fail| {
        let probe = probe.clone();
        layer.layer(Unready { probe, fail })
    });
    let mut broken = bad;
    std::future::poll_fn(|cx| broken.poll_ready(cx))
        .await
        .unwrap();
    let first = spawn(good.clone().oneshot(numbered(0)));
    tokio::task::yield_now().await;
    let mut broken = pin!(broken.call(numbered(1)));
    assert!(in_time(broken.as_mut()).await.is_err());
    served(first).await;
    served(spawn(good.oneshot(numbered(2)))).await;

    // Its deadline has passed while it was the first in the queue.
    let probe = refusing(0, "");
    let pacer = Pacer::new().quota(Quota::new(1, 20 * SECOND));
    let (api, pacer) = paced(pacer, &probe);
    served(send(&api, numbered(0))).await;
    let urgent = marked(numbered(1), Deadline::within(5 * SECOND));
    let mut urgent = pin!(api.clone().oneshot(urgent));
    assert!(poll_unheard(urgent.as_mut()).is_pending());
    let others = send_all(&api, 2..4);
    let error = timeout(6 * SECOND, urgent.as_mut()).await.unwrap();
    let error = error.unwrap_err();
    assert_eq!(
        RateLimited::find(&*error).unwrap().reason(),
        Reason::Deadline
    );
    all_served(others).await;
    assert_eq!(order(&probe), [0, 2, 3]);
    assert_idle(&pacer);
}

// ===== the barrier =====

#[tokio::test(start_paused = true)]
async fn there_are_never_more_under_way_than_allowed_however_they_are_woken() {
    let latency = Duration::from_millis(17);
    let probe = Probe::slow(latency, |count, _| match count % 13 {
        5 => Ok(refused("1")),
        8 => error("lost"),
        _ => Ok(status(200)),
    });
    let (api, pacer) = paced(Pacer::new().concurrency(3), &probe);
    let mut calls: Vec<_> = (0..60)
        .map(|number| Some(Box::pin(api.clone().oneshot(numbered(number)))))
        .collect();
    // All are polled again and again, whether they were woken or not; some are dropped.
    for round in 0_usize.. {
        for (number, slot) in calls.iter_mut().enumerate() {
            let Some(call) = slot else { continue };
            let dropped = number % 9 == 4 && round == number;
            if poll_unheard(call.as_mut()).is_ready() || dropped {
                *slot = None;
            }
        }
        assert!(probe.held().1 <= 3);
        if calls.iter().all(Option::is_none) {
            break;
        }
        assert!(round < 100_000, "some are never served");
        sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(probe.most_calls(), 3);
    assert_idle(&pacer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn drops_at_any_time_leave_the_counters_at_zero_and_the_rest_served(
        allowed in 1..4_u32,
        quota in prop::option::of((1..5_u32, 1..400_u64)),
        calls in prop::collection::vec((0..300_u64, prop::option::of(0..900_u64), 0..10_u8), 1..40),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let answers: Vec<u8> = calls.iter().map(|(_, _, answer)| *answer).collect();
            let last = calls.len();
            let probe = Probe::new(move |count, request| match answers.get(count - 1) {
                _ if request.uri().path() == format!("/a/{last}") => Ok(status(200)),
                Some(0 | 1) => Ok(refused("1")),
                Some(2) => Ok(status(429)),
                Some(3) => Ok(status(503)),
                Some(4) => error("lost"),
                _ => Ok(status(200)),
            });
            let pacer = Pacer::new().concurrency(allowed);
            let quota = quota.map(|(requests, millis)| Quota::new(requests, Duration::from_millis(millis)));
            let pacer = quota.into_iter().fold(pacer, Pacer::quota);
            let (api, pacer) = paced(pacer, &probe);
            let calls = calls.iter().enumerate().map(|(number, &(at, dropped, _))| {
                let urgent = Priority(number as i8 % 3);
                let call = api.clone().oneshot(marked(numbered(number), urgent));
                spawn(async move {
                    sleep(Duration::from_millis(at)).await;
                    match dropped {
                        Some(after) => drop(timeout(Duration::from_millis(after), call).await),
                        None => drop(call.await),
                    }
                })
            });
            for call in join_all(calls.map(in_time)).await {
                call.unwrap();
            }
            assert_idle(&pacer);
            assert!(probe.most_calls() <= allowed as usize);
            served(send(&api, numbered(last))).await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_asked_for_again_when_the_limit_closes_before_the_service_is_ready() {
    // One permit below, so that the second becomes ready when the first has been refused.
    let probe = Probe::slow(SECOND, |count, _| {
        Ok(match count {
            1 => refused("5"),
            2 => refused("60"),
            _ => status(200),
        })
    });
    let pacer = Arc::new(Pacer::new().concurrency(2));
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new().pacer(Arc::clone(&pacer)))
        .concurrency_limit(1)
        .service(probe.clone());
    let calls = (0..4).map(|number| spawn(api.clone().oneshot(numbered(number))));
    all_served(calls.collect::<Vec<_>>()).await;
    let sent = numbers(&probe);
    assert_eq!(sent.len(), 6);
    assert!(sent[2].1 - sent[1].1 >= 61 * SECOND, "{sent:?}");
    assert_idle(&pacer);
}
