//! The end of a gateway, and what is beside the upstreams' paths.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpStream;
use tower_outbound::test_util::Listener;

use super::setup::Setup;

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

#[tokio::test]
async fn health_is_on_a_listener_of_its_own_and_the_path_stays_the_upstreams() {
    let gateway = Setup::new(&["--admin", "127.0.0.1:0"]).await;
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/healthz", gateway.admin.unwrap());
    let response = http.get(uri.parse().unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.cloud.api_calls(), 0);
    assert_eq!(gateway.get("/healthz").await.status(), 404);
    assert_eq!(gateway.cloud.api_calls_to("GET /healthz"), 1);
}
