//! A pause longer than anyone waits: a daily quota.

use tokio::time::sleep;
use tower_outbound::{
    outcome::{Outcome, Stopped},
    rate_limit_retry::Quota,
};

use super::*;

const DAILY: Duration = Duration::from_secs(30_000);

#[tokio::test(start_paused = true)]
async fn who_meets_the_end_of_a_daily_quota_gets_the_answer_and_the_next_a_local_error() {
    let probe = refusing(1, "30000");
    let (api, pacer) = paced(Pacer::new(), &probe);
    let start = now();
    let response = in_time(send(&api, numbered(0))).await.unwrap().unwrap();
    assert_eq!(start.elapsed(), LATENCY);
    assert_eq!(response.status(), 429);
    let stopped = Outcome::of(&response).stopped;
    assert_eq!(stopped, Some(Stopped::MaxWait { hint: DAILY }));

    for _ in 0..3 {
        let asked = now();
        let error = failed(send(&api, numbered(1))).await;
        assert_reason(&error, Reason::Spent, start + LATENCY + DAILY);
        assert_eq!(asked.elapsed(), Duration::ZERO);
        sleep(Duration::from_secs(7000)).await;
    }
    assert_eq!(probe.count(), 1);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_long_pause_is_waited_for() {
    let probe = refusing(1, "30000");
    let (api, _) = paced(Pacer::new(), &probe);
    let start = now();
    in_time(send(&api, numbered(0))).await.unwrap().unwrap();
    let opens = start + LATENCY + DAILY;
    tokio::time::sleep_until(opens - 181 * SECOND).await;
    failed(send(&api, numbered(1))).await;
    tokio::time::sleep_until(opens - 179 * SECOND).await;
    all_served(send_all(&api, 2..5)).await;
    let sent = numbers(&probe);
    let order: Vec<_> = sent.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, [0, 2, 3, 4]);
    assert!(sent[1..].iter().all(|(_, at)| *at >= opens));
    assert!(now() < opens + SECOND);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_already_are_told_when_the_quota_is_spent() {
    let probe = Probe::new(|count, _| {
        Ok(match count {
            4 => refused("30000"),
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new().quota(Quota::new(1, 10 * SECOND)), &probe);
    let start = now();
    let mut calls = send_all(&api, 0..50);
    let rest = calls.split_off(4);
    let last = in_time(calls.pop().unwrap()).await.unwrap().unwrap();
    assert_eq!(last.status(), 429);
    all_served(calls).await;
    for call in rest {
        let error = failed(call).await;
        assert_reason(&error, Reason::Spent, start + 30 * SECOND + LATENCY + DAILY);
    }
    assert_eq!(start.elapsed(), 30 * SECOND + LATENCY);
    assert_eq!(probe.count(), 4);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_the_quota_was_spent_is_returned_as_it_came() {
    // Three at once: the first says that the quota is spent, the others are merely refused.
    let probe = Probe::new(|count, _| {
        Ok(match count {
            1 => refused("30000"),
            2 | 3 => refused("5"),
            _ => status(200),
        })
    });
    let (api, pacer) = paced(Pacer::new(), &probe);
    let start = now();
    for call in send_all(&api, 0..3) {
        let response = in_time(call).await.unwrap().unwrap();
        assert_eq!(response.status(), 429);
        let stopped = Outcome::of(&response).stopped;
        assert!(
            matches!(stopped, Some(Stopped::MaxWait { .. })),
            "{stopped:?}"
        );
    }
    assert!(start.elapsed() < SECOND);
    assert_eq!(probe.count(), 3);
    assert_idle(&pacer);
}

#[tokio::test(start_paused = true)]
async fn one_key_being_spent_does_not_concern_another() {
    let probe = refusing(1, "30000");
    let (api, _) = paced(Pacer::new(), &probe);
    in_time(send(&api, numbered(0))).await.unwrap().unwrap();
    served(send(&api, get("/b/1"))).await;
}
