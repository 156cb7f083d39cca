//! reqwest with the layers, over sockets.

use std::{convert::Infallible, time::Duration};

use adapters::reqwest_client::{Api, SendThrough, http_service};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::StreamBody;
use reqwest::{Body, Client, redirect::Policy};
use serde_json::{Value, json};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    backoff::Backoff,
    buffer_body::{BufferBodyLayer, BufferedBody},
    mark::ReplaySafe,
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoggedRequest, LoopbackCloud, Reply},
    token::{TokenCache, TokenError},
};

/// A client that follows no redirects.
fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().redirect(Policy::none());
    builder.build().expect("nothing that could fail is set")
}

fn api(cloud: &LoopbackCloud, client: &Client) -> Api {
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).expect("it is on loopback");
    let http = http_service(client.clone());
    let endpoint = genesys.token_endpoint(CLIENT_ID, ClientAuth::body(CLIENT_SECRET), http.clone());
    let tokens = TokenCache::new(
        endpoint
            .expect("it is on loopback")
            .grant(ClientCredentials),
    );
    Api::new(
        ServiceBuilder::new()
            .layer(BufferBodyLayer::new())
            .layer(quick_retries())
            .layer(genesys.token_refresh(tokens))
            .map_request(|request: Request<BufferedBody>| request.map(Body::wrap))
            .service(http),
    )
}

/// Waits that no server has asked for are as short as they go, for time is real here.
fn quick_retries() -> RateLimitRetryLayer {
    let shortest = || Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    RateLimitRetryLayer::new()
        .backoff(shortest())
        .refused_backoff(shortest())
}

fn calls(cloud: &LoopbackCloud) -> Vec<LoggedRequest> {
    let log = cloud.log().into_iter();
    log.filter(|call| call.listener == Listener::Api).collect()
}

fn statuses(cloud: &LoopbackCloud) -> Vec<Option<u16>> {
    calls(cloud).iter().map(|call| call.status).collect()
}

#[tokio::test]
async fn what_the_builder_wrote_is_sent_word_for_word_on_every_attempt() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let (client, url) = (client(), format!("{}/echo", cloud.api_url()));
    let replies = [Reply::too_many_requests(None), Reply::unauthorized()];
    cloud.script(Listener::Api, "PUT /echo", replies);
    let request = client
        .put(&url)
        .query(&[("a b", "ä&"), ("c", "1")])
        .header("x-first", "1")
        .json(&json!({"name": "Ada"}));
    let response = request.send_through(&api(&cloud, &client)).await.unwrap();
    assert_eq!(response.url().path(), "/echo");
    let echo: Value = response.error_for_status().unwrap().json().await.unwrap();
    assert_eq!(echo["method"], "PUT");
    assert_eq!(echo["uri"], "/echo?a+b=%C3%A4%26&c=1");

    assert_eq!(statuses(&cloud), [Some(429), Some(401), Some(200)]);
    let attempts = calls(&cloud);
    for attempt in &attempts {
        assert_eq!(attempt.body.as_deref(), Some(&br#"{"name":"Ada"}"#[..]));
        assert_eq!(attempt.header("content-type"), Some("application/json"));
        assert_eq!(attempt.header("content-length"), Some("14"));
        assert_eq!(attempt.header("x-first"), Some("1"));
        assert_eq!(attempt.target, attempts[0].target);
    }
    let tokens: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.header("authorization").unwrap())
        .collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[1], tokens[2]);
}

#[tokio::test]
async fn a_get_has_neither_body_nor_length() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let (client, url) = (client(), format!("{}/api/v2/users", cloud.api_url()));
    let api = api(&cloud, &client);
    let response = client.get(&url).send_through(&api).await.unwrap();
    assert_eq!(response.status(), 200);
    let call = &calls(&cloud)[0];
    assert_eq!(call.body_len, 0);
    assert_eq!(call.header("content-length"), None);
    assert_eq!(call.header("transfer-encoding"), None);
}

