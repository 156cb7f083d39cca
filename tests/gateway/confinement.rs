//! A request reaches the upstream that it names and nothing else, and only from whom it may come.

use tokio::join;

use super::{
    raw::{RawUpstream, exchange, get, status},
    setup::{Setup, cloud, failure, open},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn targets_arrive_byte_for_byte_at_the_upstream_and_nowhere_else() {
    let upstream = RawUpstream::start().await;
    let at_root = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let origin = format!("up={}", upstream.origin());
    let cloud = cloud().await;
    let token_url = format!("up={}", cloud.token_url());
    // Where a request would go that leaves `up`.
    let other = format!("other={}", cloud.api_url());
    let other_token = format!("other={}", cloud.token_url());
    let options = ["--upstream", &origin, "--token-url", &token_url];
    let others = ["--upstream", &other, "--token-url", &other_token];
    let options = [options, others].concat();
    let named = Setup::with_secret(cloud, tower_outbound::test_util::CLIENT_SECRET, &options).await;

    for target in [
        "/",
        "/api/v2/users?pageSize=1&pageNumber=2",
        "/a%2Fb%20c%25?q=%C3%A9+%2B",
        "/../other/api/v2/users",
        "/%2e%2e/%2E%2E/other",
        "//evil.test/path",
        "/@evil.test/",
        "/:80@evil.test",
        "/http://evil.test/?url=http://evil.test/",
        "/.evil.test",
        "/?",
        "/a//b/./c/;d=e",
    ] {
        for (gateway, prefix) in [(&at_root, ""), (&named, "/up")] {
            let request = get(&format!("{prefix}{target}"), "127.0.0.1");
            let (answer, head) = join!(exchange(gateway.address, &request), upstream.answer(OK));
            assert_eq!(status(&answer), 200);
            assert_eq!(
                head.lines().next(),
                Some(&*format!("GET {target} HTTP/1.1"))
            );
            let host = format!("host: {}\r\n", upstream.address());
            assert!(head.contains(&host), "{head}");
        }
    }
    assert_eq!(named.cloud.api_calls() + at_root.cloud.api_calls(), 0);
}

#[tokio::test]
async fn a_name_without_a_path_is_the_root_of_its_upstream() {
    let upstream = RawUpstream::start().await;
    let origin = format!("up-1={}", upstream.origin());
    let gateway = named(&origin).await;
    for (target, arrives) in [("/up-1", "/"), ("/up-1?a=b", "/?a=b"), ("/up-1/", "/")] {
        let request = get(target, "127.0.0.1");
        let (_, head) = join!(exchange(gateway.address, &request), upstream.answer(OK));
        assert_eq!(
            head.lines().next(),
            Some(&*format!("GET {arrives} HTTP/1.1"))
        );
    }
}

#[tokio::test]
async fn a_path_that_names_no_upstream_is_not_found_and_nothing_is_sent() {
    let cloud = cloud().await;
    let origin = format!("up={}", cloud.api_url());
    let gateway = named(&origin).await;
    for target in [
        "/",
        "/u",
        "/upp/x",
        "/up@evil.test/",
        "/%75p/x",
        "/UP/x",
        "//up/x",
        "/./up/x",
    ] {
        let response = gateway.get(target).await;
        assert_eq!(
            failure(&response),
            (404, "no_such_upstream".to_owned()),
            "{target}"
        );
        let body = String::from_utf8_lossy(response.body());
        assert!(body.contains("/up/"), "it says what to do: {body}");
    }
    assert_eq!(cloud.api_calls(), 0);
    assert_eq!(gateway.cloud.token_requests(), 0);
}

#[tokio::test]
async fn a_host_that_is_not_the_gateway_is_refused_wherever_it_stands() {
    let gateway = Setup::new(&["--allow-host", "gateway.test"]).await;
    let port = gateway.address.port();
    for (target, host) in [
        ("/x", "evil.test"),
        ("/x", "evil.test:80"),
        ("/x", "127.0.0.1.evil.test"),
        ("/x", "localhost@evil.test"),
        ("/x", "gateway.test.evil.test"),
        ("/x", ""),
        ("/x", "localhost\r\nHost: localhost"),
        ("http://evil.test/x", "localhost"),
        ("http://localhost@evil.test/x", "localhost"),
        ("http://localhost/x", "evil.test"),
        ("https://evil.test/x", "evil.test"),
    ] {
        let answer = exchange(gateway.address, &get(target, host)).await;
        assert!(
            [400, 421].contains(&status(&answer)),
            "{target} {host}: {answer}"
        );
    }
    let nobody = "GET /x HTTP/1.0\r\n\r\n";
    assert_eq!(status(&exchange(gateway.address, nobody).await), 421);
    let connect =
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(gateway.address, connect).await), 400);
    let asterisk = get("*", "localhost").replace("GET", "OPTIONS");
    assert_eq!(status(&exchange(gateway.address, &asterisk).await), 400);
    assert_eq!(
        gateway.cloud.log().len(),
        0,
        "nothing was sent for any of them"
    );

    for (target, host) in [
        ("/api/v2/users", &*format!("127.0.0.1:{port}")),
        ("/api/v2/users", "LOCALHOST"),
        ("/api/v2/users", "[::1]:8080"),
        ("/api/v2/users", "Gateway.test:8080"),
        ("http://localhost/api/v2/users", "localhost"),
    ] {
        let answer = exchange(gateway.address, &get(target, host)).await;
        assert_eq!(status(&answer), 200, "{target} {host}: {answer}");
    }
    let api = gateway
        .cloud
        .api_url()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    for request in gateway.api_log() {
        assert_eq!(request.header("host"), Some(&*api));
        assert_eq!(request.target, "/api/v2/users");
    }
}

