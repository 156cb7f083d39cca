//! tower's own layers above and below ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, header};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    limit::GlobalConcurrencyLimitLayer,
    load_shed::{LoadShedLayer, error::Overloaded},
    service_fn,
    timeout::{TimeoutLayer, error::Elapsed},
    util::BoxCloneService,
};
use tower_outbound::{
    backoff::{Backoff, Jitter},
    mark::{Deadline, ResendCount},
    outcome::{Outcome, Stopped},
    rate_limit_retry::RateLimitRetryLayer,
    token::{Grant, TokenCache, TokenError, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::{SECOND, Server, get, origins, response};

#[tokio::test(start_paused = true)]
async fn a_timeout_above_cuts_a_wait_and_a_deadline_hands_the_refusal_back() {
    let server = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, BoxError>(response(429, &[("retry-after", "60")]))
    });
    let wrong = ServiceBuilder::new()
        .layer(TimeoutLayer::new(10 * SECOND))
        .layer(RateLimitRetryLayer::new())
        .service(server);
    let error = wrong.oneshot(get("https://api.test/")).await.unwrap_err();
    assert!(error.is::<Elapsed>());

    let mut request = get("https://api.test/");
    request
        .extensions_mut()
        .insert(Deadline::within(10 * SECOND));
    let right = RateLimitRetryLayer::new();
    let right = ServiceBuilder::new().layer(right).service(server);
    let refused = right.oneshot(request).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(Outcome::of(&refused).stopped, Some(Stopped::Deadline));
}

