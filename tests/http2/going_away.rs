//! What a GOAWAY says about a request that was sent before it came. The frames are written by hand:
//! a server of `h2` counts every stream that it has read as one that it takes.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::{
    post, quick_retries,
    tls::{self, Offer},
};

#[tokio::test]
async fn a_post_beyond_the_last_stream_of_a_connection_is_sent_again_on_another() {
    let server = Server::start(0, Reason::NO_ERROR).await;
    let status = server.send(post(&server.url, "{}")).await.unwrap();
    assert_eq!((status, server.answered()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_post_that_a_server_took_before_it_went_away_is_not_sent_again() {
    let server = Server::start(1, Reason::NO_ERROR).await;
    server.send(post(&server.url, "{}")).await.unwrap_err();
    assert_eq!(server.answered(), 0);
}

#[tokio::test]
async fn a_get_that_a_server_took_before_it_went_away_is_sent_again() {
    let server = Server::start(1, Reason::NO_ERROR).await;
    let get = Request::get(&server.url).body(Full::default()).unwrap();
    let status = server.send(get).await.unwrap();
    assert_eq!((status, server.answered()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_post_on_a_connection_that_ended_in_an_error_is_not_sent_again() {
    // Nothing was processed here either, but of such an end h2 tells no last stream.
    let server = Server::start(0, Reason::ENHANCE_YOUR_CALM).await;
    server.send(post(&server.url, "{}")).await.unwrap_err();
    assert_eq!(server.answered(), 0);
}

/// Goes away on its first connection once a request has come, and answers on all others.
struct Server {
    url: String,
    http: tls::HttpClient,
    answered: Arc<AtomicUsize>,
    _listener: JoinSet<()>,
}

impl Server {
    async fn start(last_stream: u32, reason: Reason) -> Self {
        let (certificate, config) = tls::server().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!(
            "https://localhost:{}/",
            listener.local_addr().unwrap().port()
        );
        let answered = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&answered);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                let count = Arc::clone(&count);
                connections.spawn(async move {
                    if number == 0 {
                        go_away(stream, last_stream, reason).await.unwrap();
                    } else {
                        let service = service_fn(|_| {
                            count.fetch_add(1, Ordering::SeqCst);
                            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
                        });
                        let server = http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self {
            url,
            http: tls::client(&certificate, Offer::Http1AndHttp2).unwrap(),
            answered,
            _listener: tasks,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        let api = ServiceBuilder::new()
            .layer(quick_retries())
            .service(self.http.clone());
        Ok(api.oneshot(request).await?.status())
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

/// Reads up to the head of a request, says which stream was the last, and closes the connection.
async fn go_away(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    last_stream: u32,
    reason: Reason,
) -> io::Result<()> {
    stream.read_exact(&mut [0; PREFACE_LENGTH]).await?;
    stream.write_all(&frame(SETTINGS, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if head[3] == HEADERS {
            break;
        }
    }
    let reason = u32::from(reason);
    let payload = [last_stream.to_be_bytes(), reason.to_be_bytes()].concat();
    stream.write_all(&frame(GOAWAY, &payload)).await?;
    stream.shutdown().await?;
    // What is not read when the connection ends would end it with a reset.
    let _ = copy(&mut stream, &mut sink()).await;
    Ok(())
}

/// A frame of the connection itself, without flags (RFC 9113, section 4.1).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
}

const PREFACE_LENGTH: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
