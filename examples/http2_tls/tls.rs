//! A certificate that this program makes for itself, and a client that trusts it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rcgen::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tower::BoxError;

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What the client offers in the handshake (ALPN). The server takes HTTP/2 if it can.
///
/// A client that offers both learns only from the first connection that one is enough: calls that
/// begin before that make a connection each, and all but one are dropped. Where it is known that
/// the server speaks HTTP/2, offer nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    Http1AndHttp2,
    Http2,
}

/// A certificate for `localhost`, and the settings of a server that shows it.
pub(crate) fn server() -> Result<(CertificateDer<'static>, ServerConfig), BoxError> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((cert.der().clone(), config))
}

/// A client that trusts this certificate alone.
pub(crate) fn client(
    trusted: &CertificateDer<'static>,
    offer: Offer,
) -> Result<HttpClient, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only();
    let connector = match offer {
        Offer::Http1 => builder.enable_http1().build(),
        Offer::Http1AndHttp2 => builder.enable_all_versions().build(),
        Offer::Http2 => builder.enable_http2().build(),
    };
    Ok(Client::builder(TokioExecutor::new())
        .http2_only(offer == Offer::Http2)
        .build(connector))
}
