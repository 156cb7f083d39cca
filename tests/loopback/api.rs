use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tower_outbound::test_util::{Client as OAuthClient, Quota, Scope};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_without_a_token_and_one_with_an_unknown_one_differ_in_their_code() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let uri = format!("{}/api/v2/users", bench.cloud.api_url());
    let none = bench
        .send(Request::get(uri).body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (none.status.as_u16(), none.code().as_str()),
        (401, "authentication.required")
    );
    let unknown = bench.get("unknown", "/api/v2/users").await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.code().as_str()),
        (401, "bad.credentials")
    );
    assert_eq!(unknown.header("www-authenticate"), None);
    assert_eq!(
        unknown.json()["contextId"],
        unknown.header("inin-correlation-id").unwrap()
    );
    let body = unknown.json();
    let fields: Vec<_> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        fields,
        [
            "code",
            "contextId",
            "details",
            "errors",
            "message",
            "status"
        ]
    );
    for (name, value) in [
        (
            "strict-transport-security",
            "max-age=600; includeSubDomains",
        ),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(unknown.header(name), Some(value));
    }
    assert!(httpdate::parse_http_date(unknown.header("date").unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_scheme_is_read_in_any_case_and_a_token_request_to_the_api_host_is_not_found() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let request = Request::get(format!("{}/api/v2/users", bench.cloud.api_url()))
        .header(AUTHORIZATION, format!("bEARER {token}"))
        .body(Full::default())
        .unwrap();
    assert_eq!(bench.send(request).await.unwrap().status, 200);
    let reply = bench.call("x", "POST", "/oauth/token", &json!({})).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (404, "not.found")
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_403_and_costs_no_quota() {
    let client = OAuthClient::new("reader", "s").deny("POST /api/v2/users", "directory:user:add");
    let quota = Some(Quota::per_minute(1));
    let builder = LoopbackCloud::builder().register(client);
    let bench = Bench::in_memory(builder.configure(|knobs| knobs.quota = quota));
    let reply = bench
        .grant_as(&basic("reader", "s"), "grant_type=client_credentials")
        .await;
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    let reply = bench
        .call(&token, "POST", "/api/v2/users", &json!({}))
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (403, "missing.any.permissions")
    );
    assert_eq!(
        reply.json()["messageParams"]["permissions"],
        "[directory:user:add]"
    );
    assert!(
        reply.json()["messageWithParams"]
            .as_str()
            .unwrap()
            .contains("{permissions}")
    );
    assert_eq!(bench.get(&token, "/api/v2/users").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_quota_refuses_until_its_window_ends() {
    let bench = Bench::in_memory(
        LoopbackCloud::builder().configure(|knobs| knobs.quota = Some(Quota::per_minute(2))),
    );
    let token = bench.token().await;
    tokio::time::advance(Duration::from_secs(100)).await;
    for _ in 0..2 {
        assert_eq!(bench.get(&token, "/api/v2/users").await.status, 200);
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    let reply = bench.get(&token, "/api/v2/users").await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (429, Some("59"))
    );
    assert_eq!(reply.code(), "too.many.requests.retry.after");
    let message = "Rate limit exceeded the maximum. Retry the request in [59] seconds";
    assert_eq!(reply.json()["message"], message);
    assert_eq!(reply.json()["limit"], Value::Null);
    assert_eq!(reply.header("inin-ratelimit-count"), None);
    // The window is the token's: another one starts afresh.
    let other = bench.token().await;
    assert_eq!(bench.get(&other, "/api/v2/users").await.status, 200);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(bench.get(&token, "/api/v2/users").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_quota_by_client_does_not_start_afresh_with_a_new_token() {
    let quota = Quota {
        per: Scope::Client,
        ..Quota::per_minute(1)
    };
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.quota = Some(quota);
        knobs.limit_body = true;
        knobs.legacy_headers = true;
        knobs.error_padding = 20_000;
    }));
    let (one, other) = (bench.token().await, bench.token().await);
    let reply = bench.get(&one, "/api/v2/users").await;
    let legacy = ["count", "allowed", "reset"].map(|name| {
        reply
            .header(&format!("inin-ratelimit-{name}"))
            .map(str::to_owned)
    });
    assert_eq!(
        legacy.each_ref().map(Option::as_deref),
        [Some("1"), Some("1"), Some("60")]
    );
    let reply = bench.get(&other, "/api/v2/users").await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.json()["limit"]["namespace"], "platform.api");
    assert_eq!(reply.bytes.len(), 20_000);
    assert_eq!(reply.header("content-length"), Some("20000"));
    // A refusal for the token costs nothing.
    for _ in 0..3 {
        assert_eq!(bench.get("unknown", "/api/v2/users").await.status, 401);
    }
    bench.cloud.configure(|knobs| knobs.quota = None);
    assert_eq!(bench.get(&other, "/api/v2/users").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn with_penalties_an_impatient_client_waits_longer() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.quota = Some(Quota::per_minute(1));
        knobs.penalise = true;
        knobs.require_token = false;
    }));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let reply = bench.get("", "/api/v2/users").await;
        waits.push(reply.header("retry-after").map(str::to_owned));
    }
    let waits: Vec<_> = waits.iter().map(Option::as_deref).collect();
    assert_eq!(waits, [None, Some("66"), Some("72"), Some("78")]);
}

#[tokio::test(start_paused = true)]
async fn echo_tells_what_arrived_up_to_the_limit() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let echo = async |body: Vec<u8>| {
        let request = bench
            .request(&token, "PUT", "/echo?a=%2F&b")
            .header("x-one", "1");
        let request = request.header("x-two", "2").header("x-one", "3");
        bench
            .send(request.body(Full::from(body)).unwrap())
            .await
            .unwrap()
    };
    let body = vec![0x1f; 512_000];
    let digest: String = Sha256::digest(&body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let reply = echo(body).await.json();
    assert_eq!(
        (&reply["method"], &reply["uri"]),
        (&"PUT".into(), &"/echo?a=%2F&b".into())
    );
    assert_eq!(
        (&reply["bodyLength"], &reply["bodySha256"]),
        (&512_000.into(), &digest.as_str().into())
    );
    let ours: Vec<_> = reply["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|header| {
            header[0]
                .as_str()
                .is_some_and(|name| name.starts_with("x-"))
        })
        .cloned()
        .collect();
    assert_eq!(
        ours,
        [
            json!(["x-one", "1"]),
            json!(["x-one", "3"]),
            json!(["x-two", "2"])
        ]
    );

    let reply = echo(vec![0; 512_001]).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (413, "request.entity.too.large")
    );
    assert_eq!(
        bench
            .cloud
            .connections(tower_outbound::test_util::Listener::Api),
        1
    );
}
