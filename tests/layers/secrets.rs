//! Nothing prints a secret: not `Debug`, not an error. (Logs are searched in a program of their own.)

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, service_fn};
use tower_outbound::{
    mark::{Deadline, LimitKey, NoRetry, NoToken, ReplaySafe, ResendCount, Tenant},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint, TokenRequest},
    origin::{Origin, Origins},
    outcome::Outcome,
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetryLayer,
    token::{Cause, CredentialHeader, ExpiryPolicy, Grant, Secret, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

const SECRETS: [&str; 4] = ["hunter2", "aHVudGVyMg", "aWQ6aHVudGVyMg==", "token-of-gold"];

#[track_caller]
fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

fn endpoint() -> TokenEndpoint {
    let url = "https://login.example.com/token?key=hunter2";
    TokenEndpoint::new(url, "id", ClientAuth::basic("hunter2"), login()).unwrap()
}

fn request() -> TokenRequest {
    endpoint()
        .grant(ClientCredentials)
        .parameter("assertion", "hunter2")
}

/// An authorization server that grants, rejects, answers nonsense, and fails, in turn.
fn login() -> impl tower::Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let asked = Arc::new(Mutex::new(0));
    service_fn(move |_: Request<Full<Bytes>>| {
        let mut count = asked.lock().unwrap();
        *count += 1;
        let (status, body) = match *count % 4 {
            1 => (200, r#"{"access_token":"token-of-gold","expires_in":100}"#),
            2 => (
                400,
                r#"{"error":"invalid_client","error_description":"who is id?"}"#,
            ),
            3 => (200, "<html>token-of-gold</html>"),
            _ => (503, "token-of-gold"),
        };
        let response = Response::builder().status(status).body(Full::from(body));
        async { Ok(response?) }
    })
}

#[tokio::test(start_paused = true)]
async fn no_public_type_prints_a_secret() {
    let tokens = TokenCache::new(source_fn(|_| async { Ok(Grant::new("token-of-gold")) }));
    let token = tokens.token().await.unwrap();
    let layer = TokenRefreshLayer::new(tokens.clone(), Origins::any());
    let cloud = GenesysCloud::new("mypurecloud.ie").unwrap();
    let everything: Vec<Box<dyn Debug>> = vec![
        Box::new(tokens),
        Box::new(token),
        Box::new(layer.layer(())),
        Box::new(layer),
        Box::new(TokenCache::builder()),
        Box::new(Secret::new("hunter2")),
        Box::new(Grant::new("token-of-gold").refresh_token("hunter2")),
        Box::new(endpoint()),
        Box::new(request()),
        Box::new(
            cloud
                .token_endpoint("id", ClientAuth::body("hunter2"), login())
                .unwrap(),
        ),
        Box::new(cloud),
        Box::new(RateLimitRetryLayer::new().layer(())),
        Box::new(RateLimitRetryLayer::new()),
        Box::new((
            ExpiryPolicy::default(),
            CredentialHeader::default(),
            Cause::FirstUse,
        )),
        Box::new((Origins::any(), "https://a.test".parse::<Origin>().unwrap())),
        Box::new((
            ReplaySafe,
            NoRetry,
            NoToken,
            Deadline::within(Duration::ZERO),
        )),
        Box::new((
            Tenant::new("a"),
            LimitKey::new("b"),
            ResendCount(1),
            Outcome::default(),
        )),
    ];
    for value in everything {
        assert_no_secret(&format!("{value:?} {value:#?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn no_error_prints_a_secret() {
    let tokens = TokenCache::new(request());
    let mut errors = 0;
    for _ in 0..30 {
        if let Err(error) = tokens.renew().await {
            errors += 1;
            let mut text = format!("{error} {error:?}");
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(error) = cause {
                text += &format!("{error} {error:?}");
                cause = error.source();
            }
            assert_no_secret(&text);
            assert!(text.contains("https://login.example.com/token"), "{text}");
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert!(errors > 5, "{errors}");
}
