//! The layers of this crate among each other.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    buffer_body::{BufferErrorBodyLayer, ErrorBody},
    rate_limit_retry::RateLimitRetryLayer,
    token::{ExpiryPolicy, Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::{Api, SECOND, Server, get, origins, response};

/// Tokens that live for ten seconds, `1`, `2`…
fn short_lived() -> TokenCache {
    let count = AtomicUsize::new(0);
    let source = source_fn(move |_| {
        let count = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(Grant::new(count.to_string()).expires_in(10 * SECOND)) }
    });
    TokenCache::builder()
        .expiry(ExpiryPolicy::default())
        .build(source)
}

/// What a server sees that refuses the first request for a minute, and tokens that are not
/// `newest`.
async fn seen_after_a_long_wait<L>(layers: L) -> Vec<String>
where
    L: FnOnce(Server) -> Api,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server(Arc::new(move |request: &Request<Full<Bytes>>| {
        let token = request.headers()[header::AUTHORIZATION]
            .to_str()
            .unwrap()
            .to_owned();
        let mut log = log.lock().unwrap();
        log.push(token.clone());
        match (log.len(), token.as_str()) {
            (1, _) => response(429, &[("retry-after", "60")]),
            (_, "Bearer 1") => response(401, &[]),
            _ => response(200, &[]),
        }
    }));
    let response = layers(server)
        .oneshot(get("https://api.test/"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn a_token_layer_above_sends_the_token_of_before_the_wait() {
    let right = seen_after_a_long_wait(|server| {
        ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(TokenRefreshLayer::new(short_lived(), origins()))
            .service(server)
            .boxed()
    });
    assert_eq!(right.await, ["Bearer 1", "Bearer 2"]);
    let wrong = seen_after_a_long_wait(|server| {
        ServiceBuilder::new()
            .layer(TokenRefreshLayer::new(short_lived(), origins()))
            .layer(RateLimitRetryLayer::new())
            .service(server)
            .boxed()
    });
    assert_eq!(wrong.await, ["Bearer 1", "Bearer 1", "Bearer 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_reads_bodies_sees_none_if_they_are_buffered_above_it() {
    let answer = || {
        let mut response = response(401, &[]);
        *response.body_mut() = Full::from(r#"{"code":"ip.not.authorized"}"#);
        response
    };
    let buffer = BufferErrorBodyLayer::new();
    let right = mints_for(answer, |token_refresh, server| {
        let stack = ServiceBuilder::new().layer(token_refresh).layer(buffer);
        stack.service(server).map_response(discard).boxed()
    });
    assert_eq!(right.await, 1);
    let wrong = mints_for(answer, |token_refresh, server| {
        let stack = ServiceBuilder::new().layer(buffer).layer(token_refresh);
        stack.service(server).map_response(discard).boxed()
    });
    assert_eq!(wrong.await, 2);
}

/// How many tokens are got for a call that a server answers so, through a token layer that knows
/// that no token helps against `ip.not.authorized`.
pub(crate) async fn mints_for<L>(answer: fn() -> Response<Full<Bytes>>, layers: L) -> usize
where
    L: FnOnce(TokenRefreshLayer, Server) -> Api,
{
    let minted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&minted);
    let tokens = TokenCache::new(source_fn(move |_| {
        let count = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Grant::new(count.to_string())) }
    }));
    let token_refresh = TokenRefreshLayer::new(tokens, origins()).refused_when(|parts| {
        let code = b"ip.not.authorized";
        let is_about_the_address = parts.extensions.get::<ErrorBody>().is_some_and(|body| {
            let mut texts = body.bytes().windows(code.len());
            texts.any(|text| text == code)
        });
        parts.status == 401 && !is_about_the_address
    });
    let server = Server(Arc::new(move |_| answer()));
    let api = layers(token_refresh, server);
    let response = api.oneshot(get("https://api.test/")).await.unwrap();
    assert_eq!(response.status(), 401);
    minted.load(Ordering::SeqCst)
}

/// For stacks that change the type of a body that the test does not look at.
pub(crate) fn discard<B>(response: Response<B>) -> Response<Full<Bytes>> {
    response.map(|_| Full::default())
}

#[tokio::test(start_paused = true)]
async fn of_two_retrying_layers_the_outer_one_knows_that_the_inner_one_has_given_up() {
    let count = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&count);
    let server = Server(Arc::new(move |_: &Request<Full<Bytes>>| {
        sent.fetch_add(1, Ordering::SeqCst);
        response(503, &[])
    }));
    let twice = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(RateLimitRetryLayer::new())
        .service(server);
    twice.oneshot(get("https://api.test/")).await.unwrap();
    assert_eq!(
        count.load(Ordering::SeqCst),
        4,
        "the first time, and three retries"
    );
}
