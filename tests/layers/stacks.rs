//! Both layers over everything that users stack them on, without a type written out.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body as AxumBody, extract::State, routing};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_outbound::{
    buffer_body::{AboveLimit, BodyTooLarge, BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    origin::Origins,
    rate_limit_retry::{RateLimitRetry, RateLimitRetryLayer},
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply},
    token::TokenCache,
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

use crate::probe::{Probe, get, token_layer, tokens};

/// hyper's client as most people have it.
type HyperClient = Client<HttpConnector, Full<Bytes>>;

async fn cloud() -> (LoopbackCloud, TokenRefreshLayer) {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let http = cloud.client::<Full<Bytes>>();
    let auth = ClientAuth::basic(CLIENT_SECRET);
    let login = TokenEndpoint::new(&cloud.token_url(), CLIENT_ID, auth, http).unwrap();
    let tokens = TokenCache::new(login.grant(ClientCredentials));
    let layer = TokenRefreshLayer::new(tokens, Origins::only([cloud.api_url()]).unwrap());
    (cloud, layer)
}

#[tokio::test]
async fn over_hyper_utils_client_in_a_struct_field() {
    struct Api {
        client: RateLimitRetry<TokenRefresh<HyperClient>>,
    }
    let (cloud, token_refresh) = cloud().await;
    let http: HyperClient = Client::builder(TokioExecutor::new()).build_http();
    let mut api = Api {
        client: ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_refresh)
            .service(http),
    };
    let uri = format!("{}/api/v2/tokens/me", cloud.api_url());
    let request = Request::get(uri).body(Full::default()).unwrap();
    let response = api
        .client
        .ready()
        .await
        .unwrap()
        .call(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn over_a_service_of_ones_own() {
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens()))
        .service(Probe::statuses(&[401, 429]));
    assert_eq!(api.oneshot(get("/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn among_towers_own_layers() {
    let api = ServiceBuilder::new()
        .buffer(16)
        .timeout(Duration::from_secs(60))
        .layer(RateLimitRetryLayer::new())
        .load_shed()
        .concurrency_limit(8)
        .layer(token_layer(&tokens()))
        .buffer(4)
        .concurrency_limit(2)
        .timeout(Duration::from_secs(10))
        .service(Probe::statuses(&[401, 429]));
    assert_eq!(api.oneshot(get("/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn behind_a_boxed_service() {
    let api: BoxCloneSyncService<Request<Bytes>, Response<Full<Bytes>>, BoxError> =
        BoxCloneSyncService::new(
            ServiceBuilder::new()
                .layer(RateLimitRetryLayer::new())
                .layer(token_layer(&tokens()))
                .service(Probe::statuses(&[401, 429])),
        );
    assert_eq!(api.clone().oneshot(get("/")).await.unwrap().status(), 200);

    // And over one.
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .service(api);
    assert_eq!(api.oneshot(get("/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn over_a_tower_test_mock() {
    let (mock, mut handle) =
        tower_test::mock::pair::<Request<&'static str>, Response<Empty<Bytes>>>();
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(TokenRefreshLayer::new(tokens(), Origins::any()))
        .service(mock);
    let call = tokio::spawn(api.oneshot(Request::new("a body that is a string")));
    for status in [401, 429, 200] {
        let (request, respond) = handle.next_request().await.unwrap();
        assert_eq!(*request.body(), "a body that is a string");
        let response = Response::builder()
            .status(status)
            .body(Empty::new())
            .unwrap();
        respond.send_response(response);
    }
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn inside_the_state_of_an_axum_handler() {
    type Upstream = RateLimitRetry<TokenRefresh<HyperClient>>;

    async fn handler(
        State((api, uri)): State<(Upstream, String)>,
    ) -> Result<Response<AxumBody>, StatusCode> {
        let request = Request::get(uri)
            .body(Full::default())
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let response = api
            .oneshot(request)
            .await
            .map_err(|_| StatusCode::BAD_GATEWAY)?;
        Ok(response.map(AxumBody::new))
    }

    let (cloud, token_refresh) = cloud().await;
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_refresh)
        .service(Client::builder(TokioExecutor::new()).build_http());
    let uri = format!("{}/api/v2/tokens/me", cloud.api_url());
    let app = Router::new()
        .route("/", routing::get(handler))
        .with_state((api, uri));
    let response = app.oneshot(Request::new(AxumBody::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn with_any_body_on_top_of_a_buffer() {
    let (cloud, token_refresh) = cloud().await;
    cloud.script(Listener::Api, "PUT /echo", [Reply::unauthorized()]);
    let http: Client<_, BufferedBody> = Client::builder(TokioExecutor::new()).build_http();
    let api = ServiceBuilder::new()
        .layer(
            BufferBodyLayer::new()
                .limit(100)
                .above_limit(AboveLimit::PassOnce),
        )
        .layer(RateLimitRetryLayer::new())
        .layer(token_refresh)
        .layer(BufferErrorBodyLayer::new())
        .service(http);
    // What a server has received, say.
    let uri = format!("{}/echo", cloud.api_url());
    let small = Request::put(&uri).body(AxumBody::from("small")).unwrap();
    assert_eq!(
        api.clone().oneshot(small).await.unwrap().status(),
        StatusCode::OK
    );
    cloud.script(Listener::Api, "PUT /echo", [Reply::unauthorized()]);
    let large = Request::put(&uri)
        .body(AxumBody::from("large".repeat(100)))
        .unwrap();
    let response = api.oneshot(large).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(
        !response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    assert_eq!(cloud.api_calls_to("PUT /echo"), 3);
}

#[tokio::test]
async fn a_body_above_the_limit_is_an_error_that_names_the_limit() {
    let inner = service_fn(|_: Request<BufferedBody>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let api = ServiceBuilder::new()
        .layer(BufferBodyLayer::new().limit(3))
        .service(inner);
    let fits = Request::new(Full::<Bytes>::from("abc"));
    assert!(api.clone().oneshot(fits).await.is_ok());
    let error = api
        .oneshot(Request::new(Full::<Bytes>::from("abcd")))
        .await
        .unwrap_err();
    assert_eq!(BodyTooLarge::find(&*error).unwrap().limit(), 3);
    assert!(error.to_string().contains("3 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_error_body_is_visible_above_and_still_there_for_the_caller() {
    use tower_outbound::buffer_body::ErrorBody;
    let probe = Probe::new(|_, _| {
        let body = Full::from("the reason");
        Ok(Response::builder().status(400).body(body).unwrap())
    });
    let api = ServiceBuilder::new()
        .layer(BufferErrorBodyLayer::new())
        .service(probe);
    let response = api.oneshot(get("/")).await.unwrap();
    let seen = response.extensions().get::<ErrorBody>().unwrap();
    assert_eq!(
        (seen.bytes().as_ref(), seen.is_complete()),
        (&b"the reason"[..], true)
    );
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "the reason"
    );
}

#[tokio::test(start_paused = true)]
async fn of_a_large_error_body_the_start_is_visible_and_all_of_it_is_still_there() {
    use tower_outbound::buffer_body::ErrorBody;
    let body = || {
        let chunks =
            (0..10).map(|n| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(vec![n; 10]))));
        http_body_util::StreamBody::new(futures_util::stream::iter(chunks))
    };
    let inner = service_fn(move |_: Request<Bytes>| async move {
        Ok::<_, BoxError>(Response::builder().status(500).body(body())?)
    });
    let api = ServiceBuilder::new()
        .layer(BufferErrorBodyLayer::new().limit(25))
        .service(inner);
    let response = api.oneshot(get("/")).await.unwrap();
    let seen = response.extensions().get::<ErrorBody>().unwrap();
    assert_eq!((seen.bytes().len(), seen.is_complete()), (30, false));
    let all = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(all, body().collect().await.unwrap().to_bytes());
}