#[tokio::test]
async fn a_body_that_streams_is_sent_again_as_it_was() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let client = client();
    let refusal = Reply::unauthorized();
    cloud.script(Listener::Api, "PUT /echo", [refusal]);
    let pieces = ["one ", "two ", "three"].map(|piece| {
        let piece = http_body::Frame::data(Bytes::from(piece));
        Ok::<_, Infallible>(piece)
    });
    let request = client
        .put(format!("{}/echo", cloud.api_url()))
        .body(Body::wrap(StreamBody::new(stream::iter(pieces))));
    let response = request.send_through(&api(&cloud, &client)).await.unwrap();
    assert_eq!(response.status(), 200);
    let bodies: Vec<_> = calls(&cloud).into_iter().map(|call| call.body).collect();
    assert_eq!(
        bodies,
        [
            Some(Bytes::from("one two three")),
            Some(Bytes::from("one two three"))
        ]
    );
}

#[tokio::test]
async fn a_post_that_found_no_connection_is_tried_again() {
    // Bound, so that nobody else gets it, but nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    assert_eq!(tries(&url).await, 4);
}

#[tokio::test]
async fn a_post_whose_connection_was_cut_is_not() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    cloud.script_forever(Listener::Api, "*", Reply::cut_before_head());
    assert_eq!(tries(&format!("{}/x", cloud.api_url())).await, 1);
    assert_eq!(cloud.api_calls(), 1);
}

/// How often a POST to this URL is tried, which never succeeds.
async fn tries(url: &str) -> usize {
    let (counted, mut count) = tokio::sync::mpsc::unbounded_channel();
    let client = client();
    let api = Api::new(
        ServiceBuilder::new()
            .layer(BufferBodyLayer::new())
            .layer(quick_retries())
            .map_request(move |request: Request<BufferedBody>| {
                let _ = counted.send(());
                request.map(Body::wrap)
            })
            .service(http_service(client.clone())),
    );
    let error = client.post(url).body("{}").send_through(&api).await;
    let error = error.expect_err("nobody answers");
    assert!(error.is::<reqwest::Error>(), "{error:?}");
    drop(api);
    let mut tries = 0;
    while count.recv().await.is_some() {
        tries += 1;
    }
    tries
}

#[tokio::test]
async fn a_timeout_of_the_builder_is_for_one_attempt() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let client = client();
    cloud.script(Listener::Api, "GET /api/v2/users", [Reply::hang()]);
    let request = client.get(format!("{}/api/v2/users", cloud.api_url()));
    let request = request.timeout(Duration::from_millis(300));
    let response = request.send_through(&api(&cloud, &client)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(cloud.api_calls(), 2);
}

#[tokio::test]
async fn a_mark_is_set_on_the_request_that_the_builder_makes() -> Result<(), BoxError> {
    let cloud = LoopbackCloud::builder().start().await?;
    let client = client();
    let api = api(&cloud, &client);
    let path = "/api/v2/analytics/conversations/details/query";
    for (is_marked, statuses_seen) in [(false, vec![Some(504)]), (true, vec![Some(504), Some(200)])]
    {
        cloud.clear_log();
        let lost = Reply::request_timeout();
        cloud.script(Listener::Api, &format!("POST {path}"), [lost]);
        let query = client
            .post(format!("{}{path}", cloud.api_url()))
            .json(&json!({}));
        let mut request: Request<Body> = query.build()?.try_into()?;
        if is_marked {
            request.extensions_mut().insert(ReplaySafe);
        }
        api.clone().oneshot(request).await?;
        assert_eq!(statuses(&cloud), statuses_seen);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_request_is_not_sent_on_to_where_a_redirect_points() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let client = client();
    for status in [302, 307] {
        cloud.clear_log();
        let elsewhere = format!("{}/echo", cloud.api_url());
        let redirect = Reply::status(status).header("location", elsewhere);
        cloud.script(Listener::Login, "POST /oauth/token", [redirect]);
        let request = client.get(format!("{}/api/v2/users", cloud.api_url()));
        let error = request.send_through(&api(&cloud, &client)).await;
        let error = error.expect_err("there is no token");
        let error = TokenError::find(&*error).expect("it says so");
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!((cloud.token_requests(), cloud.api_calls()), (1, 0));
    }
}
