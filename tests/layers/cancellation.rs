//! Callers that go away, at every poll.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::rate_limit_retry::RateLimitRetryLayer;

use crate::probe::{self, Probe, get, status, token_layer, tokens};

/// Goes through everything: first token, refusal, renewal, refusal by limit, failure, success.
fn eventful() -> Probe {
    Probe::new(|count, _| {
        Ok(match count {
            1 => status(401),
            2 => probe::refused("3"),
            3 => status(503),
            _ => status(200),
        })
    })
}

/// Polls a future up to so many times, a little time apart, and then drops it.
async fn poll_times(future: impl Future<Output: Sized>, times: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let poll = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if poll.is_ready() {
            return true;
        }
        sleep(Duration::from_millis(9)).await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_after_any_poll_leaves_nothing_held_and_the_next_is_served() {
    let mut polls = 0;
    loop {
        let (probe, tokens) = (eventful(), tokens());
        let api = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer(&tokens))
            .concurrency_limit(1)
            .service(probe.clone());
        let ended = poll_times(api.clone().oneshot(get("/")), polls).await;
        assert_eq!(probe.held(), (0, 0), "after {polls} polls");

        let next = timeout(Duration::from_secs(600), api.oneshot(get("/")));
        let next = next
            .await
            .unwrap_or_else(|_| panic!("nobody is served after {polls} polls"));
        assert_eq!(next.unwrap().status(), 200);
        tokens.settle().await;
        assert!(
            tokens.peek().unwrap().generation() <= 2,
            "after {polls} polls"
        );
        assert_eq!(probe.held(), (0, 0), "after {polls} polls");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 100, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_leader_does_not_take_the_renewal_with_it() {
    for polls in 1..12 {
        let (probe, tokens) = (probe::refusing_up_to(1), tokens());
        tokens.token().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let api = ServiceBuilder::new()
            .layer(token_layer(&tokens))
            .service(probe.clone());
        let follower = tokio::spawn(api.clone().oneshot(get("/")));
        poll_times(api.oneshot(get("/")), polls).await;
        assert_eq!(follower.await.unwrap().unwrap().status(), 200);
        assert_eq!(
            tokens.peek().unwrap().generation(),
            2,
            "dropped after {polls} polls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_polled_a_handful_of_times() {
    let probe = Probe::slow(Duration::from_secs(5), |count, _| {
        Ok(if count == 1 {
            probe::refused("100")
        } else {
            status(200)
        })
    });
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens()))
        .service(probe);
    let mut polls = 0;
    let mut call = pin!(api.oneshot(get("/")));
    std::future::poll_fn(|cx| {
        polls += 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.unwrap()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    assert!(polls < 15, "{polls}");
}
