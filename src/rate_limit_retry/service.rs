use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

use super::{future::ResponseFuture, layer::Settings};
use crate::{ready, replay::ReplayBody};

/// The service that [`RateLimitRetryLayer`](super::RateLimitRetryLayer) makes.
#[derive(Clone, Debug)]
pub struct RateLimitRetry<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> RateLimitRetry<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for RateLimitRetry<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: ReplayBody,
    R: Body,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(
            ready::take(&mut self.inner),
            request,
            Arc::clone(&self.settings),
        )
    }
}
