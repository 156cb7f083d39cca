//! What is there for those who run a gateway.

use tower_outbound::test_util::CLIENT_SECRET;

use super::{
    raw::{exchange, get},
    setup::{Setup, cloud},
};

#[tokio::test]
async fn health_is_on_a_listener_of_its_own_and_the_path_stays_the_upstreams() {
    let gateway = Setup::new(&["--admin", "127.0.0.1:0"]).await;
    let answer = exchange(gateway.admin.unwrap(), &get("/healthz", "localhost")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(gateway.cloud.api_calls(), 0);
    for path in ["/healthz", "/metrics"] {
        assert_eq!(gateway.get(path).await.status(), 404);
        assert_eq!(gateway.cloud.api_calls_to(path), 1);
    }
}

#[tokio::test]
async fn metrics_tell_what_was_answered_and_what_it_took_and_no_secret() {
    let cloud = cloud().await;
    let upstream = format!("counted={}", cloud.api_url());
    let token_url = format!("counted={}", cloud.token_url());
    let options = [
        "--upstream",
        &upstream,
        "--token-url",
        &token_url,
        "--admin",
        "127.0.0.1:0",
    ];
    let gateway = Setup::with_secret(cloud, CLIENT_SECRET, &options).await;
    let users = "/counted/api/v2/users";
    assert_eq!(gateway.get(users).await.status(), 200);
    gateway.cloud.revoke_all();
    assert_eq!(gateway.get(users).await.status(), 200);
    assert_eq!(gateway.get("/counted/nothing").await.status(), 404);
    let odd = gateway.request("BREW", users);
    gateway.send(odd).await;

    let page = exchange(gateway.admin.unwrap(), &get("/metrics", "localhost")).await;
    let ours = |method: &str, status: &str| {
        let labels = format!(r#"upstream="counted",method="{method}",status="{status}""#);
        format!("egress_gateway_requests_total{{{labels}}}")
    };
    for (line, count) in [
        (ours("GET", "2xx"), 2),
        (ours("GET", "4xx"), 1),
        (ours("other", "4xx"), 1),
    ] {
        assert!(
            page.contains(&format!("{line} {count}\n")),
            "{line} {count}: {page}"
        );
    }
    let counted = |name: &str| {
        let lines = page
            .lines()
            .filter(|line| line.contains(r#"client="counted""#));
        lines.filter(|line| line.starts_with(name)).count()
    };
    assert_eq!(
        counted("tower_outbound_renewals_total"),
        2,
        "the first, and after a refusal"
    );
    assert_eq!(counted("tower_outbound_token_replays_total"), 1);
    let times = "tower_outbound_renewal_seconds_bucket";
    assert!(counted(times) > 0, "times are histograms");
    assert_eq!(
        counted("tower_outbound_retry_budget_left"),
        1,
        "gauges are sampled"
    );
    for secret in gateway
        .cloud
        .issued_tokens()
        .iter()
        .map(String::as_str)
        .chain([CLIENT_SECRET])
    {
        assert!(!page.contains(secret));
    }
}
