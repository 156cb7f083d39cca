//! What a program is told when there is no answer of the upstream.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Response;
use tokio::net::TcpListener;
use tower_outbound::test_util::{CLIENT_ID, CLIENT_SECRET, Listener, Reply};

use super::setup::{Setup, cloud, failure};

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_a_502_and_nothing_was_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let gateway = Setup::before(cloud().await, &origin, &[]).await;
    let request = gateway
        .request("POST", "/x")
        .header("outbound-no-retry", "true");
    let response = gateway.send(request).await;
    assert_eq!(failure(&response), (502, "upstream_unreachable".to_owned()));
    holds_no_secret(&response, &gateway);
}

#[tokio::test]
async fn wrong_credentials_are_a_502_that_does_not_tell_them() {
    let cloud = cloud().await;
    let secret = "a-secret-that-is-wrong";
    let (upstream, token_url) = (cloud.api_url().to_owned(), cloud.token_url());
    let options = ["--upstream", &upstream, "--token-url", &token_url];
    let gateway = Setup::with_secret(cloud, secret, &options).await;
    let response = gateway.get("/api/v2/users").await;
    assert_eq!(failure(&response), (502, "token_rejected".to_owned()));
    let body = String::from_utf8_lossy(response.body());
    assert!(
        body.contains("invalid_client"),
        "it says what is wrong: {body}"
    );
    let basic = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{secret}"));
    assert!(!body.contains(secret) && !body.contains(&basic), "{body}");
    assert_eq!(gateway.cloud.api_calls(), 0);
}

#[tokio::test]
async fn a_token_endpoint_that_cools_down_is_a_503_that_says_when_to_come_back() {
    let gateway = Setup::new(&[]).await;
    assert_eq!(gateway.get("/api/v2/users").await.status(), 200);
    gateway
        .cloud
        .script_forever(Listener::Login, "*", Reply::too_many_requests(Some("60")));
    gateway.cloud.revoke_all();
    // The one that was refused, and the next, which is not even sent.
    for calls in [2, 2] {
        let response = gateway.get("/api/v2/users").await;
        assert_eq!(failure(&response), (503, "token_unavailable".to_owned()));
        assert!(seconds(&response) > 0);
        assert_eq!(gateway.cloud.api_calls(), calls);
        holds_no_secret(&response, &gateway);
    }
}

#[tokio::test]
async fn a_spent_quota_is_the_upstreams_429_and_then_a_503_of_the_gateway() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script(Listener::Api, "*", [Reply::daily_limit()]);
    let response = gateway.get("/api/v2/users").await;
    assert_eq!(response.status(), 429);
    assert_eq!(seconds(&response), 30_000);
    assert!(!response.headers().contains_key("outbound-error"));
    let response = gateway.get("/api/v2/users").await;
    assert_eq!(failure(&response), (503, "rate_limited".to_owned()));
    assert!((20_000..=30_001).contains(&seconds(&response)));
    assert_eq!(gateway.cloud.api_calls(), 1);
    holds_no_secret(&response, &gateway);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let gateway = Setup::new(&["--timeout", "0.2"]).await;
    gateway
        .cloud
        .script_forever(Listener::Api, "*", Reply::hang());
    let response = gateway.send(gateway.request("POST", "/api/v2/users")).await;
    assert_eq!(failure(&response), (504, "upstream_timeout".to_owned()));
    assert_eq!(gateway.cloud.api_calls(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_the_time_that_the_program_gives_is_a_504() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script_forever(Listener::Api, "*", Reply::hang());
    let request = gateway.request("GET", "/api/v2/users");
    let response = gateway
        .send(request.header("outbound-timeout", "0.2"))
        .await;
    assert_eq!(failure(&response), (504, "deadline".to_owned()));
    assert_eq!(gateway.cloud.api_calls(), 1);
}

#[tokio::test]
async fn a_header_for_the_gateway_that_it_does_not_understand_is_told_and_nothing_sent() {
    let gateway = Setup::new(&[]).await;
    for (name, value) in [
        ("outbound-timeout", "soon"),
        ("outbound-timeout", "-1"),
        ("outbound-timeout", "0"),
        ("outbound-timeout", "NaN"),
        ("outbound-replay-safe", "yes"),
        ("outbound-no-retry", ""),
        ("outbound-priority", "200"),
        ("outbound-replaysafe", "true"),
    ] {
        let request = gateway.request("GET", "/api/v2/users").header(name, value);
        let response = gateway.send(request).await;
        assert_eq!(
            failure(&response),
            (400, "bad_request".to_owned()),
            "{name}: {value}"
        );
        let body = String::from_utf8_lossy(response.body());
        assert!(body.contains(name), "{body}");
    }
    assert_eq!(gateway.cloud.log().len(), 0);
}

fn seconds(response: &Response<Bytes>) -> u64 {
    let after = response.headers()["retry-after"].to_str().unwrap();
    after.parse().unwrap()
}

fn holds_no_secret(response: &Response<Bytes>, gateway: &Setup) {
    let told = format!(
        "{:?}{}",
        response.headers(),
        String::from_utf8_lossy(response.body())
    );
    for secret in gateway.cloud.issued_tokens().iter().map(String::as_str) {
        assert!(!told.contains(secret), "{told}");
    }
    let basic = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
    assert!(
        !told.contains(CLIENT_SECRET) && !told.contains(&basic),
        "{told}"
    );
}
