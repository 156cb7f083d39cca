//! Tokens that die early, live briefly, or are not known yet.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tower_outbound::{
    outcome::{Outcome, Stopped},
    test_util::{LoopbackCloud, LoopbackCloudBuilder},
};

use crate::stack::{Answer, Stack, api_log, send, with_body};

const ME: &str = "/api/v2/tokens/me";

// S17
#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_known_yet_is_tried_again_rather_than_renewed() {
    let stack = Stack::in_memory(lagging());
    let stack = Stack {
        token_refresh: stack
            .token_refresh
            .clone()
            .fresh_token_lag(Duration::from_secs(5)),
        ..stack
    };

    let answer = stack.get(ME).await;

    assert_eq!(answer.status(), 200);
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (1, 1));
    // Pauses of 1 s and 2 s, the token being known after 2 s.
    let log = api_log(&stack.cloud);
    let times: Vec<_> = log.iter().map(|call| call.t.as_millis()).collect();
    assert_eq!(times, [0, 1000, 3000]);
    assert_eq!(Outcome::of(&answer).token_replays, 2);
}

// S17
#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_known_yet_is_renewed_once_where_nobody_said_so() {
    let stack = Stack::in_memory(lagging());

    let answer = stack.get(ME).await;

    assert_eq!(answer.status(), 401);
    assert_eq!(Outcome::of(&answer).stopped, Some(Stopped::RefusedAgain));
    assert_eq!((stack.cloud.token_requests(), stack.cloud.mints()), (2, 2));
    assert_eq!(stack.cloud.api_calls(), 2);
}

fn lagging() -> LoopbackCloudBuilder {
    let lag = Duration::from_secs(2);
    LoopbackCloud::builder().configure(|knobs| knobs.fresh_lag = lag)
}

// S18
#[tokio::test(start_paused = true)]
async fn programs_that_evict_each_others_tokens_all_get_their_answers() {
    let rivals = Rivals::new();
    let answers = rivals.call(60, Duration::from_secs(1)).await;
    let mints = rivals.mints();
    let good = answers.iter().filter(|answer| answer.status() == 200);
    println!(
        "11 caches for 10 live tokens: {} of {} calls succeed, mints {mints:?}",
        good.count(),
        answers.len()
    );
    assert_eq!(answers.len(), 660);
    assert!(mints.iter().all(|mints| *mints <= 61), "{mints:?}");
    // They do evict each other, or this would show nothing.
    assert!(rivals.cloud.mints() > 11);
}

// S18, with more calls than a cache may mint tokens.
#[tokio::test(start_paused = true)]
async fn programs_that_evict_each_others_tokens_mint_once_a_second_at_most() {
    let rivals = Rivals::new();
    let answers = rivals.call(60, Duration::from_millis(100)).await;
    let mints = rivals.mints();
    assert_eq!(answers.len(), 660);
    // The last of them within a second of the last call, at about 7 s.
    assert!(mints.iter().all(|mints| *mints <= 8), "{mints:?}");
    assert!(rivals.cloud.mints() > 11);
}

/// One more program than their common client may have live tokens.
struct Rivals {
    cloud: LoopbackCloud,
    programs: Vec<Stack>,
}

impl Rivals {
    fn new() -> Self {
        let cloud = LoopbackCloud::builder()
            .configure(|knobs| knobs.max_live_tokens_per_client = Some(10))
            .start_in_memory();
        let programs = (0..11).map(|_| Stack::over(cloud.clone())).collect();
        Self { cloud, programs }
    }

    /// Each makes so many calls at this pace, whether or not the last was answered, and none at
    /// the same time as another.
    async fn call(&self, count: u32, every: Duration) -> Vec<Response<Bytes>> {
        let start = Instant::now();
        let mut calls: JoinSet<Answer> = JoinSet::new();
        for (shift, program) in (0..).zip(&self.programs) {
            for n in 0..count {
                let at = start + every * n + every / 11 * shift;
                let (api, request) = (program.api(), program.request("GET", ME));
                calls.spawn(async move {
                    sleep_until(at).await;
                    send(api, with_body(request, "")).await
                });
            }
        }
        let answers = calls.join_all().await.into_iter();
        let answers: Vec<_> = answers
            .map(|answer| answer.expect("every call is answered"))
            .collect();
        let is_known = |answer: &Response<_>| matches!(answer.status().as_u16(), 200 | 401);
        assert!(answers.iter().all(is_known));
        answers
    }

    /// How many tokens each has minted.
    fn mints(&self) -> Vec<u64> {
        let tokens = self.programs.iter().map(|program| program.tokens.peek());
        let mints: Vec<_> = tokens
            .map(|token| token.map_or(0, |token| token.generation()))
            .collect();
        assert_eq!(mints.iter().sum::<u64>(), self.cloud.mints() as u64);
        mints
    }
}

// S23
#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_always_renewed_in_time() {
    let lifetime = Duration::from_secs(5);
    let stack = Stack::in_memory(
        LoopbackCloud::builder().configure(|knobs| knobs.token_lifetime = lifetime),
    );

    let start = Instant::now();
    for call in 0..600 {
        sleep_until(start + call * Duration::from_millis(100)).await;
        assert_eq!(stack.get(ME).await.status(), 200);
    }

    assert!(start.elapsed() < Duration::from_secs(60));
    let log = api_log(&stack.cloud);
    assert_eq!(log.len(), 600);
    assert!(log.iter().all(|call| call.status == Some(200)));
    let mints = stack.cloud.mints();
    assert!((12..=20).contains(&mints), "{mints}");
}
