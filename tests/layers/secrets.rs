//! Nothing prints a secret: not a log at its loudest, not `Debug`, not an error.

use std::{
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_outbound::{
    buffer_body::BufferErrorBodyLayer,
    mark::{Deadline, LimitKey, NoRetry, NoToken, ReplaySafe, ResendCount, Tenant},
    oauth2::ClientCredentials,
    origin::{Origin, Origins},
    outcome::Outcome,
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetryLayer,
    token::{
        Cause, CredentialHeader, ExpiryPolicy, Grant, Secret, TokenCache, TokenError, source_fn,
    },
    token_refresh::TokenRefreshLayer,
};

use crate::probe::{Probe, get, token_layer, tokens};

const SECRETS: [&str; 4] = ["hunter2", "aHVudGVyMg", "aWQ6aHVudGVyMg==", "token-of-gold"];

#[track_caller]
fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

fn credentials() -> ClientCredentials {
    ClientCredentials::new(
        "https://login.example.com/token?key=hunter2",
        "id",
        "hunter2",
    )
    .unwrap()
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

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_at_trace_level_holds_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let tokens = TokenCache::new(credentials().token_source(login()));
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(token_layer(&tokens))
        .layer(BufferErrorBodyLayer::new())
        .service(Probe::statuses(&[200, 401, 429, 503, 401, 200]));
    for _ in 0..20 {
        let _ = api.clone().oneshot(get("/?key=hunter2")).await;
        let elsewhere = Request::get("https://evil.test/?hunter2")
            .body(Bytes::new())
            .unwrap();
        let _ = api.clone().oneshot(elsewhere).await;
        tokio::time::sleep(Duration::from_secs(13)).await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "token renewed",
        "no token",
        "refused the token",
        "sending again",
        "pause",
    ] {
        assert!(
            log.contains(expected),
            "{expected} is missing: the log was not watched"
        );
    }
    assert_no_secret(&log);
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
        Box::new(Grant::new("token-of-gold").expires_in(Duration::MAX)),
        Box::new(credentials()),
        Box::new(credentials().token_source(login())),
        Box::new(cloud.client_credentials("id", "hunter2").unwrap()),
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
    let tokens = TokenCache::new(credentials().token_source(login()));
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
    assert_no_secret(&TokenError::rejected("x").to_string());
    drop(self::tokens());
}
