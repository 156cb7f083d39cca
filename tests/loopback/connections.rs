use std::time::Duration;

use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;
use tower_outbound::test_util::{Listener, Reply};

use super::*;

/// The same on sockets and in memory.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Bench) -> F) {
    test(Bench::in_memory(LoopbackCloud::builder())).await;
    test(Bench::on_sockets(LoopbackCloud::builder()).await).await;
}

#[tokio::test]
async fn refusals_leave_the_connection_open() {
    on_both(|bench| async move {
        let token = bench.token().await;
        let replies = [
            Reply::unauthorized().pad(20_000),
            Reply::too_many_requests(Some("1")),
            Reply::html(502),
            Reply::pass(),
        ];
        for _ in 0..25 {
            bench.cloud.script(Listener::Api, "*", replies.clone());
            for status in [401, 429, 502, 200] {
                let seen = bench.get(&token, "/api/v2/routing/queues").await;
                assert_eq!(seen.status, status);
                assert_eq!(
                    seen.header("content-length"),
                    Some(&*seen.bytes.len().to_string())
                );
            }
        }
        assert_eq!(bench.cloud.connections(Listener::Api), 1);
        assert_eq!(bench.cloud.connections(Listener::Login), 1);
        assert_eq!(bench.cloud.api_calls(), 100);
    })
    .await;
}

#[tokio::test]
async fn a_cut_before_the_head_leaves_nothing_behind() {
    on_both(|bench| async move {
        let token = bench.token().await;
        bench.cloud.script(
            Listener::Api,
            "POST /api/v2/users",
            [Reply::cut_before_head()],
        );
        let request = bench.request(&token, "POST", "/api/v2/users");
        let user = Full::from(r#"{"name":"Ada","email":"ada@example.com"}"#);
        bench.send(request.body(user).unwrap()).await.unwrap_err();
        assert!(bench.cloud.users().is_empty());
        assert_eq!(bench.cloud.log()[1].status, None);
        assert_eq!(bench.get(&token, "/api/v2/users").await.status, 200);
        assert_eq!(bench.cloud.connections(Listener::Api), 2);
    })
    .await;
}

#[tokio::test]
async fn a_cut_after_processing_leaves_the_effect_behind() {
    on_both(|bench| async move {
        let token = bench.token().await;
        bench
            .cloud
            .script(Listener::Api, "POST *", [Reply::cut_after_processing()]);
        let request = bench.request(&token, "POST", "/api/v2/users");
        let user = Full::from(r#"{"name":"Ada","email":"ada@example.com"}"#);
        bench.send(request.body(user).unwrap()).await.unwrap_err();
        assert_eq!(bench.cloud.users().len(), 1);
        assert_eq!(bench.cloud.log()[1].status, None);
    })
    .await;
}

#[tokio::test]
async fn a_cut_in_the_body_comes_after_the_head_and_half_of_it() {
    on_both(|bench| async move {
        let token = bench.token().await;
        bench
            .cloud
            .script(Listener::Api, "*", [Reply::cut_mid_body()]);
        let request = bench
            .request(&token, "GET", "/api/v2/users")
            .body(Full::default())
            .unwrap();
        let reply = bench.http.request(request).await.unwrap();
        assert_eq!(reply.status(), 200);
        let length: usize = reply.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let (mut body, mut received) = (reply.into_body(), 0);
        let error = loop {
            match body.frame().await.expect("an error before the end") {
                Ok(frame) => received += frame.into_data().unwrap().len(),
                Err(error) => break error,
            }
        };
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
        assert_eq!(
            cause.map(std::io::Error::kind),
            Some(std::io::ErrorKind::UnexpectedEof)
        );
        assert_eq!(received, length / 2);
        assert_eq!(bench.cloud.log()[1].status, Some(200));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_can_hang_and_a_body_can_trickle() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let interval = Duration::from_secs(10);
    bench.cloud.script(
        Listener::Api,
        "*",
        [Reply::hang(), Reply::trickle(interval)],
    );
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, bench.get("", "/x"))
        .await
        .expect_err("no answer");
    assert_eq!(bench.cloud.log()[0].status, None);

    let uri = format!("{}/x", bench.cloud.api_url()).parse().unwrap();
    let mut body = bench.http.get(uri).await.unwrap().into_body();
    let start = tokio::time::Instant::now();
    for _ in 0..100 {
        let frame = body.frame().await.expect("no end").unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 1);
    }
    assert_eq!(start.elapsed(), 100 * interval);
}

#[tokio::test]
async fn an_early_reply_does_not_wait_for_the_body() {
    on_both(|bench| async move {
        let http = bench.cloud.client();
        bench
            .cloud
            .script(Listener::Api, "*", [Reply::unauthorized().early()]);
        let endless = futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let request = bench
            .request("", "PUT", "/echo")
            .body(StreamBody::new(endless))
            .unwrap();
        assert_eq!(http.request(request).await.unwrap().status(), 401);
        let logged = &bench.cloud.log()[0];
        assert_eq!(
            (logged.body_sha256.as_deref(), logged.status),
            (None, Some(401))
        );
    })
    .await;
}

#[tokio::test]
async fn a_chunked_body_is_digested_as_a_whole() {
    on_both(|bench| async move {
        let token = bench.token().await;
        let chunks =
            ["he", "l", "lo"].map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))));
        let body = StreamBody::new(futures_util::stream::iter(chunks));
        let request = bench.request(&token, "PUT", "/echo").body(body).unwrap();
        let reply = bench.cloud.client().request(request).await.unwrap();
        let reply = reply.into_body().collect().await.unwrap().to_bytes();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(
            (&reply["bodyLength"], &reply["bodySha256"]),
            (&json!(5), &json!(sha256))
        );
        assert!(
            reply["headers"]
                .as_array()
                .unwrap()
                .contains(&json!(["transfer-encoding", "chunked"]))
        );
    })
    .await;
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_all_answered() {
    on_both(|bench| async move {
        let token = bench.token().await;
        let calls = (0..100).map(|_| bench.get(&token, "/api/v2/routing/queues"));
        let replies = futures_util::future::join_all(calls).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        assert_eq!(bench.cloud.api_calls(), 100);
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_servers_and_closes_connections() {
    on_both(|bench| async move {
        let Bench { cloud, http } = bench;
        let (uri, copy) = (format!("{}/x", cloud.api_url()), cloud.clone());
        let gate = cloud.gate(Listener::Api, "*");
        drop(cloud);
        let waiting = tokio::spawn(http.get(uri.parse().unwrap()));
        gate.arrived(1).await;
        drop(copy);
        // The gate is still shut: what ends the request is the loss of its connection.
        waiting.await.unwrap().unwrap_err();
        assert!(http.get(uri.parse().unwrap()).await.is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_only_the_two_hosts_are_there() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    assert_eq!(bench.cloud.api_url(), "http://api.localhost");
    assert_eq!(
        bench.cloud.token_url(),
        "http://login.localhost/oauth/token"
    );
    assert!(
        bench
            .http
            .get("http://example.com/".parse().unwrap())
            .await
            .is_err()
    );
}
