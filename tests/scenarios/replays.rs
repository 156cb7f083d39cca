//! What is sent twice, what is not, and that it is the same both times.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::join, stream};
use http::{Response, StatusCode, request};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::ServiceBuilder;
use tower_outbound::{
    backoff::{Backoff, Jitter},
    buffer_body::{AboveLimit, BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    mark::ReplaySafe,
    outcome::{Outcome, Stopped},
    rate_limit_retry::{IdempotencyKeys, RateLimitRetryLayer},
    test_util::{Listener, LoggedRequest, LoopbackCloud, Reply},
};

use crate::stack::{Stack, api_log, bearer, send, user, with_body};

const USERS: &str = "/api/v2/users";

/// As short as it goes: on sockets time is real.
const SHORTEST: Backoff =
    Backoff::new(Duration::from_millis(1), Duration::from_millis(1)).jitter(Jitter::None);

/// A warm stack on sockets that wastes no time.
async fn on_sockets() -> Stack {
    let stack = Stack::on_sockets(LoopbackCloud::builder()).await;
    let stack = Stack {
        rate_limit: hurried(&stack.rate_limit),
        ..stack
    };
    stack.warmed_up().await
}

fn hurried(layer: &RateLimitRetryLayer) -> RateLimitRetryLayer {
    let layer = layer.clone().backoff(SHORTEST);
    layer.refused_backoff(SHORTEST)
}

// S12
#[tokio::test]
async fn a_post_that_may_have_run_is_sent_once_and_twice_if_that_is_safe() {
    let errors = [
        (Reply::service_unavailable(None), 503),
        (Reply::service_unavailable(Some("1")), 503),
        (Reply::request_timeout(), 504),
    ];
    for (reply, status) in errors {
        let stack = on_sockets().await;
        stack.cloud.script(Listener::Api, "POST *", [reply]);
        let answer = stack.send_with(post(&stack), user("a@example.com")).await;
        assert_eq!(answer.status(), status);
        assert_eq!(Outcome::of(&answer).stopped, Some(Stopped::NotReplaySafe));
        assert_eq!(stack.cloud.api_calls(), 1);
        assert!(stack.cloud.users().is_empty());
    }
    for reply in [Reply::service_unavailable(None), Reply::request_timeout()] {
        let stack = on_sockets().await;
        stack.cloud.script(Listener::Api, "POST *", [reply]);
        let marked = post(&stack).extension(ReplaySafe);
        let answer = stack.send_with(marked, user("a@example.com")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(stack.cloud.users().len(), 1);
        assert_same_twice(&api_log(&stack.cloud));
    }
}

// S12, where the server did what was asked and the answer was lost at its edge.
#[tokio::test]
async fn a_post_that_has_run_is_not_run_again_by_an_error_of_the_edge() {
    for (status, marked, calls, answered) in [
        (503, false, 1, 503),
        (504, false, 1, 504),
        // The server itself knows the address by then.
        (503, true, 2, 409),
        (504, true, 2, 409),
    ] {
        let stack = on_sockets().await;
        let status = StatusCode::from_u16(status).unwrap();
        let first = Arc::new(AtomicBool::new(true));
        let api = ServiceBuilder::new()
            .layer(stack.rate_limit.clone())
            .layer(stack.token_refresh.clone())
            .map_response(move |mut response: Response<_>| {
                if first.swap(false, Ordering::Relaxed) {
                    *response.status_mut() = status;
                }
                response
            })
            .service(stack.http.clone());
        let mut request = post(&stack);
        if marked {
            request = request.extension(ReplaySafe);
        }
        let answer = send(api, with_body(request, user("a@example.com"))).await;
        assert_eq!(answer.unwrap().status(), answered, "{status} {marked}");
        assert_eq!(stack.cloud.api_calls(), calls, "{status} {marked}");
        assert_eq!(stack.cloud.users().len(), 1, "{status} {marked}");
    }
}

// S12, where the connection is lost after the server did what was asked.
#[tokio::test]
async fn a_post_whose_connection_is_cut_is_sent_once_and_twice_if_that_is_safe() {
    for reuse in [true, false] {
        let stack = on_sockets().await;
        // A connection that has carried a request before may break in other ways.
        let stack = match reuse {
            true => stack,
            false => Stack::over(stack.cloud),
        };
        stack.tokens.token().await.unwrap();
        let cut = Reply::cut_after_processing;
        stack.cloud.script(Listener::Api, "POST *", [cut()]);

        let request = with_body(post(&stack), user("a@example.com"));
        send(stack.api(), request).await.expect_err("it was cut");
        assert_eq!(stack.cloud.api_calls(), 1);
        assert_eq!(stack.cloud.users().len(), 1);

        stack.cloud.clear_log();
        stack.cloud.script(Listener::Api, "POST *", [cut()]);
        let marked = post(&stack).extension(ReplaySafe);
        let answer = stack.send_with(marked, user("b@example.com")).await;
        // The server itself knows the address by then.
        assert_eq!(answer.status(), 409);
        assert_eq!(stack.cloud.users().len(), 2);
        assert_same_twice(&api_log(&stack.cloud));
    }
}

// S13
#[tokio::test]
async fn a_post_that_was_refused_by_a_limit_is_sent_again_and_runs_once() {
    let stack = on_sockets().await;
    let refusal = Reply::too_many_requests(None);
    stack.cloud.script(Listener::Api, "POST *", [refusal]);

    let answer = stack.send_with(post(&stack), user("a@example.com")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(Outcome::of(&answer).refusals, 1);
    assert_eq!(stack.cloud.users().len(), 1);
    assert_same_twice(&api_log(&stack.cloud));
    assert_eq!(stack.cloud.token_requests(), 0);
}

// S14
#[tokio::test]
async fn a_stream_is_sent_once_and_its_refusal_returned_but_the_token_is_renewed_for_the_next() {
    let stack = on_sockets().await;
    let answer = streamed(&stack, BufferBodyLayer::new().limit(8)).await;

    assert_eq!(answer.status(), 401);
    assert_eq!(
        Outcome::of(&answer).stopped,
        Some(Stopped::BodyNotReplayable)
    );
    let log = api_log(&stack.cloud);
    assert_eq!(log.len(), 1);
    assert_eq!(
        log[0].body.as_deref(),
        Some(user("a@example.com").as_bytes())
    );
    assert!(stack.cloud.users().is_empty());

    stack.tokens.settle().await;
    assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (1, 1));
}

// S14
#[tokio::test]
async fn a_buffered_stream_is_replayed_byte_for_byte() {
    let stack = on_sockets().await;
    let answer = streamed(&stack, BufferBodyLayer::new()).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(stack.cloud.users().len(), 1);
    assert_eq!(stack.cloud.mints(), 1);
    let log = api_log(&stack.cloud);
    assert_same_twice(&log);
    assert_eq!(
        log[1].body.as_deref(),
        Some(user("a@example.com").as_bytes())
    );
    let issued = stack.cloud.issued_tokens();
    assert_eq!([bearer(&log[0]), bearer(&log[1])], [&issued[0], &issued[1]]);
}

/// POSTs a user as a stream of pieces, with a token that has just been revoked.
async fn streamed(stack: &Stack, buffer: BufferBodyLayer) -> Response<Bytes> {
    stack.cloud.revoke_all();
    let api = ServiceBuilder::new()
        .layer(buffer.above_limit(AboveLimit::PassOnce))
        .layer(stack.rate_limit.clone())
        .layer(stack.token_refresh.clone())
        .layer(BufferErrorBodyLayer::new())
        .service(stack.cloud.client::<BufferedBody>());
    let body = Bytes::from(user("a@example.com"));
    let pieces: Vec<_> = body.chunks(5).map(Bytes::copy_from_slice).collect();
    let pieces = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    let body = StreamBody::new(stream::iter(pieces.collect::<Vec<io::Result<_>>>()));
    let request = post(stack).body(body);
    let request = request.expect("a valid request");
    send(api, request).await.expect("an answer")
}

// S15
#[tokio::test(start_paused = true)]
async fn a_token_that_died_during_a_long_wait_is_renewed_before_the_request_ends() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    // Refused once and never failed: nothing is left for the layer above to give.
    let rate_limit = stack.rate_limit.clone().max_refusals(1).max_retries(0);
    let stack = Stack {
        rate_limit,
        ..stack
    };
    let refusal = Reply::too_many_requests(Some("170"));
    stack.cloud.script(Listener::Api, "POST *", [refusal]);

    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stack.cloud.revoke_all();
    };
    let call = stack.send_with(post(&stack), user("a@example.com"));
    let (answer, ()) = join(call, meanwhile).await;

    assert_eq!(answer.status(), 200);
    let outcome = Outcome::of(&answer);
    assert_eq!((outcome.refusals, outcome.token_replays), (1, 1));
    assert_eq!((outcome.resends, outcome.stopped), (2, None));
    let log = api_log(&stack.cloud);
    let statuses: Vec<_> = log.iter().filter_map(|call| call.status).collect();
    assert_eq!(statuses, [429, 401, 200]);
    assert!(log[1].t - log[0].t >= Duration::from_secs(170));
    assert_eq!((stack.cloud.mints(), stack.cloud.users().len()), (1, 1));
}