#[tokio::test(start_paused = true)]
async fn permits_above_let_one_servers_limit_hold_up_another_server() {
    let server = Server(Arc::new(|request: &Request<Full<Bytes>>| {
        let is_first = request.extensions().get::<ResendCount>().is_none();
        if request.uri().host() == Some("slow.test") && is_first {
            return response(429, &[("retry-after", "60")]);
        }
        response(200, &[])
    }));
    for permits_above in [true, false] {
        let permits = GlobalConcurrencyLimitLayer::new(1);
        let retry = RateLimitRetryLayer::new();
        let api = if permits_above {
            let stack = ServiceBuilder::new().layer(permits).layer(retry);
            stack.service(server.clone()).boxed_clone()
        } else {
            let stack = ServiceBuilder::new().layer(retry).layer(permits);
            stack.service(server.clone()).boxed_clone()
        };
        let slow = tokio::spawn(api.clone().oneshot(get("https://slow.test/")));
        sleep(SECOND).await;
        let other = api.oneshot(get("https://other.test/"));
        let other = tokio::time::timeout(SECOND, other).await;
        assert_eq!(other.is_err(), permits_above);
        assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_ends_one_attempt_and_a_wait_is_not_its_business() {
    let count = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&count);
    // Refuses for a minute, then answers too late, then in time.
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(if call == 1 { 60 * SECOND } else { SECOND }).await;
            let refused = response(429, &[("retry-after", "60")]);
            Ok::<_, BoxError>(if call == 0 {
                refused
            } else {
                response(200, &[])
            })
        }
    });
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(TimeoutLayer::new(10 * SECOND))
        .service(server);
    let response = api.clone().oneshot(get("https://api.test/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), 3);

    // What may have run is not sent again: the caller gets the error.
    count.store(1, Ordering::SeqCst);
    let post = Request::post("https://api.test/").body(Full::default());
    let error = api.oneshot(post.unwrap()).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_shed_above_is_the_callers_and_what_is_shed_below_is_tried_again() {
    let server = service_fn(|_: Request<Full<Bytes>>| async {
        sleep(SECOND).await;
        Ok::<_, BoxError>(response(200, &[]))
    });
    let pause = Backoff::new(2 * SECOND, 2 * SECOND).jitter(Jitter::None);
    let retry = RateLimitRetryLayer::new().backoff(pause);
    let permit = GlobalConcurrencyLimitLayer::new(1);
    for shed_above in [true, false] {
        let (shed, retry) = (LoadShedLayer::new(), retry.clone());
        let api: Cloneable = if shed_above {
            let stack = ServiceBuilder::new().layer(shed).layer(retry);
            stack.layer(permit.clone()).service(server).boxed_clone()
        } else {
            let stack = ServiceBuilder::new().layer(retry).layer(shed);
            stack.layer(permit.clone()).service(server).boxed_clone()
        };
        let post = || {
            Request::post("https://api.test/")
                .body(Full::default())
                .unwrap()
        };
        let first = tokio::spawn(api.clone().oneshot(post()));
        tokio::task::yield_now().await;
        match api.oneshot(post()).await {
            Err(error) => assert!(shed_above && error.is::<Overloaded>(), "{error}"),
            Ok(response) => {
                assert!(!shed_above);
                assert_eq!(Outcome::of(&response).resends, 1);
            }
        }
        assert_eq!(first.await.unwrap().unwrap().status(), 200);
    }
}

type Cloneable = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

/// How many of four calls are replayed for a token that is over, if tokens live for ten seconds,
/// and a server takes one call at a time and six seconds for it.
async fn replays_of_four<L>(layers: L) -> u32
where
    L: FnOnce(TokenRefreshLayer, Cloneable) -> Cloneable,
{
    let started = now();
    let life = 10 * SECOND;
    let tokens = TokenCache::new(source_fn(move |_| async move {
        let minted = started.elapsed().as_secs().to_string();
        Ok(Grant::new(minted).expires_in(life))
    }));
    let server = service_fn(move |request: Request<Full<Bytes>>| async move {
        let token = request.headers()[header::AUTHORIZATION].to_str()?;
        let minted = Duration::from_secs(token["Bearer ".len()..].parse()?);
        if started.elapsed() >= minted + life {
            return Ok(response(401, &[]));
        }
        sleep(6 * SECOND).await;
        Ok::<_, BoxError>(response(200, &[]))
    });
    let one_at_a_time = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::new(1))
        .service(server)
        .boxed_clone();
    tokens.token().await.unwrap();
    let api = layers(TokenRefreshLayer::new(tokens, origins()), one_at_a_time);
    let calls = (0..4).map(|_| api.clone().oneshot(get("https://api.test/")));
    let answers = join_all(calls).await.into_iter().map(Result::unwrap);
    answers
        .map(|answer| Outcome::of(&answer).token_replays)
        .sum()
}

#[tokio::test(start_paused = true)]
async fn requests_that_queue_in_a_buffer_below_queue_with_the_token_of_before() {
    let right = replays_of_four(|token_refresh, server| {
        let stack = ServiceBuilder::new().buffer(5).layer(token_refresh);
        stack.service(server).boxed_clone()
    });
    assert_eq!(right.await, 0);
    let wrong = replays_of_four(|token_refresh, server| {
        let stack = ServiceBuilder::new().layer(token_refresh).buffer(5);
        stack.service(server).boxed_clone()
    });
    assert!(wrong.await > 0);
    // Permits are waited for before the token is attached.
    let without = replays_of_four(|token_refresh, server| {
        let stack = ServiceBuilder::new().layer(token_refresh);
        stack.service(server).boxed_clone()
    });
    assert_eq!(without.await, 0);
}

#[tokio::test(start_paused = true)]
async fn through_a_buffer_above_and_below_an_error_is_what_it_is() {
    let source = source_fn(|_| async { Err::<Grant, _>(TokenError::rejected("no")) });
    let server = service_fn(|_: Request<Full<Bytes>>| async {
        sleep(60 * SECOND).await;
        Ok::<_, BoxError>(response(200, &[]))
    });
    let above = ServiceBuilder::new()
        .buffer(5)
        .layer(RateLimitRetryLayer::new())
        .layer(TokenRefreshLayer::new(TokenCache::new(source), origins()))
        .service(server);
    let error = above.oneshot(get("https://api.test/")).await.unwrap_err();
    assert!(TokenError::find(&*error).unwrap().is_rejected());

    let count = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&count);
    let below = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .buffer(5)
        .map_request(move |request| {
            sent.fetch_add(1, Ordering::SeqCst);
            request
        })
        .layer(TimeoutLayer::new(SECOND))
        .service(server);
    let error = below.oneshot(get("https://api.test/")).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[allow(clippy::disallowed_methods)] // the one look at the (paused) clock
fn now() -> Instant {
    Instant::now()
}