#[tokio::test]
async fn pages_in_a_browser_are_refused() {
    let gateway = Setup::new(&[]).await;
    for (name, value) in [
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let request = gateway.request("GET", "/api/v2/users").header(name, value);
        let response = gateway.send(request).await;
        assert_eq!(
            failure(&response),
            (403, "forbidden".to_owned()),
            "{name}: {value}"
        );
    }
    assert_eq!(gateway.cloud.log().len(), 0);
    let typed = gateway.request("GET", "/api/v2/users");
    let typed = gateway.send(typed.header("sec-fetch-site", "none")).await;
    assert_eq!(typed.status(), 200);
}

#[tokio::test]
async fn a_redirect_is_the_programs_and_takes_no_token_along() {
    let (upstream, elsewhere) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = Setup::before(cloud().await, &upstream.origin(), &[]).await;
    let location = format!("{}/x", elsewhere.origin());
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    );
    let (response, _) = join!(gateway.get("/x"), upstream.answer(&redirect));
    assert_eq!(response.status(), 307);
    assert_eq!(response.headers()["location"], location);
}

#[tokio::test]
async fn upstreams_that_are_no_origins_or_could_be_mistaken_are_refused_at_the_start() {
    let token = "https://login.example.com/oauth/token";
    let (named_token, other_token) = (format!("a={token}"), format!("b={token}"));
    for options in [
        &[][..],
        &["--upstream", "https://api.example.com"],
        &["--upstream", "http://api.example.com", "--token-url", token],
        &[
            "--upstream",
            "https://api.example.com/path",
            "--token-url",
            token,
        ],
        &[
            "--upstream",
            "https://user@api.example.com",
            "--token-url",
            token,
        ],
        &[
            "--upstream",
            "a=https://api.example.com",
            "--token-url",
            token,
        ],
        &[
            "--upstream",
            "a_b=https://api.example.com",
            "--token-url",
            token,
        ],
        &[
            "--upstream",
            "https://api.example.com",
            "--token-url",
            "http://login.example.com/t",
        ],
        &[
            "--upstream",
            "a=https://1.example.com",
            "--upstream",
            "a=https://2.example.com",
            "--token-url",
            &named_token,
        ],
        &[
            "--upstream",
            "https://1.example.com",
            "--upstream",
            "b=https://2.example.com",
            "--token-url",
            token,
            "--token-url",
            &other_token,
        ],
    ] {
        assert!(open("secret", options).await.is_err(), "{options:?}");
    }
    let fine = [
        "--upstream",
        "a=https://api.example.com",
        "--token-url",
        &named_token,
    ];
    assert!(open("secret", &fine).await.is_ok());
}

/// A gateway with this one upstream, which has a name.
async fn named(upstream: &str) -> Setup {
    let cloud = cloud().await;
    let name = upstream.split_once('=').unwrap().0;
    let token_url = format!("{name}={}", cloud.token_url());
    let options = ["--upstream", upstream, "--token-url", &token_url];
    Setup::with_secret(cloud, tower_outbound::test_util::CLIENT_SECRET, &options).await
}
