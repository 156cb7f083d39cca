//! A client that proves itself by its TLS certificate (RFC 8705), over rustls:
//! `cargo run --example mutual_tls`.
//!
//! The certificate is the HTTP client's; the token endpoint only has to know that it is the proof. The
//! server's metadata sends such a client to endpoints that ask for a certificate, and binds the token
//! to the one that it was shown. `server.rs` plays that server, on this machine.

mod server;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials, Metadata},
    origin::Origins,
    token::TokenCache,
    token_refresh::TokenRefreshLayer,
};

use server::{Identity, Server};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::start().await?;
    let known = server.issue_identity("exporter")?;

    let api = api(&server, known).await?;
    for _ in 0..3 {
        let request = Request::get(format!("{}/api", server.api_url())).body(Full::default())?;
        let response = api.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        println!("{status}: {}", String::from_utf8_lossy(&body));
        assert!(status.is_success());
    }
    assert_eq!(server.tokens_granted(), 1);

    // Another certificate of the same authority is another client.
    let stranger = server.issue_identity("stranger")?;
    let error = self::api(&server, stranger)
        .await
        .err()
        .ok_or("it was let in")?;
    println!("a stranger gets no token: {error}");
    Ok(())
}

/// A client of the API that has a token already.
async fn api(
    server: &Server,
    identity: Identity,
) -> Result<
    impl tower::Service<
        Request<Full<Bytes>>,
        Response = http::Response<hyper::body::Incoming>,
        Error = BoxError,
    > + Clone
    + use<>,
    BoxError,
> {
    let http = http_client(server, identity)?;
    let metadata = Metadata::discover(server.issuer(), http.clone()).await?;
    let login = metadata.token_endpoint("exporter", ClientAuth::tls())?;
    let tokens = TokenCache::new(login.grant(ClientCredentials));
    tokens.token().await?;
    let origins = Origins::only([server.api_url()])?;
    Ok(ServiceBuilder::new()
        .layer(TokenRefreshLayer::new(tokens, origins))
        .service(http))
}

/// A client that trusts the server's authority, and shows this certificate when it is asked for one.
fn http_client(
    server: &Server,
    identity: Identity,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(server.authority().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity.certificate], identity.key)?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}