// S15: what one layer allows, the other does not use up.
#[tokio::test(start_paused = true)]
async fn refusals_of_the_token_and_of_the_limit_are_counted_apart() {
    let stack = Stack::in_memory(LoopbackCloud::builder()).warmed_up().await;
    let rate_limit = stack.rate_limit.clone().max_refusals(2).max_retries(0);
    let stack = Stack {
        rate_limit,
        ..stack
    };
    let limit = || Reply::too_many_requests(Some("30"));
    let token = Reply::unauthorized;
    let replies = [token(), limit(), token(), limit(), token(), limit()];
    stack.cloud.script(Listener::Api, "PUT /echo", replies);

    let put = stack.request("PUT", "/echo");
    let answer = stack.send_with(put, "the same each time").await;

    // Three attempts by the limit's count, and each of them got its one renewal.
    assert_eq!(answer.status(), 429);
    let outcome = Outcome::of(&answer);
    assert_eq!((outcome.refusals, outcome.token_replays), (3, 3));
    assert_eq!(outcome.stopped, Some(Stopped::MaxRefusals));
    assert_eq!((stack.cloud.mints(), stack.cloud.api_calls()), (3, 6));
    let log = api_log(&stack.cloud);
    assert!(
        log.iter()
            .all(|call| call.body_sha256 == log[0].body_sha256)
    );
}

