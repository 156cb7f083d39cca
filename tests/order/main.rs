//! The orders of layers that `guide::order` shows: the right one at work, and what each wrong one
//! does.

mod our_layers;
mod tower_http_layers;
mod tower_layers;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_http::{
    decompression::DecompressionLayer,
    follow_redirect::FollowRedirectLayer,
    request_id::{MakeRequestUuid, SetRequestIdLayer},
    trace::TraceLayer,
};
use tower_outbound::{
    buffer_body::{BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    origin::Origins,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackConnector, Reply},
    token::TokenCache,
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

fn origins() -> Origins {
    Origins::only(["https://api.test"]).unwrap()
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
