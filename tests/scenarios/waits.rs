//! Waiting as long as the server asks: not shorter, and not for nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};
use tower_outbound::{
    outcome::{Outcome, Stopped},
    test_util::{Listener, LoopbackCloud, Quota, Reply, Scope},
};

use crate::stack::{Stack, api_log, send, statuses, with_body};

const USERS: &str = "/api/v2/users";
const ME: &str = "/api/v2/tokens/me";
const QUERY: &str = "/api/v2/analytics/conversations/details/query";
const JOBS: &str = "/api/v2/analytics/conversations/details/jobs";

const SECOND: Duration = Duration::from_secs(1);

// S9
#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_sent_again_before_the_servers_time() {
    // The spread above the hint is drawn at random.
    for _ in 0..20 {
        let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
        let refusal = Reply::too_many_requests(Some("1"));
        stack.cloud.script(Listener::Api, "*", [refusal]);

        let body = r#"{"paging":{"pageSize":100,"pageNumber":2}}"#;
        let answer = stack.send_with(stack.request("POST", QUERY), body).await;

        assert_eq!(answer.status(), 200);
        let log = api_log(&stack.cloud);
        assert_eq!(log.len(), 2);
        let wait = log[1].t - log[0].t;
        assert!(wait >= SECOND, "{wait:?}");
        assert!(wait <= SECOND * 11 / 10 + TICK, "{wait:?}");
        assert_eq!(log[0].body.as_deref(), Some(body.as_bytes()));
        assert_eq!(log[0].body_sha256, log[1].body_sha256);
        assert_eq!(stack.cloud.token_requests(), 0);
    }
}

// S9, for those who were not refused themselves.
#[tokio::test(start_paused = true)]
async fn one_refusal_holds_back_everybody_so_that_nobody_else_is_refused() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    let refusal = Reply::too_many_requests(Some("10"));
    stack.cloud.script(Listener::Api, "*", [refusal]);

    let mut crowd = stack.crowd(1, USERS);
    tokio::time::sleep(3 * SECOND).await;
    for _ in 0..20 {
        let request = with_body(stack.request("GET", ME), "");
        crowd.spawn(send(stack.api(), request));
    }

    assert_eq!(statuses(crowd.join_all().await), [200; 21]);
    let log = api_log(&stack.cloud);
    assert_eq!(log.len(), 22);
    for call in &log[1..] {
        let wait = call.t - log[0].t;
        assert!(wait >= 10 * SECOND, "{wait:?}");
        assert!(wait <= 11 * SECOND + TICK, "{wait:?}");
    }
}

// S10
#[tokio::test(start_paused = true)]
async fn a_daily_limit_is_the_callers_at_once() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack
        .cloud
        .script(Listener::Api, "*", [Reply::daily_limit()]);

    let start = Instant::now();
    let answer = stack.get(USERS).await;

    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "30000");
    let hint = 30_000 * SECOND;
    let stopped = Outcome::of(&answer).stopped;
    assert_eq!(stopped, Some(Stopped::MaxWait { hint }));
    assert_eq!(stack.cloud.api_calls(), 1);
}

// S11
#[tokio::test(start_paused = true)]
async fn nine_hundred_calls_through_three_windows_all_succeed_in_their_time() {
    const WINDOW: Duration = Duration::from_secs(60);
    let stack = Stack::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.quota = Some(Quota {
            requests: 300,
            window: WINDOW,
            per: Scope::Client,
        });
    }));

    let start = Instant::now();
    let mut workers: JoinSet<_> = (0..64)
        .map(|worker| {
            let calls = (worker..900).step_by(64);
            let request = with_body(stack.request("GET", ME), "");
            let api = stack.api();
            async move {
                let mut answers = Vec::new();
                for _ in calls {
                    answers.push(send(api.clone(), request.clone()).await);
                }
                answers
            }
        })
        .collect();
    let mut answers = Vec::new();
    while let Some(worker) = workers.join_next().await {
        answers.extend(worker.unwrap());
    }
    let took = start.elapsed();

    assert_eq!(answers.len(), 900);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let refusals = |answer: &Response<Bytes>| Outcome::of(answer).refusals as usize;
    let refused: usize = answers.iter().map(refusals).sum();
    println!("900 calls, 300 a window, 64 workers: {refused} refusals, {took:?}");
    assert_eq!(stack.cloud.api_calls(), 900 + refused);
    assert_eq!(stack.cloud.mints(), 1);
    // Three windows, and the hint at the end of one.
    assert!(took >= 2 * WINDOW, "{took:?}");
    assert!(took <= 3 * WINDOW + WINDOW, "{took:?}");
}

