use std::time::Duration;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tower_outbound::test_util::{Client as OAuthClient, Quota};

use super::*;

#[tokio::test(start_paused = true)]
async fn client_credentials_bring_a_token_and_nothing_else() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let reply = bench.grant("grant_type=client_credentials").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("inin-correlation-id").map(str::len), Some(36));
    let body = reply.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(3));
    assert!(
        body["access_token"]
            .as_str()
            .is_some_and(|token| token.len() >= 43)
    );
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 86_399);
    assert_eq!((bench.cloud.mints(), bench.cloud.token_requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn credentials_may_stand_in_the_form_but_not_in_both_places() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}"
    );
    let request = Request::post(bench.cloud.token_url())
        .header(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=UTF-8",
        )
        .body(Full::from(form.clone()))
        .unwrap();
    assert_eq!(bench.send(request).await.unwrap().status, 200);
    let both = bench.grant(&form).await;
    assert_eq!(
        (both.status.as_u16(), &both.json()["error"]),
        (400, &"invalid_request".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_invalid_client_with_the_description_twice() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    for status in [400, 401] {
        let refused = StatusCode::from_u16(status).unwrap();
        bench
            .cloud
            .configure(|knobs| knobs.invalid_client_status = refused);
        for authorization in [
            basic(CLIENT_ID, "wrong"),
            basic("nobody", "x"),
            "Basic %".into(),
        ] {
            let reply = bench
                .grant_as(&authorization, "grant_type=client_credentials")
                .await;
            assert_eq!(reply.status, refused);
            assert_eq!(
                reply.json(),
                serde_json::json!({
                    "error": "invalid_client",
                    "description": "authentication failed",
                    "error_description": "authentication failed",
                })
            );
        }
    }
    assert_eq!((bench.cloud.mints(), bench.cloud.token_requests()), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn basic_credentials_are_form_encoded_unless_they_are_taken_raw() {
    let (id, secret) = ("a:b c", "100%+é&=");
    let bench = Bench::in_memory(
        LoopbackCloud::builder()
            .client(id, secret)
            .client("raw", "a%41"),
    );
    let encoded = |text: &str| -> String {
        form_urlencoded::byte_serialize(text.as_bytes())
            .collect::<String>()
            .replace('+', "%20")
    };
    let form = "grant_type=client_credentials";
    assert_eq!(
        bench
            .grant_as(&basic(&encoded(id), &encoded(secret)), form)
            .await
            .status,
        200
    );
    assert_eq!(
        bench.grant_as(&basic("raw", "a%41"), form).await.status,
        400
    );
    bench.cloud.configure(|knobs| knobs.raw_basic = true);
    assert_eq!(
        bench.grant_as(&basic("raw", "a%41"), form).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_no_grant_is_told_why() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let json = Request::post(bench.cloud.token_url())
        .header(AUTHORIZATION, basic(CLIENT_ID, CLIENT_SECRET))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(r#"{"grant_type":"client_credentials"}"#))
        .unwrap();
    assert_eq!(
        bench.send(json).await.unwrap().json()["error"],
        "invalid_request"
    );
    for (form, error) in [
        ("scope=x", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=refresh_token", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("grant_type=authorization_code&code=x", "invalid_grant"),
        (
            "grant_type=urn:ietf:params:oauth:grant-type:saml2-bearer&orgName=o",
            "invalid_request",
        ),
    ] {
        let reply = bench.grant(form).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]),
            (400, &error.into()),
            "{form}"
        );
    }
    let elsewhere = format!("{}/oauth/other", bench.cloud.login_url());
    let reply = bench.http.get(elsewhere.parse().unwrap()).await.unwrap();
    assert_eq!(reply.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_held_to_its_grant_types_and_its_lifetime() {
    let client = OAuthClient::new("limited", "s")
        .grant_type("client_credentials")
        .token_lifetime(Duration::from_secs(300));
    let bench = Bench::in_memory(LoopbackCloud::builder().register(client));
    let limited = basic("limited", "s");
    let reply = bench
        .grant_as(&limited, "grant_type=client_credentials")
        .await;
    assert_eq!(reply.json()["expires_in"], 299);
    let reply = bench
        .grant_as(&limited, "grant_type=refresh_token&refresh_token=x")
        .await;
    assert_eq!(reply.json()["error"], "unauthorized_client");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_token_endpoint_says_so_with_400() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.token_quota = Some(Quota::per_minute(1));
    }));
    let form = "grant_type=client_credentials";
    assert_eq!(bench.grant(form).await.status, 200);
    let reply = bench.grant(form).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"], "invalid_request");
    for name in ["description", "error_description"] {
        let body = reply.json();
        assert!(
            body[name]
                .as_str()
                .is_some_and(|text| text.starts_with("rate limit exceeded;"))
        );
    }
    assert_eq!(reply.header("retry-after"), None);

    bench.cloud.configure(|knobs| {
        knobs.throttle_status = StatusCode::TOO_MANY_REQUESTS;
        knobs.throttle_retry_after = true;
    });
    tokio::time::advance(Duration::from_secs(20)).await;
    let reply = bench.grant(form).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (429, Some("40"))
    );
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(bench.grant(form).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_dies_of_age_of_idleness_and_by_revocation() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.token_lifetime = Duration::from_secs(5);
    }));
    let token = bench.token().await;
    tokio::time::advance(Duration::from_millis(4990)).await;
    assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 200);
    tokio::time::advance(Duration::from_millis(10)).await;
    assert_eq!(
        bench.get(&token, "/api/v2/tokens/me").await.code(),
        "bad.credentials"
    );

    bench.cloud.configure(|knobs| {
        knobs.token_lifetime = Duration::from_secs(86_400);
        knobs.idle_timeout = Some(Duration::from_secs(60));
    });
    let token = bench.token().await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 200);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 401);

    let (first, second) = (bench.token().await, bench.token().await);
    assert!(bench.cloud.revoke(&first));
    assert!(!bench.cloud.revoke(&first) && !bench.cloud.revoke("unknown"));
    assert_eq!(bench.cloud.live_tokens(), std::slice::from_ref(&second));
    assert_eq!(bench.get(&first, "/api/v2/tokens/me").await.status, 401);
    assert_eq!(bench.get(&second, "/api/v2/tokens/me").await.status, 200);
    assert_eq!(
        bench
            .call(&second, "DELETE", "/api/v2/tokens/me", &().into())
            .await
            .status,
        200
    );
    assert_eq!(bench.get(&second, "/api/v2/tokens/me").await.status, 401);

    let third = bench.token().await;
    bench.cloud.remove_client(CLIENT_ID);
    assert!(bench.cloud.live_tokens().is_empty());
    assert_eq!(bench.get(&third, "/api/v2/tokens/me").await.status, 401);
    assert_eq!(bench.cloud.issued_tokens().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_may_lag_behind() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.fresh_lag = Duration::from_secs(2);
    }));
    let token = bench.token().await;
    assert_eq!(
        bench.get(&token, "/api/v2/tokens/me").await.code(),
        "bad.credentials"
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn one_live_token_too_many_evicts_the_oldest() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.max_live_tokens_per_client = Some(2);
    }));
    let tokens = [
        bench.token().await,
        bench.token().await,
        bench.token().await,
    ];
    assert_eq!(bench.cloud.live_tokens(), tokens[1..]);
    // A dead token leaves room.
    bench.cloud.revoke(&tokens[2]);
    let last = bench.token().await;
    assert_eq!(bench.cloud.live_tokens(), [tokens[1].clone(), last]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_spent_once_and_may_kill_the_access_token_before_it() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let first = bench.cloud.issue_refresh_token(CLIENT_ID);
    let refresh = |token: String| {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        let bench = &bench;
        async move { bench.grant(&form).await }
    };
    let reply = refresh(first.clone()).await.json();
    let (access, second) = (text(&reply["access_token"]), text(&reply["refresh_token"]));
    assert_ne!(first, second);
    assert_eq!(refresh(first).await.json()["error"], "invalid_grant");

    let reply = refresh(second).await.json();
    assert_eq!(bench.get(&access, "/api/v2/users/me").await.status, 200);
    bench
        .cloud
        .configure(|knobs| knobs.refresh_kills_old_access = true);
    let reply = refresh(text(&reply["refresh_token"])).await.json();
    assert_eq!(bench.get(&access, "/api/v2/users/me").await.status, 401);
    let newest = text(&reply["access_token"]);
    assert_eq!(bench.get(&newest, "/api/v2/users/me").await.status, 200);

    bench.cloud.configure(|knobs| knobs.rotate_refresh = false);
    let kept = text(&reply["refresh_token"]);
    for _ in 0..2 {
        assert_eq!(
            refresh(kept.clone()).await.json()["refresh_token"],
            kept.as_str()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorization_code_works_once_and_for_its_own_verifier() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(b"the verifier"));
    let uri = "http://127.0.0.1/callback";
    let exchange = |code: String, rest: &str| {
        let form = format!("grant_type=authorization_code&code={code}&redirect_uri={uri}{rest}");
        let bench = &bench;
        async move { bench.grant(&form).await }
    };
    let code = bench.cloud.issue_code(CLIENT_ID, uri, None);
    let reply = exchange(code.clone(), "").await.json();
    assert!(reply["refresh_token"].is_string());
    let access = text(&reply["access_token"]);
    assert_eq!(bench.get(&access, "/api/v2/users/me").await.status, 200);
    assert_eq!(exchange(code, "").await.json()["error"], "invalid_grant");

    for (verifier, status) in [("", 400), ("&code_verifier=another", 400)] {
        let code = bench.cloud.issue_code(CLIENT_ID, uri, Some(&challenge));
        assert_eq!(
            exchange(code, verifier).await.status.as_u16(),
            status,
            "{verifier}"
        );
    }
    // A public client proves itself by the verifier alone.
    let code = bench.cloud.issue_code(CLIENT_ID, uri, Some(&challenge));
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={uri}&client_id={CLIENT_ID}\
         &code_verifier=the+verifier"
    );
    let request = Request::post(bench.cloud.token_url())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(form))
        .unwrap();
    assert_eq!(bench.send(request).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_saml_assertion_brings_no_refresh_token() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer\
                &orgName=acme&assertion=PHNhbWw-";
    let reply = bench.grant(form).await.json();
    assert!(reply["access_token"].is_string());
    assert_eq!(reply["refresh_token"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn metadata_names_the_endpoints() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let uri = format!(
        "{}/.well-known/oauth-authorization-server",
        bench.cloud.login_url()
    );
    let reply = bench
        .send(Request::get(uri).body(Full::default()).unwrap())
        .await
        .unwrap()
        .json();
    assert_eq!(reply["issuer"], bench.cloud.login_url());
    assert_eq!(reply["token_endpoint"], bench.cloud.token_url().as_str());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
