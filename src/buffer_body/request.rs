use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tower::{BoxError, Layer, Service};

use super::{
    body::{BufferedBody, boxed},
    error::BodyTooLarge,
};
use crate::ready;

/// Reads request bodies into memory, so that the layers below can send them again.
///
/// See the [module](super).
#[derive(Clone, Copy, Debug)]
pub struct BufferBodyLayer {
    limit: usize,
    above_limit: AboveLimit,
}

/// What to do with a body that is larger than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AboveLimit {
    /// The call fails with [`BodyTooLarge`]; nothing is sent.
    #[default]
    Refuse,
    /// The body is sent as it comes, once: no layer below can replay it, and whatever response comes
    /// back is the caller's.
    PassOnce,
}

impl Default for BufferBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl BufferBodyLayer {
    /// Buffers up to 2 MiB, the limit that axum has for requests, and refuses what is larger.
    pub fn new() -> Self {
        Self {
            limit: LIMIT,
            above_limit: AboveLimit::default(),
        }
    }

    /// The largest body that is buffered, in bytes.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// What to do with a body that is larger.
    pub fn above_limit(mut self, above_limit: AboveLimit) -> Self {
        self.above_limit = above_limit;
        self
    }
}

impl<S> Layer<S> for BufferBodyLayer {
    type Service = BufferBody<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BufferBody {
            inner,
            settings: *self,
        }
    }
}

/// The service that [`BufferBodyLayer`] makes.
#[derive(Clone, Debug)]
pub struct BufferBody<S> {
    inner: S,
    settings: BufferBodyLayer,
}

impl<S, B> Service<Request<B>> for BufferBody<S>
where
    S: Service<Request<BufferedBody>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BufferBodyFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        BufferBodyFuture {
            service: ready::take(&mut self.inner),
            state: State::Reading {
                request: Box::pin(read(request, self.settings)),
                is_ready: true,
            },
        }
    }
}

pin_project! {
    /// The future of [`BufferBody`].
    #[must_use = "futures do nothing unless polled"]
    pub struct BufferBodyFuture<S>
    where
        S: Service<Request<BufferedBody>>,
    {
        service: S,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // The body is on its way from the caller.
        Reading { request: ReadRequest, is_ready: bool },
        // It is here; the readiness that the wait for it gave back is asked for again.
        Readying { request: Option<Request<BufferedBody>> },
        Calling { #[pin] response: F },
    }
}

impl<S> Future for BufferBodyFuture<S>
where
    S: Service<Request<BufferedBody>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                // Reading => Readying | Calling | done
                StateProj::Reading { request, is_ready } => match request.as_mut().poll(cx) {
                    Poll::Ready(request) if *is_ready => State::Calling {
                        response: this.service.call(request?),
                    },
                    Poll::Ready(request) => State::Readying {
                        request: Some(request?),
                    },
                    Poll::Pending => {
                        if *is_ready {
                            ready::release(this.service);
                            *is_ready = false;
                        }
                        return Poll::Pending;
                    }
                },

                // Readying => Calling | done
                StateProj::Readying { request } => {
                    ready!(this.service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("a state is left when its request is");
                    State::Calling {
                        response: this.service.call(request),
                    }
                }

                // Calling => done
                StateProj::Calling { response } => return response.poll(cx).map_err(Into::into),
            };
            this.state.set(next);
        }
    }
}

type ReadRequest = Pin<Box<dyn Future<Output = Result<Request<BufferedBody>, BoxError>> + Send>>;

async fn read<B>(
    request: Request<B>,
    settings: BufferBodyLayer,
) -> Result<Request<BufferedBody>, BoxError>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let BufferBodyLayer { limit, above_limit } = settings;
    let (head, body) = request.into_parts();
    let mut is_too_large = body.size_hint().lower() > limit as u64;
    let mut body = boxed(body);
    let mut read = BytesMut::new();
    let mut trailers = None;
    while !is_too_large {
        let Some(frame) = body.frame().await.transpose()? else {
            let body = BufferedBody::buffered(read.freeze(), trailers);
            return Ok(Request::from_parts(head, body));
        };
        match frame.into_data() {
            Ok(data) => {
                read.extend_from_slice(&data);
                is_too_large = read.len() > limit;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    match above_limit {
        AboveLimit::Refuse => Err(BodyTooLarge::new(limit).into()),
        AboveLimit::PassOnce => Ok(Request::from_parts(
            head,
            BufferedBody::one_shot(read.freeze(), body),
        )),
    }
}

/// axum's limit for request bodies.
const LIMIT: usize = 2 * 1024 * 1024;
