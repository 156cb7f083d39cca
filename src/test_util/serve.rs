//! Drive: connections in, answers out.

use std::{
    fmt,
    future::{Future, pending},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{Sleep, sleep},
};

use crate::{
    test_util::{
        Listener,
        answer::Answer,
        api,
        connector::LoopbackIo,
        data,
        gate::Stage,
        log::Entry,
        login,
        received::Received,
        script::{Fate, Reply},
        shared::Shared,
    },
    time,
};

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Door {
    Socket(TcpListener),
    Memory(mpsc::UnboundedReceiver<LoopbackIo>),
}

impl Door {
    /// `None` when nobody can come any more.
    async fn accept(&mut self) -> Option<io::Result<LoopbackIo>> {
        match self {
            Self::Socket(listener) => Some(match listener.accept().await {
                Ok((stream, _)) => LoopbackIo::socket(stream),
                Err(error) => Err(error),
            }),
            Self::Memory(pipes) => pipes.recv().await.map(Ok),
        }
    }
}

/// Serves until it is dropped, and its connections with it.
pub(super) async fn serve(mut door: Door, listener: Listener, cloud: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Some(accepted) = door.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(io) = accepted else {
            // Out of file descriptors, most likely: some of ours may close meanwhile.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        cloud.count_connection(listener);
        let cloud = Arc::clone(&cloud);
        connections.spawn(async move {
            let service = service_fn(|request| handle(Arc::clone(&cloud), listener, request));
            // An error here is a connection that a script cut or that the client left.
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

/// One request. Its log entry comes first, then the gates, the script, the server's own mind, the
/// latency and the way out.
async fn handle(
    cloud: Arc<Shared>,
    listener: Listener,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Cut> {
    let (head, body) = request.into_parts();
    let entry = cloud.log().open(listener, &head, cloud.elapsed());
    let early = cloud
        .scripts()
        .take_early(listener, &head.method, head.uri.path());
    let received = if early.is_some() {
        Received::unread(head)
    } else {
        Received::read(&cloud, entry, head, body).await.ok_or(Cut)?
    };

    pass_gates(&cloud, listener, &received, Stage::BeforeHandling).await;
    let mut reply = early
        .or_else(|| {
            cloud
                .scripts()
                .take(listener, &received.method, received.path())
        })
        .unwrap_or_else(Reply::pass);
    let now = time::now();
    let answer = match reply.answer.take() {
        Some(answer) => {
            if listener == Listener::Login {
                login::adopt(&cloud, &answer, now);
            }
            answer
        }
        None => match listener {
            Listener::Login => login::answer(&cloud, &received, now),
            Listener::Api => api::answer(&cloud, &received, now),
        },
    };

    let knobs = cloud.knobs();
    let latency = match listener {
        Listener::Login => knobs.login_latency,
        Listener::Api => knobs.api_latency,
    };
    let delay = latency.saturating_add(reply.delay);
    if delay > Duration::ZERO {
        sleep(delay).await;
    }
    pass_gates(&cloud, listener, &received, Stage::BeforeAnswer).await;
    send(&cloud, listener, entry, reply, answer).await
}

async fn pass_gates(cloud: &Shared, listener: Listener, request: &Received, stage: Stage) {
    let holds = cloud
        .gates()
        .on_the_way(listener, &request.method, request.path(), stage);
    for hold in holds {
        hold.pass().await;
    }
}

async fn send(
    cloud: &Shared,
    listener: Listener,
    entry: Entry,
    reply: Reply,
    answer: Answer,
) -> Result<Response<AnswerBody>, Cut> {
    let fate = reply.fate;
    let (answer, mut pad) = reply.apply(answer);
    if !answer.status.is_success() {
        pad = pad.max(cloud.knobs().error_padding);
    }
    let (parts, bytes) = answer.render(listener, &data::random_uuid(), pad);
    let body = match fate {
        Fate::Sent => AnswerBody::Whole(Some(bytes)),
        Fate::CutMidBody => AnswerBody::half_of(bytes),
        Fate::Trickled(interval) => AnswerBody::Trickle {
            interval,
            next: Box::pin(sleep(interval)),
        },
        Fate::CutBeforeHead => return Err(Cut),
        Fate::Never => return pending().await,
    };
    cloud
        .log()
        .update(entry, |logged| logged.status = Some(parts.status.as_u16()));
    let mut response = Response::from_parts(parts, body);
    if let AnswerBody::Half { length, .. } = *response.body() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

/// Makes hyper close the connection at once.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection cut")
    }
}

impl std::error::Error for Cut {}

/// The body of an answer, whole or not.
#[derive(Debug)]
enum AnswerBody {
    Whole(Option<Bytes>),
    Half {
        half: Option<Bytes>,
        length: usize,
        flushed: bool,
    },
    Trickle {
        interval: Duration,
        next: Pin<Box<Sleep>>,
    },
}

impl AnswerBody {
    fn half_of(bytes: Bytes) -> Self {
        // At least one byte has to be missing, or the answer would be whole.
        let length = bytes.len().max(1);
        Self::Half {
            half: Some(bytes.slice(..(bytes.len() / 2).min(ONE_FLUSH))),
            length,
            flushed: false,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Half { half, flushed, .. } => {
                if let Some(half) = half.take().filter(|half| !half.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(half))));
                }
                // hyper flushes when a body is not ready and drops what it holds when one fails.
                if !std::mem::replace(flushed, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(Cut)))
            }
            Self::Trickle { interval, next } => {
                ready!(next.as_mut().poll(cx));
                *next = Box::pin(sleep(*interval));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Half { .. } | Self::Trickle { .. } => SizeHint::default(),
        }
    }
}

/// So much fits into any socket or pipe at once: what is sent before a cut has to be out by then.
const ONE_FLUSH: usize = 16 * 1024;
