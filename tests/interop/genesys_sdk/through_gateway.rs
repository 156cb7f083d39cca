use std::{collections::HashSet, time::Duration};

use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::oneshot;
use tower_outbound::test_util::{
    CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Quota, Reply, Scope,
};

use super::{INTERVAL, is_all_there_is, run};
use crate::gateway::{Account, Gateway, Settings};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

#[tokio::test]
#[ignore = "needs the SDK; .ci/run installs what it needs"]
async fn the_official_sdk_needs_no_credentials_behind_the_egress_gateway() {
    let quota = Quota {
        requests: 2,
        window: Duration::from_secs(1),
        per: Scope::Client,
    };
    let cloud = LoopbackCloud::builder().configure(|knobs| knobs.quota = Some(quota));
    let cloud = cloud.start().await.unwrap();
    let dead = || [Reply::pass(), Reply::credentials_expired()];
    let query = "POST /api/v2/analytics/conversations/details/query";
    cloud.script(Listener::Api, "GET /api/v2/users", dead());
    cloud.script(Listener::Api, query, dead());
    // It is a POST, of which the gateway does not know that it may be sent twice: 401 and 429 are no
    // reason to ask.
    let arguments = [
        "egress_gateway",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        cloud.api_url(),
        "--token-url",
        &cloud.token_url(),
    ];
    let settings = Cli::parse_from(arguments).settings;
    let account = |_: Option<&str>| {
        Ok(Account {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.into(),
        })
    };
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let gateway = Gateway::open(&settings, account, metrics).await.unwrap();
    let port = gateway.addresses().unwrap().0.port().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway.serve(async { drop(stopped.await) }));

    let said = run("bare_calls.py", &[&port, INTERVAL]).await;

    drop(stop);
    serving.await.unwrap().unwrap();
    is_all_there_is(&said, &cloud);
    assert_eq!(cloud.mints(), 3, "the first, and one for each that died");
    let log = cloud.log();
    let seen: HashSet<_> = log.iter().filter_map(|request| request.status).collect();
    assert_eq!(seen, HashSet::from([200, 401, 429]));
}
