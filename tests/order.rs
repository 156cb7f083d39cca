//! The orders of layers that `guide::order` shows: the right one at work, and what each wrong one does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn,
    timeout::TimeoutLayer,
};
use tower_http::{
    decompression::DecompressionLayer,
    follow_redirect::{FollowRedirectLayer, policy::Limited},
    request_id::{MakeRequestUuid, SetRequestIdLayer},
    trace::TraceLayer,
};
use tower_outbound::{
    buffer_body::{BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    mark::{Deadline, ResendCount},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    origin::Origins,
    outcome::{Outcome, Stopped},
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackConnector, Reply},
    token::{CredentialHeader, ExpiryPolicy, Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

const SECOND: Duration = Duration::from_secs(1);

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

fn response(status: u16, headers: &[(&'static str, &str)]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

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

fn origins() -> Origins {
    Origins::only(["https://api.test"]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_right_order_works_with_all_that_may_be_in_it() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let http: Client<LoopbackConnector, BufferedBody> = cloud.client();
    let login = TokenEndpoint::new(
        &cloud.token_url(),
        CLIENT_ID,
        ClientAuth::basic(CLIENT_SECRET),
        cloud.client::<Full<Bytes>>(),
    );
    let tokens = TokenCache::new(login.unwrap().grant(ClientCredentials));
    let api = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(FollowRedirectLayer::new())
        .layer(BufferBodyLayer::new())
        .layer(RateLimitRetryLayer::new())
        .layer(TokenRefreshLayer::new(
            tokens.clone(),
            Origins::only([cloud.api_url()]).unwrap(),
        ))
        .layer(BufferErrorBodyLayer::new())
        .layer(DecompressionLayer::new())
        .timeout(30 * SECOND)
        .concurrency_limit(64)
        .service(http);

    tokens.token().await.unwrap();
    cloud.revoke_all();
    tokio::time::sleep(2 * SECOND).await;
    let moved = Reply::status(307).header("location", "/api/v2/users?pageSize=1");
    let replies = [Reply::too_many_requests(Some("60")), Reply::pass(), moved];
    cloud.script(Listener::Api, "GET /api/v2/users", replies);
    let url = format!("{}/api/v2/users", cloud.api_url());
    let response = api.oneshot(get(&url)).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"));

    let log = cloud.log();
    let calls: Vec<_> = log
        .iter()
        .filter(|call| call.listener == Listener::Api)
        .collect();
    let statuses: Vec<_> = calls.iter().map(|call| call.status.unwrap()).collect();
    assert_eq!(statuses, [429, 401, 307, 200]);
    let ids: Vec<_> = calls
        .iter()
        .map(|call| call.header("x-request-id").unwrap())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "one id for all attempts: {ids:?}"
    );
}

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
    assert!(error.is::<tower::timeout::error::Elapsed>());

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

/// What a server sees that refuses the first request for a minute, and tokens that are not `newest`.
async fn seen_after_a_long_wait<L>(layers: L) -> Vec<String>
where
    L: FnOnce(Server) -> Api,
{
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
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

type Api = tower::util::BoxService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

#[derive(Clone)]
struct Server(Arc<Answer>);

type Answer = dyn Fn(&Request<Full<Bytes>>) -> Response<Full<Bytes>> + Send + Sync;

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Full<Bytes>>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        std::future::ready(Ok((self.0)(&request)))
    }
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

/// The tokens that a server elsewhere sees, to which the first one sends everybody.
async fn tokens_elsewhere(redirects_below: bool) -> Vec<Option<String>> {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
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
        tokio::time::sleep(SECOND).await;
        let other = api.oneshot(get("https://other.test/"));
        let other = tokio::time::timeout(SECOND, other).await;
        assert_eq!(other.is_err(), permits_above);
        assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_reads_bodies_sees_none_if_they_are_buffered_above_it() {
    for buffered_above in [true, false] {
        let minted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&minted);
        let tokens = TokenCache::new(source_fn(move |_| {
            let count = count.fetch_add(1, Ordering::SeqCst);
            async move { Ok(Grant::new(count.to_string())) }
        }));
        let server = Server(Arc::new(|_: &Request<Full<Bytes>>| {
            let mut response = response(401, &[]);
            *response.body_mut() = Full::from(r#"{"code":"ip.not.authorized"}"#);
            response
        }));
        let token_layer = TokenRefreshLayer::new(tokens, origins()).refused_when(|parts| {
            let body = parts
                .extensions
                .get::<tower_outbound::buffer_body::ErrorBody>();
            let is_about_the_address = body.is_some_and(|body| {
                body.bytes()
                    .windows(17)
                    .any(|text| text == b"ip.not.authorized")
            });
            parts.status == 401 && !is_about_the_address
        });
        let buffer = BufferErrorBodyLayer::new();
        let request = get("https://api.test/");
        let status = if buffered_above {
            let stack = ServiceBuilder::new().layer(buffer).layer(token_layer);
            stack
                .service(server)
                .oneshot(request)
                .await
                .unwrap()
                .status()
        } else {
            let stack = ServiceBuilder::new().layer(token_layer).layer(buffer);
            stack
                .service(server)
                .oneshot(request)
                .await
                .unwrap()
                .status()
        };
        assert_eq!(status, 401);
        assert_eq!(
            minted.load(Ordering::SeqCst),
            1 + usize::from(buffered_above)
        );
    }
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
