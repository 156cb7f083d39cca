//! The token stays with the server that it is for.

use bytes::Bytes;
use http::{HeaderName, Response, header};
use serde_json::{Value, json};
use tower::ServiceBuilder;
use tower_outbound::{
    origin::Origins,
    test_util::{Listener, LoggedRequest, LoopbackCloud, Reply},
    token::{CredentialHeader, Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::stack::{Stack, api_log, send, with_body};

const USERS: &str = "/api/v2/users";

/// A warm stack, and another cloud that its client can reach and its token must not.
async fn two_clouds() -> (Stack, LoopbackCloud) {
    let ours = Stack::on_sockets(LoopbackCloud::builder()).await;
    let other = LoopbackCloud::builder().start();
    let other = other.await.expect("ports are free");
    (ours.warmed_up().await, other)
}

// S21
#[tokio::test]
async fn a_redirect_that_is_followed_above_does_not_take_the_token_along() {
    let (stack, other) = two_clouds().await;
    let elsewhere = format!("{}{USERS}", other.api_url());
    let redirect = Reply::status(307).header("location", &elsewhere);
    stack.cloud.script(Listener::Api, "GET *", [redirect]);

    let answer = following_redirects(&stack, USERS).await;

    assert_eq!(answer.status(), 401);
    let there = api_log(&other);
    assert_eq!((there.len(), there[0].path()), (1, USERS));
    assert_no_token_in(&there[0], &stack.cloud);
    // Nor is a refusal by a stranger a reason to renew.
    assert_eq!(
        (stack.cloud.api_calls(), stack.cloud.token_requests()),
        (1, 0)
    );
}

// S21
#[tokio::test]
async fn a_redirect_to_the_same_server_is_followed_with_the_token() {
    let (stack, other) = two_clouds().await;
    let redirect =
        Reply::status(307).header("location", format!("{}{USERS}", stack.cloud.api_url()));
    stack.cloud.script(Listener::Api, "GET *", [redirect]);
    assert_eq!(following_redirects(&stack, "/moved").await.status(), 200);
    assert_eq!((stack.cloud.api_calls(), other.api_calls()), (2, 0));
}

// S21
#[tokio::test]
async fn a_next_link_to_another_server_is_followed_without_the_token() {
    let (stack, other) = two_clouds().await;
    let next = format!("{}{USERS}?pageNumber=2", other.api_url());
    let page = Reply::json(200, json!({"entities": [], "nextUri": next}));
    stack.cloud.script(Listener::Api, "GET *", [page]);

    let page = stack.get(USERS).await;
    let page: Value = serde_json::from_slice(page.body()).unwrap();
    let next = http::Request::get(page["nextUri"].as_str().unwrap());
    let answer = stack.send(next).await;

    assert_eq!(answer.status(), 401);
    let there = api_log(&other);
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].target, format!("{USERS}?pageNumber=2"));
    assert_no_token_in(&there[0], &stack.cloud);
    assert_eq!(
        (stack.cloud.api_calls(), stack.cloud.token_requests()),
        (1, 0)
    );
}

// S21
#[tokio::test]
async fn a_credential_header_of_another_name_stays_with_its_server_too() {
    let open = || LoopbackCloud::builder().configure(|knobs| knobs.require_token = false);
    let ours = open().start().await.unwrap();
    let other = open().start().await.unwrap();
    let name = HeaderName::from_static("x-shopify-access-token");
    let tokens = TokenCache::builder()
        .credential_header(CredentialHeader::bare(name.clone()))
        .build(source_fn(|_| async { Ok(Grant::new("a-secret")) }));
    let origins = Origins::only([ours.api_url()]).unwrap();
    let api = ServiceBuilder::new()
        .layer(TokenRefreshLayer::new(tokens, origins))
        .service(ours.client());

    for cloud in [&ours, &other] {
        let request = http::Request::get(format!("{}{USERS}", cloud.api_url()));
        let answer = send(api.clone(), with_body(request, "")).await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    let (here, there) = (api_log(&ours), api_log(&other));
    assert_eq!((here.len(), there.len()), (1, 1));
    assert_eq!(here[0].header(name.as_str()), Some("a-secret"));
    assert_eq!(here[0].header("authorization"), None);
    assert!(
        there[0]
            .headers
            .iter()
            .all(|(given, value)| *given != name && value != "a-secret")
    );
}

/// What a redirect-following layer above ours does: it sends the caller's request again, to where
/// the server points.
async fn following_redirects(stack: &Stack, target: &str) -> Response<Bytes> {
    let mut uri = format!("{}{target}", stack.cloud.api_url());
    loop {
        let answer = stack.send(http::Request::get(uri)).await;
        match answer.headers().get(header::LOCATION) {
            Some(location) => uri = location.to_str().expect("a URI").to_owned(),
            None => return answer,
        }
    }
}

#[track_caller]
fn assert_no_token_in(request: &LoggedRequest, cloud: &LoopbackCloud) {
    assert_eq!(request.header("authorization"), None);
    for token in cloud.issued_tokens() {
        let mut values = request.headers.iter().map(|(_, value)| value.as_bytes());
        assert!(!values.any(|value| {
            value
                .windows(token.len())
                .any(|part| part == token.as_bytes())
        }));
        assert!(!request.target.contains(&token));
    }
}
