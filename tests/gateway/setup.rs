use std::{net::SocketAddr, sync::OnceLock};

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::oneshot, task::JoinHandle};
use tower_outbound::test_util::{
    CLIENT_ID, CLIENT_SECRET, Listener, LoggedRequest, LoopbackCloud, LoopbackConnector,
};

use super::{
    gateway::{Account, Gateway, Settings},
    raw::soon,
    recorder,
};

/// A gateway in front of a cloud, or of another upstream with the cloud's tokens.
pub struct Setup {
    pub cloud: LoopbackCloud,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    http: Client<LoopbackConnector, Full<Bytes>>,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

impl Setup {
    /// All paths are those of the cloud.
    pub async fn new(options: &[&str]) -> Self {
        let cloud = cloud().await;
        let upstream = cloud.api_url().to_owned();
        Self::before(cloud, &upstream, options).await
    }

    /// All paths are those of this upstream.
    pub async fn before(cloud: LoopbackCloud, upstream: &str, options: &[&str]) -> Self {
        let token_url = cloud.token_url();
        let upstream = ["--upstream", upstream, "--token-url", &token_url];
        let options = [&upstream, options].concat();
        Self::with_secret(cloud, CLIENT_SECRET, &options).await
    }

    pub async fn with_secret(cloud: LoopbackCloud, secret: &str, options: &[&str]) -> Self {
        let gateway = open(secret, options).await.expect("it can be set up");
        let (address, admin) = gateway.addresses().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            address,
            admin,
            stop,
            serving: tokio::spawn(gateway.serve(async { drop(stopped.await) })),
            http: cloud.client(),
            cloud,
        }
    }

    pub fn request(&self, method: &str, target: &str) -> request::Builder {
        let uri = format!("http://{}{target}", self.address);
        Request::builder().method(method).uri(uri)
    }

    /// The answer as soon as it begins.
    pub async fn begin(
        &self,
        request: request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let request = request.body(Full::new(body.into())).unwrap();
        soon(self.http.request(request))
            .await
            .expect("the gateway answers")
    }

    pub async fn send_with(
        &self,
        request: request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let (head, body) = self.begin(request, body).await.into_parts();
        let body = soon(body.collect())
            .await
            .expect("all of the answer")
            .to_bytes();
        Response::from_parts(head, body)
    }

    pub async fn send(&self, request: request::Builder) -> Response<Bytes> {
        self.send_with(request, "").await
    }

    pub async fn get(&self, target: &str) -> Response<Bytes> {
        self.send(self.request("GET", target)).await
    }

    /// What the upstream has seen.
    pub fn api_log(&self) -> Vec<LoggedRequest> {
        let log = self.cloud.log().into_iter();
        log.filter(|request| request.listener == Listener::Api)
            .collect()
    }

    /// Says that the gateway shall end; what comes back waits until it has.
    pub fn stop(self) -> JoinHandle<std::io::Result<()>> {
        drop(self.stop);
        self.serving
    }
}

/// Whether these options can be, with any account.
pub async fn open(secret: &str, options: &[&str]) -> Result<Gateway, String> {
    let settings = settings(options)?;
    let account = |_: Option<&str>| {
        Ok(Account {
            client_id: CLIENT_ID.to_owned(),
            client_secret: secret.into(),
        })
    };
    let gateway = Gateway::open(&settings, account, metrics()).await;
    gateway.map_err(|error| error.to_string())
}

/// What the command line makes of these options.
pub fn settings(options: &[&str]) -> Result<Settings, String> {
    let ours = ["egress_gateway", "--listen", "127.0.0.1:0"];
    let cli = Cli::try_parse_from(ours.iter().chain(options));
    cli.map(|cli| cli.settings)
        .map_err(|error| error.to_string())
}

/// What all gateways of this program count, together.
pub fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| recorder::install().unwrap()).clone()
}

/// One without a quota: tests that need a limit script it.
pub async fn cloud() -> LoopbackCloud {
    let cloud = LoopbackCloud::builder().configure(|knobs| knobs.quota = None);
    cloud.start().await.expect("ports are free")
}

/// What the gateway itself said, after a look that it says it properly.
pub fn failure(response: &Response<Bytes>) -> (u16, String) {
    let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
    let code = body["error"]["code"].as_str().expect("a code");
    assert_eq!(response.headers()["outbound-error"], code);
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    (response.status().as_u16(), code.to_owned())
}
