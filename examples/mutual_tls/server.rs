//! An authorization server and an API on this machine, which ask for certificates.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::BoxError;

/// Two listeners: one for everybody, one for those who show a certificate. It stops when it is dropped.
pub(crate) struct Server {
    authority: CertifiedIssuer<'static, KeyPair>,
    issuer: String,
    api_url: String,
    state: Arc<State>,
    _listeners: JoinSet<()>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

#[derive(Default)]
struct State {
    /// The certificate of the client that may log in.
    registered: Mutex<Option<CertificateDer<'static>>>,
    /// Which certificate a token is bound to.
    tokens: Mutex<HashMap<String, CertificateDer<'static>>>,
    granted: AtomicUsize,
    metadata: Mutex<Value>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let identity = issue(&authority, "localhost")?;

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()?;
        let config = |verifier| -> Result<ServerConfig, BoxError> {
            Ok(ServerConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()?
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?)
        };
        let for_all = config(WebPkiClientVerifier::no_client_auth())?;
        let for_certificates = config(verifier)?;

        let state = Arc::<State>::default();
        let mut listeners = JoinSet::new();
        let for_all = serve(&mut listeners, for_all, &state).await?;
        let for_certificates = serve(&mut listeners, for_certificates, &state).await?;
        let (issuer, guarded) = (
            format!("https://localhost:{}", for_all.port()),
            format!("https://localhost:{}", for_certificates.port()),
        );
        *lock(&state.metadata) = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "mtls_endpoint_aliases": {"token_endpoint": format!("{guarded}/token")},
        });
        Ok(Self {
            authority,
            issuer,
            api_url: guarded,
            state,
            _listeners: listeners,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn api_url(&self) -> &str {
        &self.api_url
    }

    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        self.authority.der()
    }

    pub(crate) fn tokens_granted(&self) -> usize {
        self.state.granted.load(Ordering::SeqCst)
    }

    /// A certificate of the server's authority. The first one is the registered client's.
    pub(crate) fn issue_identity(&self, name: &str) -> Result<Identity, BoxError> {
        let identity = issue(&self.authority, name)?;
        lock(&self.state.registered).get_or_insert_with(|| identity.certificate.clone());
        Ok(identity)
    }
}

fn issue(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> Result<Identity, BoxError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, authority)?;
    Ok(Identity {
        certificate: certificate.der().clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

async fn serve(
    tasks: &mut JoinSet<()>,
    config: ServerConfig,
    state: &Arc<State>,
) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (acceptor, state) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(state));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let shown = stream.get_ref().1.peer_certificates();
                let shown = shown.and_then(|chain| chain.first()).cloned();
                let service = service_fn(move |request| {
                    let response = state.answer(&request, shown.as_ref());
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new();
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

impl State {
    fn answer(
        &self,
        request: &Request<Incoming>,
        shown: Option<&CertificateDer<'static>>,
    ) -> Response<Full<Bytes>> {
        match (request.uri().path(), shown) {
            ("/.well-known/oauth-authorization-server", _) => json_of(200, &lock(&self.metadata)),
            ("/token", Some(shown)) => self.grant(shown),
            ("/api", Some(shown)) if self.is_bound(request, shown) => {
                json_of(200, &json!({"hello": "exporter"}))
            }
            ("/api", _) => json_of(401, &json!({"error": "invalid_token"})),
            _ => json_of(400, &json!({"error": "invalid_request"})),
        }
    }

    fn grant(&self, shown: &CertificateDer<'static>) -> Response<Full<Bytes>> {
        if lock(&self.registered).as_ref() != Some(shown) {
            return json_of(401, &json!({"error": "invalid_client"}));
        }
        let count = self.granted.fetch_add(1, Ordering::SeqCst) + 1;
        let token = format!("token-{count}");
        lock(&self.tokens).insert(token.clone(), shown.clone());
        let reply = json!({"access_token": token, "token_type": "Bearer", "expires_in": 60});
        json_of(200, &reply)
    }

    /// Whether the token is one that was granted to who shows this certificate (RFC 8705, section 3).
    fn is_bound(&self, request: &Request<Incoming>, shown: &CertificateDer<'static>) -> bool {
        let header = request.headers().get(header::AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| lock(&self.tokens).get(token) == Some(shown))
    }
}

fn json_of(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
