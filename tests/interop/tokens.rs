//! Tokens that are for one API, that are revoked, and that a server forgets.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials, TokenTypeHint},
    token::TokenCache,
};

use super::{
    calls::{api, get, granted, http},
    oidc_provider::{OidcProvider, client},
};

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn each_of_two_resources_has_tokens_of_its_own() {
    let server = OidcProvider::of([program()]);
    let endpoint = server.endpoint("program", ClientAuth::none()).await;
    let of = |resource: &str, scope: &str| {
        let request = endpoint
            .grant(ClientCredentials)
            .resource(resource)
            .scope(scope);
        TokenCache::new(request.require_scope(scope))
    };
    let (users, orders) = (
        of("https://users.example.com", "users:read"),
        of("https://orders.example.com", "orders:read"),
    );
    for (tokens, path, other_path, audience, scope) in [
        (
            &users,
            "/users",
            "/orders",
            "https://users.example.com",
            "users:read",
        ),
        (
            &orders,
            "/orders",
            "/users",
            "https://orders.example.com",
            "orders:read",
        ),
    ] {
        let api = api(tokens.clone(), server.api());
        let said = granted(get(api.clone(), &format!("{}{path}", server.api())).await);
        assert_eq!(said["aud"], audience);
        assert_eq!(said["scope"], scope);
        let elsewhere = get(api, &format!("{}{other_path}", server.api()))
            .await
            .unwrap();
        assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);
    }

    let nowhere = endpoint
        .grant(ClientCredentials)
        .resource("https://nowhere.example.com");
    let error = TokenCache::new(nowhere).token().await.unwrap_err();
    assert_eq!(error.oauth_error(), Some("invalid_target"), "{error}");
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_token_that_was_revoked_is_refused_and_another_one_got() {
    let server = OidcProvider::of([program()]);
    let endpoint = server.endpoint("program", ClientAuth::none()).await;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let token = tokens.token().await.unwrap();
    let hint = TokenTypeHint::AccessToken;
    endpoint.revoke(token.secret(), hint).await.unwrap();
    endpoint
        .revoke(token.secret(), hint)
        .await
        .expect("what is unknown is revoked");

    let url = format!("{}/", server.api());
    granted(get(api(tokens, server.api()), &url).await);
    assert_eq!(answers(&server).await, [401, 200]);
    // Nor does it become good again.
    let header = token.header_value().clone();
    let again = http::Request::get(&url).header(http::header::AUTHORIZATION, header);
    let response = http()
        .request(again.body(Default::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_server_that_forgets_all_tokens_is_noticed_by_nobody() {
    let server = OidcProvider::of([program()]);
    let endpoint = server.endpoint("program", ClientAuth::none()).await;
    let api = api(
        TokenCache::new(endpoint.grant(ClientCredentials)),
        server.api(),
    );
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (api, url) = (api.clone(), format!("{}/", server.api()));
        callers.spawn(async move {
            for _ in 0..20 {
                granted(get(api.clone(), &url).await);
                sleep(Duration::from_millis(fastrand::u64(..100))).await;
            }
        });
    }
    sleep(Duration::from_millis(500)).await;
    server.restart().await;
    callers.join_all().await;

    let answers = answers(&server).await;
    let of = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(of(200), 50 * 20);
    assert!((1..=50).contains(&of(401)), "{}", of(401));
}

/// What the API answered, in its order.
async fn answers(server: &OidcProvider) -> Vec<u16> {
    let log = server.log().await;
    let api = log.iter().filter(|entry| entry.route == "api");
    api.map(|entry| entry.status.as_u16()).collect()
}

fn program() -> Value {
    client("program", "none", json!({}))
}
