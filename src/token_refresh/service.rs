use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

use super::{future::ResponseFuture, layer::Settings};
use crate::{ready, replay::ReplayBody};

/// The service that [`TokenRefreshLayer`](super::TokenRefreshLayer) makes.
#[derive(Clone, Debug)]
pub struct TokenRefresh<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> TokenRefresh<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for TokenRefresh<S>
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
        let settings = match &self.settings.tenants {
            None => Arc::clone(&self.settings),
            Some(tenants) => tenants.settings(&request, &self.settings),
        };
        ResponseFuture::new(ready::take(&mut self.inner), request, settings)
    }
}
