use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tower_outbound::test_util::{Listener, Reply};

use super::*;

#[tokio::test(start_paused = true)]
async fn scripted_replies_come_in_order_and_before_anything_else() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let cloud = &bench.cloud;
    cloud.script_forever(Listener::Api, "GET *", Reply::status(418));
    cloud.script(
        Listener::Api,
        "GET /api/v2/users",
        [Reply::unauthorized(), Reply::conflict()],
    );
    cloud.script(
        Listener::Api,
        "GET /api/*/users",
        [Reply::ip_not_authorized()],
    );
    assert_eq!(cloud.scripted_replies_left(), 3);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(
            bench
                .get("none", "/api/v2/users?page=1")
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(seen, [401, 409, 401, 418, 418]);
    assert_eq!(cloud.scripted_replies_left(), 0);
    cloud.script_forever(Listener::Api, "GET *", Reply::status(410));
    assert_eq!(bench.get("none", "/api/v2/users").await.status, 410);
    cloud.clear_scripts();
    assert_eq!(
        bench.get("none", "/api/v2/users").await.code(),
        "bad.credentials"
    );
}

#[tokio::test(start_paused = true)]
async fn every_known_reply_has_its_status_and_its_code() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let table = [
        (Reply::unauthorized(), 401, "bad.credentials"),
        (Reply::credentials_expired(), 401, "credentials.expired"),
        (Reply::ip_not_authorized(), 401, "ip.not.authorized"),
        (Reply::forbidden("a:b:c"), 403, "missing.any.permissions"),
        (Reply::client_timeout(), 408, "client.timeout"),
        (Reply::conflict(), 409, "request.conflict"),
        (
            Reply::too_many_requests(Some("5")),
            429,
            "too.many.requests.retry.after",
        ),
        (
            Reply::quota_exceeded(300, Duration::from_secs(60)),
            429,
            "too.many.requests",
        ),
        (Reply::daily_limit(), 429, "too.many.requests.retry.after"),
        (Reply::internal_server_error(), 500, "internal.server.error"),
        (Reply::html(502), 502, ""),
        (Reply::service_unavailable(None), 503, "service.unavailable"),
        (Reply::request_timeout(), 504, "request.timeout"),
        (
            Reply::authentication_timeout(),
            504,
            "authentication.request.timeout",
        ),
        (Reply::error(400, "a.code", "text"), 400, "a.code"),
        (Reply::json(201, json!({"code": "mine"})), 201, "mine"),
    ];
    for (reply, status, code) in table {
        bench.cloud.script(Listener::Api, "*", [reply]);
        let seen = bench.get("", "/x").await;
        assert_eq!((seen.status.as_u16(), seen.code().as_str()), (status, code));
    }
    assert_eq!(bench.cloud.connections(Listener::Api), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_goes_out_byte_for_byte() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let refused = async |reply: Reply| {
        bench.cloud.script(Listener::Api, "*", [reply]);
        let seen = bench.get("", "/x").await;
        let values = seen.headers.get_all("retry-after").iter();
        (
            values
                .map(|value| value.as_bytes().to_vec())
                .collect::<Vec<_>>(),
            seen,
        )
    };
    for value in ["2.0", "-1", "99999999999999999999", "soon"] {
        let (values, _) = refused(Reply::too_many_requests(Some(value))).await;
        assert_eq!(values, [value.as_bytes()]);
    }
    // What stands around a value is lost to the client's parser, as it is to everybody's.
    assert_eq!(
        refused(Reply::too_many_requests(Some(" 5 "))).await.0,
        [b"5"]
    );
    assert!(refused(Reply::too_many_requests(None)).await.0.is_empty());
    let two = Reply::service_unavailable(Some("1")).header("Retry-After", "60");
    assert_eq!(refused(two).await.0, [&b"1"[..], b"60"]);
    let raw = Reply::status(429).header("retry-after", b"\xff\xfe");
    assert_eq!(refused(raw).await.0, [b"\xff\xfe"]);

    let (values, seen) =
        refused(Reply::too_many_requests(None).retry_after_date(Duration::from_secs(90))).await;
    let date = |text: &str| httpdate::parse_http_date(text).unwrap();
    let retry_after = date(str::from_utf8(&values[0]).unwrap());
    let ahead = retry_after
        .duration_since(date(seen.header("date").unwrap()))
        .unwrap();
    // The clock may have ticked between the two.
    assert!((89..=91).contains(&ahead.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_reply_can_be_dressed() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let cloud = &bench.cloud;
    let dressed = Reply::unauthorized()
        .header("www-authenticate", "Bearer")
        .header("cache-control", "max-age=1")
        .limit("a.key", "a.namespace", 7)
        .pad(20_000);
    cloud.script(
        Listener::Api,
        "*",
        [dressed, Reply::html(503), Reply::status(200).body("plain")],
    );
    let seen = bench.get("", "/x").await;
    assert_eq!(seen.header("www-authenticate"), Some("Bearer"));
    assert_eq!(seen.headers.get_all("cache-control").iter().count(), 1);
    assert_eq!(seen.json()["limit"]["value"], 7);
    assert_eq!(
        seen.json()["contextId"],
        seen.header("inin-correlation-id").unwrap()
    );
    assert_eq!(seen.bytes.len(), 20_000);
    let edge = bench.get("", "/x").await;
    assert_eq!(edge.header("content-type"), Some("text/html"));
    assert_eq!(edge.header("inin-correlation-id"), None);
    assert_eq!(bench.get("", "/x").await.bytes, "plain");
}

#[tokio::test(start_paused = true)]
async fn a_scripted_token_is_taken_by_the_api_whatever_its_reply_looked_like() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    bench.cloud.script(
        Listener::Login,
        "POST /oauth/token",
        [
            Reply::token(json!({"access_token": "mine", "expires_in": "3600"})),
            Reply::token_with(json!({"expires_in": null, "scope": "all"})),
            Reply::token_throttled(),
            Reply::invalid_json(),
            Reply::invalid_grant(),
            Reply::invalid_client(),
        ],
    );
    let form = "grant_type=client_credentials";
    assert_eq!(bench.grant(form).await.json()["expires_in"], "3600");
    assert_eq!(bench.get("mine", "/api/v2/tokens/me").await.status, 200);
    let reply = bench.grant(form).await.json();
    assert_eq!(
        (&reply["expires_in"], &reply["scope"]),
        (&Value::Null, &"all".into())
    );
    let token = reply["access_token"].as_str().unwrap();
    assert_eq!(bench.get(token, "/api/v2/tokens/me").await.status, 200);
    assert_eq!(bench.grant(form).await.json()["error"], "invalid_request");
    let broken = bench.grant(form).await;
    assert_eq!((broken.status.as_u16(), broken.json()), (200, Value::Null));
    assert_eq!(bench.grant(form).await.json()["error"], "invalid_grant");
    assert_eq!(bench.grant(form).await.json()["error"], "invalid_client");
    assert_eq!((bench.cloud.mints(), bench.cloud.token_requests()), (3, 6));
}

#[tokio::test(start_paused = true)]
async fn latency_and_delay_add_up_and_the_effects_come_first() {
    let bench = Bench::in_memory(LoopbackCloud::builder().configure(|knobs| {
        knobs.login_latency = Duration::from_secs(1);
        knobs.api_latency = Duration::from_secs(2);
        knobs.token_lifetime = Duration::from_secs(10);
    }));
    let start = Instant::now();
    let token = bench.token().await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    bench.cloud.script(
        Listener::Api,
        "*",
        [Reply::pass().delay(Duration::from_secs(3600))],
    );
    // The token dies long before the answer arrives.
    assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 200);
    assert_eq!(start.elapsed(), Duration::from_secs(3603));
    assert_eq!(bench.get(&token, "/api/v2/tokens/me").await.status, 401);
    let log = bench.cloud.log();
    let times: Vec<_> = log.iter().map(|request| request.t.as_secs()).collect();
    assert_eq!(times, [0, 1, 3603]);
}

