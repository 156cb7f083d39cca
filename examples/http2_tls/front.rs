//! A server on this machine that speaks TLS, and passes on what it gets to a loopback cloud: as a
//! load balancer does in front of an API.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::BoxError;
use tower_outbound::test_util::{LoopbackCloud, LoopbackConnector};

use crate::tls::{self, HttpClient, Offer};

/// It stops when it is dropped.
pub(crate) struct Front {
    url: String,
    certificate: CertificateDer<'static>,
    shared: Arc<Shared>,
    _listener: JoinSet<()>,
}

struct Shared {
    cloud: Client<LoopbackConnector, Full<Bytes>>,
    login_url: String,
    api_url: String,
    connections: AtomicUsize,
    /// How the streams that come next are reset, in place of being passed on.
    resets: Mutex<Vec<h2::Reason>>,
}

impl Front {
    pub(crate) async fn start(cloud: &LoopbackCloud) -> Result<Self, BoxError> {
        let (certificate, config) = tls::server()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let shared = Arc::new(Shared {
            cloud: cloud.client(),
            login_url: cloud.login_url().to_owned(),
            api_url: cloud.api_url().to_owned(),
            connections: AtomicUsize::new(0),
            resets: Mutex::default(),
        });
        let (acceptor, for_all) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&for_all)));
            }
        });
        Ok(Self {
            url,
            certificate,
            shared,
            _listener: tasks,
        })
    }

    /// Its base URL, under which are the paths of the cloud's two servers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.url)
    }

    /// A client that trusts it.
    pub(crate) fn client(&self, offer: Offer) -> Result<HttpClient, BoxError> {
        tls::client(&self.certificate, offer)
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Resets so many of the streams that come next; over HTTP/1.1 the connection is closed.
    pub(crate) fn reset(&self, count: usize, reason: h2::Reason) {
        self.shared.resets().extend(vec![reason; count]);
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| Arc::clone(&shared).pass_on(request));
    let stream = TokioIo::new(stream);
    // An error is a connection that its client has left.
    let _ = if is_http2 {
        let server = http2::Builder::new(TokioExecutor::new());
        server.serve_connection(stream, service).await
    } else {
        http1::Builder::new()
            .serve_connection(stream, service)
            .await
    };
}

impl Shared {
    fn resets(&self) -> std::sync::MutexGuard<'_, Vec<h2::Reason>> {
        self.resets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        if let Some(reason) = self.resets().pop() {
            // hyper's server finds it, and resets the stream with it.
            return Err(h2::Error::from(reason).into());
        }
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let server = if target == TOKEN_PATH {
            &self.login_url
        } else {
            &self.api_url
        };
        head.uri = format!("{server}{target}").parse::<Uri>()?;
        head.version = http::Version::HTTP_11;
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(head, Full::new(body));
        let (mut head, body) = self.cloud.request(request).await?.into_parts();
        head.version = http::Version::default();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

const TOKEN_PATH: &str = "/oauth/token";
