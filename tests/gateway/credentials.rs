//! Whose credential a request carries.

use super::setup::Setup;

#[tokio::test]
async fn a_request_without_a_credential_worth_the_name_gets_the_gateways() {
    let gateway = Setup::new(&[]).await;
    for own in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer None"),
        Some("bearer null"),
    ] {
        let request = gateway.request("GET", "/api/v2/users");
        let request = own
            .into_iter()
            .fold(request, |request, own| request.header("authorization", own));
        assert_eq!(gateway.send(request).await.status(), 200, "{own:?}");
    }
    let token = gateway.cloud.issued_tokens().remove(0);
    for request in gateway.api_log() {
        let headers = request
            .headers
            .iter()
            .filter(|(name, _)| *name == "authorization");
        let values: Vec<_> = headers.map(|(_, value)| value.clone()).collect();
        assert_eq!(values, [format!("Bearer {token}").as_str()]);
    }
}

#[tokio::test]
async fn a_program_with_a_credential_keeps_it_and_its_401_costs_the_gateway_nothing() {
    let gateway = Setup::new(&[]).await;
    for own in ["Bearer of-the-program", "a-key-without-a-scheme"] {
        gateway.cloud.clear_log();
        let request = gateway.request("GET", "/api/v2/users");
        let response = gateway.send(request.header("authorization", own)).await;
        assert_eq!(response.status(), 401);
        assert!(
            !response.headers().contains_key("outbound-error"),
            "it is the upstream's answer"
        );
        let log = gateway.cloud.log();
        assert_eq!(
            log.len(),
            1,
            "no token was asked for, and nothing sent again"
        );
        assert_eq!(log[0].header("authorization"), Some(own));
    }
}

#[tokio::test]
async fn each_upstream_gets_the_token_of_its_own_account() {
    let (one, other) = (super::setup::cloud().await, super::setup::cloud().await);
    let options = [("one", &one), ("other", &other)].map(|(name, cloud)| {
        let (api, token) = (cloud.api_url(), cloud.token_url());
        [
            "--upstream".into(),
            format!("{name}={api}"),
            "--token-url".into(),
            format!("{name}={token}"),
        ]
    });
    let options: Vec<_> = options.as_flattened().iter().map(String::as_str).collect();
    let secret = tower_outbound::test_util::CLIENT_SECRET;
    let gateway = Setup::with_secret(one.clone(), secret, &options).await;
    for (path, cloud) in [("/one/api/v2/users", &one), ("/other/api/v2/users", &other)] {
        assert_eq!(gateway.get(path).await.status(), 200);
        assert_eq!((cloud.mints(), cloud.api_calls()), (1, 1));
    }
}
