//! The end of a gateway.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpStream;
use tower_outbound::test_util::Listener;

use super::{
    process::GatewayProcess,
    raw::{RawUpstream, exchange, get, soon},
    setup::{Setup, cloud},
};

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
    soon(refused(address)).await;
    assert!(!call.is_finished() && !serving.is_finished());
    gate.release();
    let (status, body) = call.await.unwrap();
    assert_eq!(status, 200);
    assert!(!body.is_empty());
    serving.await.unwrap().unwrap();
    assert_eq!(cloud.api_calls(), 1);
}

#[tokio::test]
async fn a_service_manager_ends_a_gateway_that_has_answered_what_is_under_way() {
    let (upstream, cloud) = (RawUpstream::start().await, cloud().await);
    let gateway = GatewayProcess::start(&upstream.origin(), &cloud.token_url());
    let address = gateway.address();
    let call = tokio::spawn(async move { exchange(address, &get("/x", "localhost")).await });
    let mut connection = upstream.accept().await;
    gateway.terminate();
    soon(refused(address)).await;
    // A gateway that finishes nothing is gone by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection
        .write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .await;
    let answer = call.await.unwrap();
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
    assert!(gateway.ended().await.success());
}

/// Waits until nobody listens there.
async fn refused(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
