//! The gateway between a program without credentials and a cloud on this machine.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::oneshot;
use tower::BoxError;
use tower_outbound::test_util::{
    CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackConnector, Quota, Reply, Scope,
};

use super::{
    Cli,
    gateway::{Account, Gateway},
    recorder,
};

type Program = hyper_util::client::legacy::Client<LoopbackConnector, Full<Bytes>>;

pub(crate) async fn run() -> Result<(), BoxError> {
    let cloud = LoopbackCloud::builder()
        .configure(|knobs| knobs.quota = Some(QUOTA))
        .start()
        .await?;
    let upstream = format!("genesys={}", cloud.api_url());
    let token_url = format!("genesys={}", cloud.token_url());
    let arguments = ["egress_gateway", "--listen", "127.0.0.1:0"];
    let arguments = arguments.map(str::to_owned).into_iter();
    let arguments = arguments.chain(["--upstream".into(), upstream]);
    let arguments = arguments.chain(["--token-url".into(), token_url]);
    let settings = Cli::try_parse_from(arguments)?.settings;
    let account = |_: Option<&str>| {
        Ok(Account {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.into(),
        })
    };
    let gateway = Gateway::open(&settings, account, recorder::install()?).await?;
    let (address, _) = gateway.addresses()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway.serve(async move { drop(stopped.await) }));
    println!(
        "http://{address}/genesys/… is {}/…, with a token",
        cloud.api_url()
    );

    calls(&cloud, address).await?;

    drop(stop);
    serving.await??;
    println!(
        "the cloud saw {} requests and minted {} tokens; the program saw {CALLS} answers, all 200",
        cloud.api_calls(),
        cloud.mints()
    );
    Ok(())
}

async fn calls(cloud: &LoopbackCloud, address: SocketAddr) -> Result<(), BoxError> {
    let program: Program = cloud.client();
    for number in 1..=CALLS {
        let trouble = match number {
            4 | 12 => {
                cloud.revoke_all();
                ", its token dead"
            }
            8 => {
                let cut = [Reply::cut_before_head()];
                cloud.script(Listener::Api, "GET *", cut);
                ", its connection cut"
            }
            _ => "",
        };
        let before = cloud.api_calls();
        let uri = format!("http://{address}/genesys/api/v2/users?pageSize=1&pageNumber={number}");
        let request = Request::get(uri).body(Full::default())?;
        let status = program.request(request).await?.status();
        let sent = cloud.api_calls() - before;
        println!("call {number:2}{trouble}: {status}, sent {sent} times");
        if status != StatusCode::OK {
            return Err(format!("call {number} was answered {status}").into());
        }
    }
    Ok(())
}

/// Enough for the quota to be used up once.
const CALLS: usize = 16;

const QUOTA: Quota = Quota {
    requests: 7,
    window: Duration::from_secs(2),
    per: Scope::Client,
};