#[tokio::test(start_paused = true)]
async fn a_gate_holds_requests_before_they_are_handled() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let gate = bench.cloud.gate(Listener::Api, "GET /api/v2/users");
    let act = async {
        gate.arrived(3).await;
        assert_eq!((gate.count(), bench.cloud.api_calls()), (3, 3));
        assert!(
            bench.cloud.log()[1..]
                .iter()
                .all(|request| request.status.is_none())
        );
        bench.cloud.revoke_all();
        gate.release();
    };
    let get = || bench.get(&token, "/api/v2/users");
    let (one, two, three, ()) = tokio::join!(get(), get(), get(), act);
    assert_eq!(
        [one.status, two.status, three.status],
        [StatusCode::UNAUTHORIZED; 3]
    );
    assert_eq!(get().await.status, 401);
    assert_eq!(bench.cloud.api_calls_to("GET /api/v2/users"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_gate_for_answers_holds_what_has_been_handled_until_it_is_dropped() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let gate = bench
        .cloud
        .gate_answers(Listener::Login, "POST /oauth/token");
    let act = async {
        gate.arrived(1).await;
        assert_eq!(
            (bench.cloud.issued_tokens().len(), bench.cloud.mints()),
            (1, 0)
        );
        drop(gate);
    };
    let (token, ()) = tokio::join!(bench.token(), act);
    assert_eq!(
        (bench.cloud.issued_tokens(), bench.cloud.mints()),
        (vec![token], 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_its_request_is_handled_leaves_no_trace_but_the_log() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let gate = bench.cloud.gate(Listener::Login, "*");
    tokio::select! {
        _ = bench.grant("grant_type=client_credentials") => panic!("the gate was open"),
        () = gate.arrived(1) => {}
    }
    // The server has to see that the connection is gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(gate);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (
            bench.cloud.token_requests(),
            bench.cloud.issued_tokens().len()
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_what_arrived() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let request = bench
        .request(&token, "PUT", "/echo?q=%20x")
        .header("x-b", "1");
    let request = request
        .header("x-a", "2")
        .body(Full::from("hello"))
        .unwrap();
    bench.send(request).await.unwrap();
    let log = bench.cloud.log();
    assert_eq!(log[0].listener, Listener::Login);
    assert_eq!(
        log[0].body.as_deref(),
        Some(&b"grant_type=client_credentials"[..])
    );
    let echo = &log[1];
    assert_eq!(
        (echo.listener, echo.method.as_str()),
        (Listener::Api, "PUT")
    );
    assert_eq!(
        (echo.target.as_str(), echo.path()),
        ("/echo?q=%20x", "/echo")
    );
    assert_eq!(
        echo.header("authorization"),
        Some(format!("Bearer {token}").as_str())
    );
    let names: Vec<_> = echo.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["authorization", "x-b", "x-a", "host", "content-length"]
    );
    assert_eq!((echo.body_len, echo.status), (5, Some(200)));
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(echo.body_sha256.as_deref(), Some(sha256));
    bench.cloud.clear_log();
    assert!(bench.cloud.log().is_empty());
    assert_eq!((bench.cloud.mints(), bench.cloud.api_calls()), (0, 0));
}
