//! tower-http's layers above and below ours.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderName, Request};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{
    decompression::DecompressionLayer,
    follow_redirect::{FollowRedirectLayer, policy::Limited},
    request_id::{MakeRequestUuid, SetRequestIdLayer},
    trace::{MakeSpan, TraceLayer},
};
use tower_outbound::{
    buffer_body::BufferErrorBodyLayer,
    rate_limit_retry::RateLimitRetryLayer,
    token::{CredentialHeader, Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};
use tracing::Span;

use crate::{
    Api, Server, get, origins,
    our_layers::{discard, mints_for},
    response,
};

/// The tokens that a server elsewhere sees, to which the first one sends everybody.
async fn tokens_elsewhere(redirects_below: bool) -> Vec<Option<String>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server(Arc::new(move |request: &Request<Full<Bytes>>| {
        if request.uri().host() == Some("api.test") {
            return response(307, &[("location", "https://elsewhere.test/")]);
        }
        let key = request.headers().get("x-api-key");
        log.lock()
            .unwrap()
            .push(key.map(|key| key.to_str().unwrap().to_owned()));
        response(200, &[])
    }));
    let header = CredentialHeader::bare(HeaderName::from_static("x-api-key"));
    let tokens = TokenCache::builder()
        .credential_header(header)
        .build(source_fn(|_| async { Ok(Grant::new("secret")) }));
    let token_layer = TokenRefreshLayer::new(tokens, origins());
    // It lets any number of redirects pass, and cares for no credential: as many layers do.
    let redirects = FollowRedirectLayer::<Limited>::with_policy(Limited::default());
    let request = get("https://api.test/");
    let status = if redirects_below {
        let stack = ServiceBuilder::new().layer(token_layer).layer(redirects);
        stack
            .service(server)
            .oneshot(request)
            .await
            .unwrap()
            .status()
    } else {
        let stack = ServiceBuilder::new().layer(redirects).layer(token_layer);
        stack
            .service(server)
            .oneshot(request)
            .await
            .unwrap()
            .status()
    };
    assert_eq!(status, 200);
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn redirects_below_carry_a_token_in_its_own_header_to_wherever_a_server_points() {
    assert_eq!(tokens_elsewhere(true).await, [Some("secret".to_owned())]);
    assert_eq!(tokens_elsewhere(false).await, [None]);
}

/// The ids that a server sees which refuses the first of two requests, and the spans that began.
async fn ids_and_spans<L>(layers: L) -> (Vec<String>, usize)
where
    L: FnOnce(Server, Trace) -> Api,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server(Arc::new(move |request: &Request<Full<Bytes>>| {
        let mut log = log.lock().unwrap();
        log.push(
            request.headers()["x-request-id"]
                .to_str()
                .unwrap()
                .to_owned(),
        );
        let status = if log.len() == 1 { 429 } else { 200 };
        response(status, &[])
    }));
    let spans = Arc::new(AtomicUsize::new(0));
    let trace = Trace(Arc::clone(&spans));
    let response = layers(server, trace).oneshot(get("https://api.test/"));
    assert_eq!(response.await.unwrap().status(), 200);
    let ids = seen.lock().unwrap().clone();
    (ids, spans.load(Ordering::SeqCst))
}

/// Counts the spans of a `TraceLayer`.
#[derive(Clone)]
struct Trace(Arc<AtomicUsize>);

impl<B> MakeSpan<B> for Trace {
    fn make_span(&mut self, _: &Request<B>) -> Span {
        self.0.fetch_add(1, Ordering::SeqCst);
        Span::none()
    }
}

#[tokio::test(start_paused = true)]
async fn ids_and_traces_above_are_a_calls_and_below_an_attempts() {
    let (ids, spans) = ids_and_spans(|server, trace| {
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http().make_span_with(trace))
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(RateLimitRetryLayer::new())
            .service(server)
            .map_response(discard)
            .boxed()
    })
    .await;
    assert_eq!((ids.len(), spans), (2, 1));
    assert_eq!(ids[0], ids[1]);

    let (ids, spans) = ids_and_spans(|server, trace| {
        ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(TraceLayer::new_for_http().make_span_with(trace))
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .service(server)
            .map_response(discard)
            .boxed()
    })
    .await;
    assert_eq!((ids.len(), spans), (2, 2));
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn decompression_above_leaves_a_predicate_to_read_gzip() {
    let answer = || {
        let mut response = response(401, &[("content-encoding", "gzip")]);
        *response.body_mut() = Full::from(IP_NOT_AUTHORIZED);
        response
    };
    let buffer = BufferErrorBodyLayer::new();
    let right = mints_for(answer, |token_refresh, server| {
        let stack = ServiceBuilder::new().layer(token_refresh).layer(buffer);
        let stack = stack.layer(DecompressionLayer::new()).service(server);
        stack.map_response(discard).boxed()
    });
    assert_eq!(right.await, 1);
    let wrong = mints_for(answer, |token_refresh, server| {
        let stack = ServiceBuilder::new().layer(DecompressionLayer::new());
        let stack = stack.layer(token_refresh).layer(buffer).service(server);
        stack.map_response(discard).boxed()
    });
    assert_eq!(wrong.await, 2);
}

/// `{"code":"ip.not.authorized"}`, compressed.
const IP_NOT_AUTHORIZED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\xce\x4f\x49\
    \x55\xb2\x52\xca\x2c\xd0\xcb\xcb\x2f\xd1\x4b\x2c\x2d\xc9\xc8\x2f\xca\xac\x4a\x4d\x51\xaa\x05\x00\
    \x6b\x36\x94\x1e\x1c\x00\x00\x00";
