//! Which headers arrive, and which end at the gateway; answers without a body.

use tokio::join;

use super::{
    raw::{RawUpstream, exchange, fields, get},
    setup::{Setup, cloud},
};

#[tokio::test]
async fn headers_about_the_connection_and_for_the_gateway_go_no_further() {
    let upstream = RawUpstream::start().await;
    let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let request = "PUT /x HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Hop\r\n\
        Connection: x-hop-too\r\nX-Hop: 1\r\nX-Hop-Too: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic abc\r\nTE: trailers\r\n\
        Trailer: x-sum\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nOutbound-Timeout: 60\r\n\
        Outbound-Priority: 3\r\nX-Kept: one\r\nX-Kept: two\r\nCookie: a=b\r\n\
        Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let (answer, head) = join!(
        exchange(gateway.address, request),
        upstream.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    );
    assert!(answer.contains("200 OK"), "{answer}");
    let token = gateway.cloud.issued_tokens().remove(0).to_ascii_lowercase();
    let mut expected = vec![
        format!("authorization: bearer {token}"),
        "content-length: 4".to_owned(),
        "cookie: a=b".to_owned(),
        format!("host: {}", upstream.address()),
        "x-kept: one".to_owned(),
        "x-kept: two".to_owned(),
    ];
    expected.sort();
    assert_eq!(fields(&head), expected);
}

#[tokio::test]
async fn headers_of_the_upstreams_connection_and_in_the_gateways_name_do_not_come_back() {
    let upstream = RawUpstream::start().await;
    let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let request = get("/x", "127.0.0.1");
    let (answer, _) = join!(
        exchange(gateway.address, &request),
        upstream.answer(
            "HTTP/1.1 206 Partial Content\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
             Trailer: x-sum\r\nOutbound-Error: upstream_lost\r\nDate: today\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\n\r\n"
        )
    );
    let expected = [
        "connection: close",
        "date: today",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "transfer-encoding: chunked",
    ];
    assert_eq!(fields(&answer), expected);
    assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn answers_without_a_body_stay_as_they_are() {
    let table = [
        ("HEAD", "200 OK", "content-length: 1234\r\n", true),
        ("HEAD", "200 OK", "transfer-encoding: chunked\r\n", false),
        ("GET", "204 No Content", "x-some: thing\r\n", true),
        ("GET", "304 Not Modified", "etag: \"a\"\r\n", true),
    ];
    for (method, line, field, is_kept) in table {
        let upstream = RawUpstream::start().await;
        let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
        let request = get("/x", "localhost").replace("GET", method);
        let answer = format!("HTTP/1.1 {line}\r\nDate: today\r\n{field}\r\n");
        let (answer, _) = join!(
            exchange(gateway.address, &request),
            upstream.answer(&answer)
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {line}\r\n")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
        let mut expected = vec!["connection: close", "date: today"];
        expected.extend(is_kept.then_some(field.trim_end()));
        let framing = |field: &String| !field.starts_with("transfer-encoding");
        let found: Vec<_> = fields(&answer).into_iter().filter(framing).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{method} {line}");
    }
}
