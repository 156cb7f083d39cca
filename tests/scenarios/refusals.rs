//! Refusals that a new token does not cure.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::{Instant, sleep_until};
use tower::ServiceBuilder;
use tower_outbound::{
    outcome::{Outcome, Stopped},
    rate_limit_retry::RateLimitRetry,
    test_util::{Listener, LoopbackCloud, Reply},
    token_refresh::TokenRefresh,
};

use crate::stack::{Http, Stack, api_log, bearer, send, user, with_body};

const USERS: &str = "/api/v2/users";

// S4
#[tokio::test(start_paused = true)]
async fn a_crowd_that_is_always_refused_shares_one_renewal_and_gets_its_last_refusals() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script_forever(Listener::Api, "GET /api/v2/users", Reply::unauthorized());

    let gate = stack.cloud.gate(Listener::Api, "GET /api/v2/users");
    let crowd = stack.crowd(100, USERS);
    gate.arrived(100).await;
    gate.release();
    let answers = crowd.join_all().await;

    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    assert_eq!(stack.cloud.api_calls(), 200);
    assert_eq!(answers.len(), 100);
    for answer in answers {
        let answer = answer.unwrap();
        assert_is_bad_credentials(&answer);
        let outcome = Outcome::of(&answer);
        assert_eq!(outcome.stopped, Some(Stopped::RefusedAgain));
        assert_eq!((outcome.token_replays, outcome.resends), (1, 1));
    }
    let issued = stack.cloud.issued_tokens();
    let log = api_log(&stack.cloud);
    assert!(log[..100].iter().all(|call| bearer(call) == issued[0]));
    assert!(log[100..].iter().all(|call| bearer(call) == issued[1]));

    // It was of no use, so whoever comes right after it is answered without another.
    assert_is_bad_credentials(&stack.get(USERS).await);
    assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (1, 201));
    // And other routes go on with the token.
    assert_eq!(stack.get("/api/v2/routing/queues").await.status(), 200);
}

// S4
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_every_call_does_not_make_the_cache_mint_for_every_call() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script_forever(Listener::Api, "GET /api/v2/users", Reply::unauthorized());

    let start = Instant::now();
    let mut replays = 0;
    for caller in 0..100 {
        sleep_until(start + caller * Duration::from_millis(100)).await;
        let answer = stack.get(USERS).await;
        assert_is_bad_credentials(&answer);
        let outcome = Outcome::of(&answer);
        replays += outcome.token_replays as usize;
        let reason = match outcome.token_replays {
            0 => Stopped::RenewalWithheld,
            _ => Stopped::RefusedAgain,
        };
        assert_eq!(outcome.stopped, Some(reason));
    }

    assert!((9900..11_000).contains(&start.elapsed().as_millis()));
    let mints = stack.cloud.mints();
    assert!((1..=5).contains(&mints), "{mints}");
    assert_eq!(stack.cloud.token_requests(), mints);
    assert_eq!((replays, stack.cloud.api_calls()), (mints, 100 + mints));
}

// S5
#[tokio::test(start_paused = true)]
async fn an_address_that_is_not_authorized_is_no_reason_to_renew() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script_forever(Listener::Api, "*", Reply::ip_not_authorized());

    let answer = stack.get(USERS).await;

    assert_eq!(answer.status(), 401);
    assert_eq!(code(&answer), "ip.not.authorized");
    assert_eq!(Outcome::of(&answer), Outcome::default());
    assert_eq!(stack.cloud.api_calls(), 1);
    settle(&stack).await;
    assert_eq!(stack.cloud.token_requests(), 0);
}

// S5, where no layer shows the body.
#[tokio::test(start_paused = true)]
async fn without_its_body_a_refused_address_is_a_refusal_like_any_other() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script_forever(Listener::Api, "*", Reply::ip_not_authorized());

    let answer = send(blind(&stack), with_body(stack.request("GET", USERS), ""))
        .await
        .unwrap();

    assert_eq!(answer.status(), 401);
    assert_eq!(code(&answer), "ip.not.authorized");
    assert_eq!(Outcome::of(&answer).stopped, Some(Stopped::RefusedAgain));
    assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (1, 2));
}

// S19
#[tokio::test(start_paused = true)]
async fn a_slow_authentication_service_is_no_reason_to_renew_and_even_a_post_is_sent_again() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script(Listener::Api, "*", [Reply::authentication_timeout()]);

    let post = stack.request("POST", USERS);
    let answer = stack.send_with(post, user("a@example.com")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(stack.cloud.users().len(), 1);
    assert_eq!(stack.cloud.api_calls(), 2);
    settle(&stack).await;
    assert_eq!(stack.cloud.token_requests(), 0);
}

// S19, where no layer shows the body.
#[tokio::test(start_paused = true)]
async fn without_its_body_a_slow_authentication_service_is_a_gateway_timeout_like_any_other() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    for (method, calls, status) in [("GET", 2, 200), ("POST", 1, 504)] {
        stack.cloud.clear_log();
        stack
            .cloud
            .script(Listener::Api, "*", [Reply::authentication_timeout()]);
        let request = with_body(stack.request(method, USERS), "{}");
        let answer = send(blind(&stack), request).await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
        assert_eq!(stack.cloud.api_calls(), calls, "{method}");
    }
    settle(&stack).await;
    assert_eq!(stack.cloud.token_requests(), 0);
}

/// The layers without the one that shows them error bodies.
fn blind(stack: &Stack) -> RateLimitRetry<TokenRefresh<Http>> {
    ServiceBuilder::new()
        .layer(stack.rate_limit.clone())
        .layer(stack.token_refresh.clone())
        .service(stack.http.clone())
}

/// Until a renewal in the background, had there been a reason for one, would be over.
async fn settle(stack: &Stack) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    stack.tokens.settle().await;
}

#[track_caller]
fn assert_is_bad_credentials(answer: &Response<Bytes>) {
    assert_eq!(answer.status(), 401);
    assert_eq!(code(answer), "bad.credentials");
}

/// The code in an error body, which has to be whole for that.
fn code(answer: &Response<Bytes>) -> String {
    let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("a whole body");
    body["code"].as_str().unwrap_or_default().to_owned()
}
