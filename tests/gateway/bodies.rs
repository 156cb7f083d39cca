//! Bodies of any size go through as they come, and what is not wanted any more is not sent for.

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::{io::AsyncWriteExt, join, net::TcpStream};
use tower_outbound::test_util::{Listener, Reply};

use super::{
    raw::RawUpstream,
    setup::{Setup, cloud},
};

const LIMIT: [&str; 2] = ["--replay-limit", "65536"];

#[tokio::test]
async fn an_upload_above_the_limit_arrives_intact_and_is_sent_once() {
    let gateway = Setup::new(&LIMIT).await;
    let small = pattern(60_000);
    let large = pattern(500_000);
    let refusals = || [Reply::service_unavailable(Some("0"))];
    for (body, times) in [(&small, 2), (&large, 1)] {
        gateway.cloud.clear_log();
        gateway.cloud.script(Listener::Api, "PUT /echo", refusals());
        let request = gateway.request("PUT", "/echo");
        let response = gateway.send_with(request, body.clone()).await;
        let status = if times == 1 { 503 } else { 200 };
        assert_eq!(response.status(), status);
        let log = gateway.api_log();
        assert_eq!(log.len(), times, "what is not held is sent once");
        for arrived in log {
            assert_eq!(arrived.body_len, body.len() as u64);
        }
    }

    // The same bytes, with and without the gateway in between.
    gateway.cloud.clear_log();
    let through = gateway.request("PUT", "/echo");
    assert_eq!(
        gateway.send_with(through, large.clone()).await.status(),
        200
    );
    let direct = http::Request::put(format!("{}/echo", gateway.cloud.api_url()));
    gateway.send_with(direct, large).await;
    let log = gateway.api_log();
    assert!(log[0].body_sha256.is_some());
    assert_eq!(log[0].body_sha256, log[1].body_sha256);
    assert_eq!(log[0].header("content-length"), Some("500000"));
}

#[tokio::test]
async fn an_upload_above_the_limit_is_on_its_way_before_all_of_it_has_come() {
    let upstream = RawUpstream::start().await;
    let gateway = Setup::before(cloud().await, &upstream.origin(), &LIMIT).await;
    let (first, second) = (pattern(100_000), pattern(50_000));
    let mut program = TcpStream::connect(gateway.address).await.unwrap();
    let head = "PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 150000\r\n\r\n";
    program.write_all(head.as_bytes()).await.unwrap();
    program.write_all(&first).await.unwrap();
    let mut arrived = upstream.accept().await;
    arrived.read_body(first.len()).await;
    program.write_all(&second).await.unwrap();
    arrived.read_body(first.len() + second.len()).await;
    assert_eq!(arrived.body, [first, second].concat());
}

#[tokio::test]
async fn an_answer_begins_before_it_has_ended() {
    let upstream = RawUpstream::start().await;
    let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let begin = gateway.begin(gateway.request("GET", "/x"), "");
    let answer = async {
        let mut connection = upstream.accept().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        connection.write(head).await;
        connection
    };
    let (mut response, mut connection) = join!(begin, answer);
    let first = response
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert_eq!(first, "first");
    connection.write("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(response.collect().await.unwrap().to_bytes(), "last");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_program_too() {
    let gateway = Setup::new(&[]).await;
    gateway
        .cloud
        .script(Listener::Api, "GET *", [Reply::cut_mid_body()]);
    let request = gateway.request("GET", "/api/v2/users");
    let response = gateway.begin(request, "").await;
    assert_eq!(response.status(), 200);
    response
        .collect()
        .await
        .expect_err("half an answer is no answer");
}

#[tokio::test]
async fn a_program_that_goes_away_ends_its_call_of_the_upstream() {
    let upstream = RawUpstream::start().await;
    let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let mut program = TcpStream::connect(gateway.address).await.unwrap();
    program
        .write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut call = upstream.accept().await;
    drop(program);
    call.closed().await;

    // Also when the answer has begun.
    let begin = gateway.begin(gateway.request("GET", "/x"), "");
    let answer = async {
        let mut connection = upstream.accept().await;
        connection
            .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
            .await;
        connection
    };
    let (response, mut call) = join!(begin, answer);
    drop(response);
    call.closed().await;
}

/// Bytes of which no two neighbouring parts are alike.
fn pattern(length: usize) -> Bytes {
    let bytes = (0..length).map(|index| (index * 31 % 251) as u8 ^ (index / 251) as u8);
    bytes.collect()
}
