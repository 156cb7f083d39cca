use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service};

use super::body::into_bytes;

/// Reads the bodies of error responses ahead, for predicates and classifiers above to look at.
///
/// See the [module](super).
#[derive(Clone, Copy, Debug)]
pub struct BufferErrorBodyLayer {
    limit: usize,
    timeout: Duration,
}

impl Default for BufferErrorBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl BufferErrorBodyLayer {
    /// Reads up to 64 KiB, for up to a second, of every 4xx and 5xx response.
    pub fn new() -> Self {
        Self {
            limit: LIMIT,
            timeout: TIMEOUT,
        }
    }

    /// The most that is read ahead, in bytes: 64 KiB by default, far above any error message.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The longest that is waited for it: 1 s by default. An error body comes with its head, or
    /// something is wrong.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl<S> Layer<S> for BufferErrorBodyLayer {
    type Service = BufferErrorBody<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BufferErrorBody {
            inner,
            settings: *self,
        }
    }
}

/// The service that [`BufferErrorBodyLayer`] makes.
#[derive(Clone, Debug)]
pub struct BufferErrorBody<S> {
    inner: S,
    settings: BufferErrorBodyLayer,
}

impl<S, B, R> Service<Request<B>> for BufferErrorBody<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
{
    type Response = Response<ReadAhead<R>>;
    type Error = BoxError;
    type Future = BufferErrorBodyFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = State::Calling {
            response: self.inner.call(request),
        };
        BufferErrorBodyFuture {
            settings: self.settings,
            state,
        }
    }
}

/// The start of an error response's body, as an extension of that response.
///
/// The body itself still has all of it.
#[derive(Clone)]
pub struct ErrorBody {
    bytes: Bytes,
    is_complete: bool,
}

impl ErrorBody {
    /// What was read.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether that is the whole body; not if it was cut off by the limit, the timeout or an error.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of an error may quote the request.
        f.debug_struct("ErrorBody")
            .field("len", &self.bytes.len())
            .field("is_complete", &self.is_complete)
            .finish()
    }
}

pin_project! {
    /// The future of [`BufferErrorBody`].
    #[must_use = "futures do nothing unless polled"]
    pub struct BufferErrorBodyFuture<F, R>
    where
        R: Body,
    {
        settings: BufferErrorBodyLayer,
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R>
    where
        R: Body,
    {
        // Sent.
        Calling { #[pin] response: F },
        // It is an error: its body is on its way.
        Reading { timeout: Pin<Box<Sleep>>, response: Option<Response<Ahead<R>>> },
    }
}

impl<F, E, R> Future for BufferErrorBodyFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: Body,
{
    type Output = Result<Response<ReadAhead<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                // Calling => Reading | done
                StateProj::Calling { response } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    if !is_error(response.status()) {
                        return Poll::Ready(Ok(response.map(ReadAhead::untouched)));
                    }
                    State::Reading {
                        timeout: Box::pin(tokio::time::sleep(this.settings.timeout)),
                        response: Some(response.map(Ahead::new)),
                    }
                }

                // Reading => done
                StateProj::Reading { timeout, response } => {
                    let ahead = response.as_mut().expect(DONE).body_mut();
                    if ahead.poll_fill(this.settings.limit, cx).is_pending() {
                        ready!(timeout.as_mut().poll(cx));
                    }
                    let mut response = response.take().expect(DONE);
                    let error_body = response.body().error_body();
                    response.extensions_mut().insert(error_body);
                    return Poll::Ready(Ok(response.map(ReadAhead::ahead)));
                }
            };
            this.state.set(next);
        }
    }
}

pin_project! {
    /// A response body of which the start may have been read ahead. It yields what the inner body
    /// does, frame by frame.
    pub struct ReadAhead<R>
    where
        R: Body,
    {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<R>
    where
        R: Body,
    {
        Untouched { #[pin] body: R },
        Ahead { ahead: Ahead<R> },
    }
}

impl<R: Body> ReadAhead<R> {
    fn untouched(body: R) -> Self {
        Self {
            kind: Kind::Untouched { body },
        }
    }

    fn ahead(ahead: Ahead<R>) -> Self {
        Self {
            kind: Kind::Ahead { ahead },
        }
    }
}

/// A body, and the frames that were read ahead of it.
struct Ahead<R: Body> {
    frames: VecDeque<Result<Frame<Bytes>, R::Error>>,
    read: usize,
    /// What is still to come; `None` once the body has ended. Boxed, because it is polled before it
    /// is handed on.
    rest: Option<Pin<Box<R>>>,
}

impl<R: Body> Ahead<R> {
    fn new(body: R) -> Self {
        Self {
            frames: VecDeque::new(),
            read: 0,
            rest: Some(Box::pin(body)),
        }
    }

    /// Reads on until the end, an error, or the limit.
    fn poll_fill(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        while self.read <= limit {
            let Some(frame) = ready!(self.poll_rest(cx)) else {
                break;
            };
            let failed = frame.is_err();
            self.read += frame
                .as_ref()
                .ok()
                .and_then(Frame::data_ref)
                .map_or(0, Bytes::len);
            self.frames.push_back(frame);
            if failed {
                break;
            }
        }
        Poll::Ready(())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(rest.as_mut().poll_frame(cx));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
    }

    fn error_body(&self) -> ErrorBody {
        let mut data = self.frames.iter().flatten().filter_map(Frame::data_ref);
        let bytes = match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(whole), None) => whole.clone(),
            (Some(first), Some(second)) => {
                let mut bytes = BytesMut::with_capacity(self.read);
                [first, second]
                    .into_iter()
                    .chain(data)
                    .for_each(|data| bytes.extend_from_slice(data));
                bytes.freeze()
            }
        };
        ErrorBody {
            bytes,
            is_complete: self.rest.is_none(),
        }
    }
}

impl<R: Body> Body for ReadAhead<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project().kind.project() {
            KindProj::Untouched { body } => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
            }
            KindProj::Ahead { ahead } => match ahead.frames.pop_front() {
                Some(frame) => Poll::Ready(Some(frame)),
                None => ahead.poll_rest(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Untouched { body } => body.is_end_stream(),
            Kind::Ahead { ahead } => {
                ahead.frames.is_empty()
                    && ahead.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Untouched { body } => body.size_hint(),
            Kind::Ahead { ahead } => {
                let data = ahead.frames.iter().flatten().filter_map(Frame::data_ref);
                let ready = data.map(|data| data.len() as u64).sum::<u64>();
                let rest = ahead
                    .rest
                    .as_ref()
                    .map_or(SizeHint::with_exact(0), |rest| rest.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(ready));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(ready));
                }
                hint
            }
        }
    }
}

impl<R: Body> fmt::Debug for ReadAhead<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

impl<R: Body> fmt::Debug for Ahead<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

const DONE: &str = "`BufferErrorBodyFuture` polled after completion";

const LIMIT: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(1);
