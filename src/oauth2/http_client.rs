use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tower::{BoxError, Service, ServiceExt};

/// The user's HTTP client, its types erased.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<dyn Fn(Request<Bytes>) -> Exchange + Send + Sync>);

type Exchange = Pin<Box<dyn Future<Output = Result<Reply, BoxError>> + Send>>;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpClient {
    pub(crate) fn new<S, B, R>(service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        // A service need not be `Sync`; the lock is held to clone it, never over a request.
        let service = Mutex::new(service);
        Self(Arc::new(move |request| {
            let service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::pin(async move {
                let response = service
                    .oneshot(request.map(B::from))
                    .await
                    .map_err(Into::into)?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, MAX_REPLY).collect().await?.to_bytes();
                Ok(Reply {
                    status: head.status,
                    headers: head.headers,
                    body,
                })
            })
        }))
    }

    /// Sends a request, and reads the response to its end.
    ///
    /// Redirects are not followed: the request may carry the client's secret.
    pub(crate) fn exchange(&self, request: Request<Bytes>) -> Exchange {
        (self.0)(request)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A token reply is a few kilobytes; a proxy's page may be more.
const MAX_REPLY: usize = 1024 * 1024;
