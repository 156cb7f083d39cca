//! A log at its loudest holds no secret.
//!
//! In a program of its own: which events are listened to is decided once for all threads.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    buffer_body::BufferErrorBodyLayer,
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply},
    token::TokenCache,
};

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
async fn a_log_at_trace_level_tells_what_happened_and_holds_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let cloud = LoopbackCloud::builder().start_in_memory();
    let http = cloud.client::<Full<Bytes>>();
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).unwrap();
    let endpoint = genesys
        .token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())
        .unwrap();
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(genesys.token_refresh(tokens))
        .layer(BufferErrorBodyLayer::new())
        .service(http);

    let get = |uri: String| Request::get(uri).body(Full::default()).unwrap();
    let secret = || get(format!("{}/x?key=hunter2", cloud.api_url()));

    // One that comes while another waits as it was told.
    let pause = Reply::too_many_requests(Some("3"));
    cloud.script(Listener::Api, "*", [pause.clone()]);
    let late = async {
        sleep(Duration::from_secs(1)).await;
        api.clone().oneshot(secret()).await
    };
    let (refused, held) = tokio::join!(api.clone().oneshot(secret()), late);
    assert!(refused.is_ok() && held.is_ok());

    cloud.script(
        Listener::Api,
        "*",
        [
            Reply::pass(),
            Reply::unauthorized(),
            pause,
            Reply::service_unavailable(None),
            Reply::cut_before_head(),
            Reply::daily_limit(),
        ],
    );
    for round in 0..10 {
        let _ = api.clone().oneshot(secret()).await;
        // The token is not meant for the other server.
        let _ = api
            .clone()
            .oneshot(get(format!("{}/?key=hunter2", cloud.login_url())))
            .await;
        if round == 5 {
            cloud.script(Listener::Login, "*", [Reply::invalid_client()]);
            cloud.revoke_all();
        }
        sleep(Duration::from_secs(20)).await;
    }

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "asking for a token",
        "token renewed",
        "the server refused the token",
        "replaying with a token",
        "refused by a limit",
        "waiting for its turn",
        "to be sent again",
        "not sending again",
        "no token attached",
        "no token",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in the log");
    }
    let mut secrets = cloud.issued_tokens();
    secrets.extend([CLIENT_SECRET.to_owned(), "hunter2".to_owned()]);
    assert!(secrets.len() > 3);
    for line in text.lines().filter(|line| line.contains("tower_outbound")) {
        for secret in &secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}
