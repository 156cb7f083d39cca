use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer};
use tower_outbound::{
    mark::{Deadline, NoToken, ResendCount},
    origin::{MissingOrigin, Origins},
    outcome::{Outcome, Stopped},
    token::{CredentialHeader, Grant, TokenCache, TokenError, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::probe::{self, Probe, get, post, refusing_up_to, status, token_layer, tokens};

const SECOND: Duration = Duration::from_secs(1);

fn failing(error: TokenError) -> (TokenCache, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let tokens = TokenCache::new(source_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let error = error.clone();
        async { Err(error) }
    }));
    (tokens, asked)
}

#[tokio::test(start_paused = true)]
async fn a_request_carries_the_token_and_the_header_is_sensitive() {
    let probe = Probe::statuses(&[200]);
    token_layer(&tokens())
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    let sent = &probe.take_sent()[0];
    assert_eq!(sent.token(), Some("Bearer token 1"));
    assert!(sent.request.headers()[header::AUTHORIZATION].is_sensitive());
    assert_eq!(sent.request.extensions().get::<ResendCount>(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once_and_the_request_is_replayed() {
    let probe = refusing_up_to(1);
    let response = token_layer(&tokens())
        .layer(probe.clone())
        .oneshot(post("body"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(Outcome::of(&response).token_replays, 1);
    let sent = probe.take_sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].token(), Some("Bearer token 2"));
    assert_eq!(sent[1].request.body(), "body");
    assert_eq!(sent[1].request.extensions().get(), Some(&ResendCount(1)));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_refused_at_once_all_succeed_after_one_renewal() {
    let probe = refusing_up_to(1);
    let tokens = tokens();
    let api = token_layer(&tokens).layer(probe.clone());
    let answers = join_all((0..100).map(|_| api.clone().oneshot(get("/")))).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().status() == 200)
    );
    assert_eq!(tokens.peek().unwrap().generation(), 2);
    assert_eq!(probe.count(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_is_returned_as_it_came_after_exactly_two_sends() {
    let probe = Probe::statuses(&[401, 401, 401, 401]);
    let response = token_layer(&tokens())
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::RefusedAgain));
    assert_eq!(probe.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_fruitless_renewal_the_next_refusal_is_returned_without_one() {
    let probe = Probe::new(|_, _| Ok(status(401)));
    let tokens = tokens();
    let api = token_layer(&tokens).layer(probe.clone());
    api.clone().oneshot(get("/")).await.unwrap();
    let response = api.oneshot(get("/")).await.unwrap();
    assert_eq!(
        Outcome::of(&response).stopped,
        Some(Stopped::RenewalWithheld)
    );
    assert_eq!(probe.count(), 3);
    assert_eq!(tokens.peek().unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent_and_the_error_says_why() {
    let (tokens, asked) = failing(TokenError::rejected("the secret is wrong"));
    let probe = Probe::statuses(&[]);
    let api = token_layer(&tokens).layer(probe.clone());
    for answer in join_all((0..100).map(|_| api.clone().oneshot(get("/")))).await {
        let error = answer.unwrap_err();
        assert!(TokenError::find(&*error).unwrap().is_rejected());
    }
    assert_eq!((probe.count(), asked.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_returns_the_refusal_with_its_body_and_the_error() {
    let minted = AtomicUsize::new(0);
    let tokens = TokenCache::new(source_fn(move |_| {
        let count = minted.fetch_add(1, Ordering::SeqCst);
        async move {
            match count {
                0 => Ok(Grant::new("first")),
                _ => Err(TokenError::transient("the authorization server is down")),
            }
        }
    }));
    let probe = Probe::new(|_, _| {
        let mut response = status(401);
        *response.body_mut() = Full::from("your token is dead");
        Ok(response)
    });
    let api = token_layer(&tokens).layer(probe.clone());
    let response = api.clone().oneshot(get("/")).await.unwrap();
    let error = TokenError::of(&response).unwrap();
    assert_eq!(error.to_string(), "the authorization server is down");
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::RenewalFailed));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "your token is dead");

    // What had not been sent gets the error, and sends nothing with a token that is dead.
    let error = api.oneshot(get("/")).await.unwrap_err();
    assert!(TokenError::find(&*error).is_some());
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_token_goes_to_its_origins_only() {
    for (uri, carries) in [
        ("https://api.example.com/", true),
        ("https://API.example.com:443/", true),
        ("http://api.example.com/", false),
        ("https://api.example.com:8443/", false),
        ("https://evil.example.com/", false),
        ("https://api.example.com@evil.test/", false),
        ("https://api.example.com.evil.test/", false),
    ] {
        let probe = Probe::statuses(&[401]);
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        token_layer(&tokens())
            .layer(probe.clone())
            .oneshot(request)
            .await
            .unwrap();
        let sent = probe.take_sent();
        assert_eq!(sent[0].token().is_some(), carries, "{uri}");
        // A refusal of what was not our credential is none of our business.
        assert_eq!(sent.len(), if carries { 2 } else { 1 }, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_its_own_credential_or_marked_is_left_alone() {
    let mut own = get("/");
    own.headers_mut().insert(
        header::AUTHORIZATION,
        HeaderValue::from_static("Basic eA=="),
    );
    let mut marked = get("/");
    marked.extensions_mut().insert(NoToken);
    for (request, expected) in [(own, Some("Basic eA==")), (marked, None)] {
        let probe = Probe::statuses(&[401, 401]);
        let tokens = tokens();
        let response = token_layer(&tokens)
            .layer(probe.clone())
            .oneshot(request)
            .await
            .unwrap();
        assert_eq!(response.status(), 401);
        let sent = probe.take_sent();
        assert_eq!((sent.len(), sent[0].token()), (1, expected));
        assert!(tokens.peek().is_none(), "no token was needed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_relative_uri_is_an_error_unless_every_origin_is_allowed() {
    let probe = Probe::statuses(&[]);
    let relative = || Request::get("/users?secret=1").body(Bytes::new()).unwrap();
    let error = token_layer(&tokens())
        .layer(probe.clone())
        .oneshot(relative())
        .await
        .unwrap_err();
    assert!(MissingOrigin::find(&*error).is_some());
    let message = error.to_string();
    assert!(
        message.contains("/users") && !message.contains("secret"),
        "{message}"
    );
    assert_eq!(probe.count(), 0);

    let any = TokenRefreshLayer::new(tokens(), Origins::any());
    any.layer(probe.clone()).oneshot(relative()).await.unwrap();
    assert_eq!(probe.take_sent()[0].token(), Some("Bearer token 1"));
}

#[tokio::test(start_paused = true)]
async fn header_and_scheme_are_the_users_choice() {
    let name = HeaderName::from_static("x-shopify-access-token");
    for (header, expected) in [
        (CredentialHeader::bare(name.clone()), "abc"),
        (CredentialHeader::new(name.clone(), "token"), "token abc"),
    ] {
        let tokens = TokenCache::builder()
            .credential_header(header)
            .build(source_fn(|_| async { Ok(Grant::new("abc")) }));
        let probe = Probe::statuses(&[]);
        token_layer(&tokens)
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap();
        let sent = probe.take_sent();
        assert_eq!(sent[0].request.headers()[&name], expected);
        assert_eq!(sent[0].token(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_counts_as_a_refusal_is_the_users_choice() {
    let probe = Probe::statuses(&[403]);
    let layer = token_layer(&tokens()).refused_when(|parts| parts.status == 403);
    assert_eq!(
        layer
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(probe.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_too_new_is_sent_again_before_it_is_renewed() {
    let start = probe::now();
    let probe = Probe::new(move |_, _| {
        Ok(status(if start.elapsed() < 2 * SECOND {
            401
        } else {
            200
        }))
    });
    let tokens = tokens();
    let layer = token_layer(&tokens).fresh_token_lag(5 * SECOND);
    let response = layer.layer(probe.clone()).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(tokens.peek().unwrap().generation(), 1);
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_stays_refused_after_its_lag_is_renewed() {
    let probe = refusing_up_to(1);
    let tokens = tokens();
    let layer = token_layer(&tokens).fresh_token_lag(5 * SECOND);
    assert_eq!(
        layer
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(tokens.peek().unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_waiter_keeps_its_own_deadline() {
    let tokens = TokenCache::new(source_fn(|_| async {
        sleep(10 * SECOND).await;
        Ok(Grant::new("late"))
    }));
    let probe = Probe::statuses(&[]);
    let api = token_layer(&tokens).layer(probe.clone());
    let patient = tokio::spawn(api.clone().oneshot(get("/")));
    let mut hasty = get("/");
    hasty.extensions_mut().insert(Deadline::within(SECOND));
    let start = probe::now();
    let error = api.oneshot(hasty).await.unwrap_err();
    assert!(TokenError::find(&*error).unwrap().is_deadline());
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(patient.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_replay_after_a_long_wait_for_readiness_carries_the_token_of_that_time() {
    let (mock, mut handle) =
        tower_test::mock::pair::<Request<Bytes>, http::Response<Full<Bytes>>>();
    let tokens = tokens();
    let api = token_layer(&tokens).layer(mock);
    handle.allow(1);
    let call = tokio::spawn(api.oneshot(get("/")));
    let (request, respond) = handle.next_request().await.unwrap();
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer token 1");
    respond.send_response(status(401));
    // The inner service is busy; meanwhile somebody renews once more.
    sleep(10 * SECOND).await;
    assert_eq!(tokens.renew().await.unwrap().generation(), 3);
    handle.allow(1);
    let (request, respond) = handle.next_request().await.unwrap();
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer token 3");
    respond.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_error_is_found_through_a_buffer() {
    let (tokens, _) = failing(TokenError::rejected("no"));
    let api = ServiceBuilder::new()
        .layer(BufferLayer::new(4))
        .layer(token_layer(&tokens))
        .service(Probe::statuses(&[]));
    let error = api.oneshot(get("/")).await.unwrap_err();
    assert!(TokenError::find(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_inner_error_is_passed_on_as_it_is() {
    #[derive(Debug, thiserror::Error)]
    #[error("mine")]
    struct Mine;
    let probe = Probe::new(|_, _| Err(Box::new(Mine) as BoxError));
    let error = token_layer(&tokens())
        .layer(probe)
        .oneshot(get("/"))
        .await
        .unwrap_err();
    assert!(error.is::<Mine>());
}

#[tokio::test(start_paused = true)]
async fn work_starts_when_the_future_is_polled_and_not_before() {
    let (tokens, asked) = failing(TokenError::transient("down"));
    let mut api = token_layer(&tokens).layer(Probe::statuses(&[]));
    let future = api.ready().await.unwrap().call(get("/"));
    drop(future);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_response_that_never_ends_delays_the_replay_by_a_tenth_of_a_second_only() {
    let trickle = || {
        let body = futures_util::stream::unfold((), |()| async {
            sleep(SECOND).await;
            Some((
                Ok::<_, BoxError>(http_body::Frame::data(Bytes::from("x"))),
                (),
            ))
        });
        http_body_util::StreamBody::new(Box::pin(body))
    };
    let sent = AtomicUsize::new(0);
    let inner = tower::service_fn(|_: Request<Bytes>| {
        let code = if sent.fetch_add(1, Ordering::SeqCst) == 0 {
            401
        } else {
            200
        };
        let response = http::Response::builder()
            .status(code)
            .body(trickle())
            .unwrap();
        async { Ok::<_, BoxError>(response) }
    });
    let tokens = tokens();
    tokens.token().await.unwrap();
    sleep(2 * SECOND).await;
    let start = probe::now();
    assert_eq!(
        token_layer(&tokens)
            .layer(inner)
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    let took = start.elapsed();
    assert!(took < Duration::from_millis(150), "{took:?}");
}

/// How old the tokens were with which these calls were sent, one at a time, six seconds each. A token
/// lives for ten, or for as long as is given here.
async fn ages_of_tokens_behind_one_permit(calls: usize, lifetime: Duration) -> Vec<Duration> {
    let start = probe::now();
    let source = source_fn(move |_| async move {
        let born = start.elapsed().as_millis().to_string();
        Ok(Grant::new(born).expires_in(lifetime))
    });
    let server = tower::service_fn(move |request: Request<Bytes>| async move {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        let born = token.strip_prefix("Bearer ").unwrap().parse().unwrap();
        let age = start.elapsed() - Duration::from_millis(born);
        sleep(6 * SECOND).await;
        let mut response = status(200);
        response.extensions_mut().insert(age);
        Ok::<_, BoxError>(response)
    });
    let service = ServiceBuilder::new()
        .layer(token_layer(&TokenCache::new(source)))
        .concurrency_limit(1)
        .service(server);
    let calls = (0..calls).map(|_| service.clone().oneshot(get("/")));
    let answers = join_all(calls).await;
    let age = |answer: Result<http::Response<_>, _>| {
        *answer.unwrap().extensions().get::<Duration>().unwrap()
    };
    answers.into_iter().map(age).collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_when_there_is_a_permit_at_last_is_not_sent() {
    let ages = ages_of_tokens_behind_one_permit(6, 10 * SECOND).await;
    assert!(ages.iter().all(|age| *age < 10 * SECOND), "{ages:?}");
    // They had waited for the first, and got others.
    assert_eq!(ages.iter().filter(|age| age.is_zero()).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_shorter_than_a_wait_for_a_permit_do_not_keep_a_request_for_ever() {
    let ages = ages_of_tokens_behind_one_permit(4, 2 * SECOND).await;
    assert_eq!(ages.len(), 4);
}
