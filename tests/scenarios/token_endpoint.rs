//! An authorization server that throttles, and one that says no.

use std::time::Duration;

use tokio::time::Instant;
use tower_outbound::{
    test_util::{Listener, LoopbackCloud, Reply},
    token::TokenError,
};

use crate::stack::{Answer, Stack, statuses};

const USERS: &str = "/api/v2/users";

// S6
#[tokio::test(start_paused = true)]
async fn a_throttled_token_endpoint_is_asked_again_later_and_the_callers_never_know() {
    let stack = Stack::in_memory(LoopbackCloud::builder());
    let replies = [Reply::token_throttled(), Reply::token_throttled()];
    stack
        .cloud
        .script(Listener::Login, "POST /oauth/token", replies);

    let answers = stack.crowd(100, USERS).join_all().await;

    assert_eq!(statuses(answers), [200; 100]);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (3, 1));
    assert_eq!(stack.cloud.api_calls(), 100);
    for pause in pauses_between_token_requests(&stack.cloud) {
        assert!(pause >= Duration::from_millis(100), "{pause:?}");
    }
}

// S6, where the endpoint says how long.
#[tokio::test(start_paused = true)]
async fn a_throttled_token_endpoint_is_not_asked_before_its_retry_after() {
    let stack = Stack::in_memory(LoopbackCloud::builder());
    let throttled = |seconds| Reply::token_throttled().header("retry-after", seconds);
    let replies = [throttled("7"), throttled("11")];
    stack
        .cloud
        .script(Listener::Login, "POST /oauth/token", replies);

    let answers = stack.crowd(100, USERS).join_all().await;

    assert_eq!(statuses(answers), [200; 100]);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (3, 1));
    let pauses = pauses_between_token_requests(&stack.cloud);
    assert!(pauses[0] >= Duration::from_secs(7), "{pauses:?}");
    assert!(pauses[1] >= Duration::from_secs(11), "{pauses:?}");
}

// S7
#[tokio::test]
async fn wrong_credentials_cost_one_token_request_whoever_asks_and_however_often() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let stack = Stack::with_secret(cloud, "wrong");

    let first = errors(stack.crowd(100, USERS).join_all().await);
    assert_eq!(stack.cloud.token_requests(), 1);
    let next = errors(stack.crowd(100, USERS).join_all().await);

    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 0));
    assert_eq!(stack.cloud.api_calls(), 0);
    assert_eq!((first.len(), next.len()), (100, 100));
    for error in first.iter().chain(&next) {
        assert!(error.is_rejected());
        assert_eq!(error.oauth_error(), Some("invalid_client"));
        assert_eq!(error.description(), Some("authentication failed"));
        // The login host is what is wrong when a client of another region is used.
        assert!(error.to_string().contains(stack.cloud.login_url()));
        assert_eq!(error.to_string(), first[0].to_string());
        assert_eq!(error.next_attempt(), first[0].next_attempt());
    }
}

// S7, when the cool-down is over.
#[tokio::test(start_paused = true)]
async fn after_the_cool_down_wrong_credentials_are_tried_once_more() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let stack = Stack::with_secret(cloud, "wrong");
    let start = Instant::now();
    let first = errors(stack.crowd(100, USERS).join_all().await);
    let next_attempt = first[0].next_attempt().unwrap();
    assert!(next_attempt >= start + Duration::from_secs(60));

    tokio::time::sleep_until(next_attempt - Duration::from_millis(1)).await;
    errors(stack.crowd(100, USERS).join_all().await);
    assert_eq!(stack.cloud.token_requests(), 1);

    tokio::time::sleep_until(next_attempt).await;
    errors(stack.crowd(100, USERS).join_all().await);
    assert_eq!(stack.cloud.token_requests(), 2);
    assert_eq!(stack.cloud.api_calls(), 0);
}

fn errors(answers: Vec<Answer>) -> Vec<TokenError> {
    let errors = answers.into_iter().map(|answer| {
        let error = answer.expect_err("without a token nothing is sent");
        TokenError::find(&*error).expect("a token error").clone()
    });
    errors.collect()
}

fn pauses_between_token_requests(cloud: &LoopbackCloud) -> Vec<Duration> {
    let log = cloud.log();
    let logins = log
        .iter()
        .filter(|request| request.listener == Listener::Login);
    let times: Vec<_> = logins.map(|request| request.t).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
