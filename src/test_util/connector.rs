use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc::UnboundedSender,
};
use tower::Service;

use crate::test_util::Listener;

/// Connects a hyper client to the loopback servers, over sockets or in memory as they were
/// started. Made by [`LoopbackCloud::connector`](crate::test_util::LoopbackCloud::connector).
///
/// In memory it knows only the hosts of the two base URLs. Over sockets it connects to any host.
/// It does not keep the servers alive: without them it fails with "connection refused".
#[derive(Clone)]
pub struct LoopbackConnector(Way);

#[derive(Clone)]
enum Way {
    Sockets,
    Memory {
        login: UnboundedSender<LoopbackIo>,
        api: UnboundedSender<LoopbackIo>,
    },
}

impl LoopbackConnector {
    pub(super) fn sockets() -> Self {
        Self(Way::Sockets)
    }

    pub(super) fn memory(
        login: UnboundedSender<LoopbackIo>,
        api: UnboundedSender<LoopbackIo>,
    ) -> Self {
        Self(Way::Memory { login, api })
    }
}

impl Service<Uri> for LoopbackConnector {
    type Response = LoopbackIo;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<LoopbackIo>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let way = self.0.clone();
        Box::pin(async move {
            // A URI holds an IPv6 address in brackets, a resolver does not want them.
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            match way {
                Way::Sockets => {
                    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
                    LoopbackIo::socket(stream)
                }
                Way::Memory { login, api } => {
                    let server = match Listener::by_host(host) {
                        Some(Listener::Login) => login,
                        Some(Listener::Api) => api,
                        None => return Err(refused(format!("no loopback server is {host:?}"))),
                    };
                    let (ours, theirs) = duplex(PIPE_SIZE);
                    server
                        .send(LoopbackIo::pipe(theirs))
                        .map_err(|_| refused("the loopback servers are gone".to_owned()))?;
                    Ok(LoopbackIo::pipe(ours))
                }
            }
        })
    }
}

impl fmt::Debug for LoopbackConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.0 {
            Way::Sockets => "sockets",
            Way::Memory { .. } => "memory",
        };
        f.debug_tuple("LoopbackConnector").field(&way).finish()
    }
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, message)
}

/// A connection of [`LoopbackConnector`].
#[derive(Debug)]
pub struct LoopbackIo(Stream);

#[derive(Debug)]
enum Stream {
    Socket(TokioIo<TcpStream>),
    Pipe(TokioIo<DuplexStream>),
}

impl LoopbackIo {
    pub(super) fn socket(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(Stream::Socket(TokioIo::new(stream))))
    }

    fn pipe(stream: DuplexStream) -> Self {
        Self(Stream::Pipe(TokioIo::new(stream)))
    }
}

impl Connection for LoopbackIo {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for LoopbackIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Socket(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Pipe(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for LoopbackIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Socket(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Pipe(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Socket(io) => Pin::new(io).poll_flush(cx),
            Stream::Pipe(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Socket(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Pipe(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Stream::Socket(io) => io.is_write_vectored(),
            Stream::Pipe(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Socket(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Pipe(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }
}

/// As much as a socket's buffer is likely to hold.
const PIPE_SIZE: usize = 64 * 1024;
