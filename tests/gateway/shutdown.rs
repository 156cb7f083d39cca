//! The end of a gateway.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpStream;
use tower_outbound::test_util::Listener;

use super::{process::GatewayProcess, setup::Setup};

#[tokio::test]
async fn a_gateway_that_is_stopped_finishes_what_is_under_way_and_takes_nothing_more() {
    let gateway = Setup::new(&[]).await;
    let gate = gateway.cloud.gate(Listener::Api, "*");
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/api/v2/users", gateway.address);
    let call = tokio::spawn(async move {
        let response = http.get(uri.parse().unwrap()).await.unwrap();
        let status = response.status();
        (
            status,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    });
    gate.arrived(1).await;
    let (address, cloud) = (gateway.address, gateway.cloud.clone());
    let serving = gateway.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished() && !serving.is_finished());
    gate.release();
    let (status, body) = call.await.unwrap();
    assert_eq!(status, 200);
    assert!(!body.is_empty());
    serving.await.unwrap().unwrap();
    assert_eq!(cloud.api_calls(), 1);
}

#[test]
fn a_service_manager_ends_a_gateway_that_has_its_account_from_the_environment() {
    let gateway = GatewayProcess::start("http://127.0.0.1:9", "http://127.0.0.1:9/token");
    assert!(gateway.terminate().success());
}