/// A request with headers whose order and number a careless copy would lose.
fn post(stack: &Stack) -> request::Builder {
    let post = stack.request("POST", USERS);
    let post = post.header("content-type", "application/json");
    let post = post.header("x-b", "2").header("x-a", "1");
    post.header("x-b", "3")
}

/// Two requests, and all that the second changed was the credential.
#[track_caller]
fn assert_same_twice(log: &[LoggedRequest]) {
    let [first, second] = log else {
        panic!("{} requests", log.len());
    };
    assert!(first.body_sha256.is_some());
    assert_eq!(first.body_sha256, second.body_sha256);
    assert_eq!(first.body_len, second.body_len);
    assert_eq!(
        (&first.method, &first.target),
        (&second.method, &second.target)
    );
    let others = |request: &LoggedRequest| -> Vec<_> {
        let headers = request.headers.iter().cloned();
        headers
            .filter(|(name, _)| name != "authorization")
            .collect()
    };
    assert_eq!(others(first), others(second));
}

#[tokio::test]
async fn a_post_with_a_key_of_ours_is_sent_again_when_it_is_lost_and_has_run_once() {
    let stack = on_sockets().await;
    let keyed = stack
        .rate_limit
        .clone()
        .idempotency_keys(IdempotencyKeys::Bare);
    let stack = Stack {
        rate_limit: keyed,
        ..stack
    };
    let path = "/api/v2/quality/conversations/1/evaluations";
    stack
        .cloud
        .script(Listener::Api, "POST *", [Reply::cut_after_processing()]);
    for _ in 0..2 {
        let answer = stack.send(stack.request("POST", path)).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(stack.cloud.evaluations().len(), 2, "each call ran once");
    let log = api_log(&stack.cloud);
    let keys: Vec<_> = log
        .iter()
        .filter_map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1], "a replay has the key of what it replays");
    assert_ne!(keys[1], keys[2]);
}
