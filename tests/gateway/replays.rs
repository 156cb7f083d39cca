//! What a program behind the gateway does not see: dead tokens, limits, lost connections.

use tower_outbound::test_util::{Listener, Reply};

use super::setup::{Setup, failure};

const USER: &str = r#"{"name": "A User", "email": "a@example.com"}"#;

#[tokio::test]
async fn a_token_that_dies_is_not_seen() {
    let gateway = Setup::new(&[]).await;
    assert_eq!(gateway.get("/api/v2/users").await.status(), 200);
    gateway.cloud.revoke_all();
    let request = gateway.request("POST", "/api/v2/users");
    let response = gateway.send_with(request, USER).await;
    assert!(response.status().is_success(), "{response:?}");
    assert_eq!(gateway.cloud.users().len(), 1);
    assert_eq!(gateway.cloud.api_calls_to("POST /api/v2/users"), 2);
    assert_eq!(gateway.cloud.mints(), 2);
}

#[tokio::test]
async fn a_limit_is_waited_for_whatever_the_method() {
    let gateway = Setup::new(&[]).await;
    let refusal = || [Reply::too_many_requests(Some("1"))];
    gateway.cloud.script(Listener::Api, "*", refusal());
    assert_eq!(gateway.get("/api/v2/users").await.status(), 200);
    gateway.cloud.script(Listener::Api, "*", refusal());
    let request = gateway.request("POST", "/api/v2/users");
    let response = gateway.send_with(request, USER).await;
    assert!(response.status().is_success(), "{response:?}");
    assert_eq!(gateway.cloud.users().len(), 1);
    assert_eq!(gateway.cloud.api_calls(), 4);
}

#[tokio::test]
async fn a_cut_get_is_sent_again() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script(Listener::Api, "GET *", [Reply::cut_before_head()]);
    assert_eq!(gateway.get("/api/v2/users").await.status(), 200);
    assert_eq!(gateway.cloud.api_calls(), 2);
}

#[tokio::test]
async fn a_cut_post_fails_once_and_is_not_doubled() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script(Listener::Api, "POST *", [Reply::cut_after_processing()]);
    let request = gateway.request("POST", "/api/v2/users");
    let response = gateway.send_with(request, USER).await;
    assert_eq!(failure(&response), (502, "upstream_lost".to_owned()));
    assert_eq!(gateway.cloud.users().len(), 1);
    assert_eq!(gateway.cloud.api_calls(), 1);
}

#[tokio::test]
async fn a_cut_post_is_sent_again_if_its_program_or_its_key_says_that_it_may_be() {
    for (name, value) in [
        ("outbound-replay-safe", "true"),
        ("idempotency-key", "\"a\""),
    ] {
        let gateway = Setup::new(&[]).await;
        gateway
            .cloud
            .script(Listener::Api, "POST *", [Reply::cut_before_head()]);
        let request = gateway.request("POST", "/api/v2/users").header(name, value);
        let response = gateway.send_with(request, USER).await;
        assert!(response.status().is_success(), "{name}: {response:?}");
        let log = gateway.api_log();
        assert_eq!(log.len(), 2, "{name}");
        for request in log {
            assert_eq!(request.body.as_deref(), Some(USER.as_bytes()));
            let is_passed = request.header(name).is_some();
            assert_eq!(is_passed, name == "idempotency-key", "{name}");
        }
    }
}

#[tokio::test]
async fn a_request_for_which_one_attempt_is_asked_gets_one() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script(Listener::Api, "GET *", [Reply::cut_before_head()]);
    let request = gateway.request("GET", "/api/v2/users");
    let response = gateway
        .send(request.header("outbound-no-retry", "true"))
        .await;
    assert_eq!(failure(&response), (502, "upstream_lost".to_owned()));
    assert_eq!(gateway.cloud.api_calls(), 1);
}