// S20
#[tokio::test(start_paused = true)]
async fn no_retry_after_whatever_it_holds_leads_to_a_panic_or_to_a_retry_at_once() {
    use Then::{Backoff, Return, Wait};
    let refusal = |value: &[u8]| Reply::too_many_requests(None).header("retry-after", value);
    let table: [(&str, Reply, Then); 25] = [
        ("none", Reply::too_many_requests(None), Backoff),
        ("quota", Reply::quota_exceeded(300, 60 * SECOND), Backoff),
        ("empty", refusal(b""), Backoff),
        ("a word", refusal(b"soon"), Backoff),
        ("with a unit", refusal(b"5 seconds"), Backoff),
        ("signed", refusal(b"+5"), Backoff),
        ("negative", refusal(b"-1"), Backoff),
        ("zero", refusal(b"0"), Backoff),
        ("zero point zero", refusal(b"0.0"), Backoff),
        ("exponent", refusal(b"1e9"), Backoff),
        ("hexadecimal", refusal(b"0x10"), Backoff),
        ("not a number", refusal(b"NaN"), Backoff),
        ("infinite", refusal("∞".as_bytes()), Backoff),
        ("not text", refusal(b"\xff\xfe"), Backoff),
        ("digits of another script", refusal("٥".as_bytes()), Backoff),
        (
            "a broken date",
            refusal(b"Sun, 99 Foo 1994 08:49:37 GMT"),
            Backoff,
        ),
        (
            "a past date",
            refusal(b"Sun, 06 Nov 1994 08:49:37 GMT"),
            Backoff,
        ),
        ("a past epoch", refusal(b"1577836801"), Backoff),
        ("decimal", refusal(b"2.0"), Wait(2 * SECOND)),
        ("begun second", refusal(b"1.001"), Wait(2 * SECOND)),
        ("blanks around it", refusal(b" 5 "), Wait(5 * SECOND)),
        (
            "two of them",
            refusal(b"7").header("retry-after", "3"),
            Wait(7 * SECOND),
        ),
        (
            "a word and a number",
            refusal(b"soon").header("retry-after", "3"),
            Wait(3 * SECOND),
        ),
        ("too many digits", refusal(b"99999999999999999999"), Return),
        ("a day's rest", Reply::daily_limit(), Return),
    ];
    for (name, reply, then) in table {
        // What is waited without a hint is drawn at random.
        for _ in 0..5 {
            let (waited, status) = waited_after(reply.clone()).await;
            match then {
                Return => assert_eq!((waited, status), (None, 429), "{name}"),
                Backoff => {
                    let waited = waited.unwrap_or_else(|| panic!("{name}: not sent again"));
                    assert_eq!(status, 200, "{name}");
                    assert!(waited >= LEAST_WAIT, "{name}: {waited:?}");
                    assert!(waited <= BACKOFF_BASE + TICK, "{name}: {waited:?}");
                }
                Wait(hint) => {
                    let waited = waited.unwrap_or_else(|| panic!("{name}: not sent again"));
                    assert_eq!(status, 200, "{name}");
                    assert!(waited >= hint, "{name}: {waited:?}");
                    assert!(waited <= hint * 11 / 10 + TICK, "{name}: {waited:?}");
                }
            }
        }
    }
}

// S20: the date that the table cannot hold.
#[tokio::test(start_paused = true)]
async fn a_date_is_waited_for_by_the_servers_own_clock() {
    let ahead = Reply::too_many_requests(None).retry_after_date(10 * SECOND);
    let (waited, status) = waited_after(ahead).await;
    assert_eq!(status, 200);
    let waited = waited.unwrap();
    // A date tells seconds, and they may tick between it and the date of the response.
    assert!(waited >= 9 * SECOND, "{waited:?}");
    assert!(waited <= 11 * SECOND * 11 / 10 + TICK, "{waited:?}");

    // By the server's own clock this one is past, whatever ours says.
    let past = Reply::too_many_requests(None)
        .header("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")
        .header("date", "Fri, 01 Jan 2100 00:00:01 GMT");
    let (waited, status) = waited_after(past).await;
    assert_eq!(status, 200);
    assert!(waited.unwrap() >= LEAST_WAIT);
    assert!(waited.unwrap() <= BACKOFF_BASE + TICK);
}

// S20: the wait without a hint grows up to its cap and not beyond.
#[tokio::test(start_paused = true)]
async fn refusals_without_a_hint_are_never_waited_for_longer_than_the_cap() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    let garbage = Reply::too_many_requests(Some("soon"));
    stack.cloud.script_forever(Listener::Api, "*", garbage);

    let answer = stack.get(USERS).await;

    assert_eq!(answer.status(), 429);
    let stopped = Outcome::of(&answer).stopped;
    assert_eq!(stopped, Some(Stopped::MaxRefusals));
    let log = api_log(&stack.cloud);
    assert_eq!(log.len(), 17);
    for pair in log.windows(2) {
        let wait = pair[1].t - pair[0].t;
        assert!(wait >= LEAST_WAIT, "{wait:?}");
        assert!(wait <= BACKOFF_CAP * 11 / 10 + TICK, "{wait:?}");
    }
}

// S22
#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_done_yet_is_no_business_of_the_layers() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    let start = Instant::now();

    let created = stack.send_with(stack.request("POST", JOBS), "{}").await;
    assert_eq!(created.status(), 202);
    let id = json(&created)["jobId"].as_str().unwrap().to_owned();
    for (status, state) in [(202, "QUEUED"), (202, "PENDING"), (200, "FULFILLED")] {
        let polled = stack.get(&format!("{JOBS}/{id}")).await;
        assert_eq!(polled.status(), status);
        assert_eq!(json(&polled)["state"], state);
        assert_eq!(Outcome::of(&polled), Outcome::default());
    }

    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(stack.cloud.api_calls(), 4);
    assert_eq!(stack.cloud.token_requests(), 0);
}

/// What becomes of a request after a refusal.
#[derive(Clone, Copy)]
enum Then {
    /// As if the server had not said how long.
    Backoff,
    /// The server was understood.
    Wait(Duration),
    /// The refusal is the caller's.
    Return,
}

/// How long it took until the second attempt, if there was one, and what the caller got.
async fn waited_after(refusal: Reply) -> (Option<Duration>, u16) {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    stack.cloud.script(Listener::Api, "*", [refusal]);
    let start = Instant::now();
    let status = stack.get(USERS).await.status().as_u16();
    let log = api_log(&stack.cloud);
    match &log[..] {
        [_] => {
            assert_eq!(start.elapsed(), Duration::ZERO);
            (None, status)
        }
        [first, second] => (Some(second.t - first.t), status),
        more => panic!("{} attempts", more.len()),
    }
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).expect("JSON")
}

/// Nothing refused comes back sooner.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// The longest that is waited after the first refusal without a hint, and after any.
const BACKOFF_BASE: Duration = SECOND;
const BACKOFF_CAP: Duration = Duration::from_secs(20);

/// Tokio's timers are rounded up to the next one.
const TICK: Duration = Duration::from_millis(1);
