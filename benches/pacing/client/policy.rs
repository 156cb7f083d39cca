//! Retry policies that see one request at a time, as most libraries have them.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::{BoxError, Service, ServiceExt};

use crate::model::server::Server;

/// A policy in front of a server.
#[derive(Clone)]
pub struct Retrying {
    server: Server,
    policy: Policy,
}

#[derive(Clone, Copy, Debug)]
pub enum Policy {
    /// Waits as it is told, or a second, for ever.
    WaitAndLoop,
    /// Full jitter, whatever the server says.
    Jitter { attempts: u32 },
    /// As it is told, or else full jitter.
    RetryAfter { attempts: u32 },
}

impl Retrying {
    pub fn new(server: Server, policy: Policy) -> Self {
        Self { server, policy }
    }
}

impl Policy {
    /// How long to wait after so many attempts, or `None` to give up.
    fn next(self, attempts: u32, hint: Option<Duration>) -> Option<Duration> {
        let (most, hint) = match self {
            Policy::WaitAndLoop => return Some(hint.unwrap_or(Duration::from_secs(1))),
            Policy::Jitter { attempts } => (attempts, None),
            Policy::RetryAfter { attempts } => (attempts, hint),
        };
        (attempts < most).then(|| hint.unwrap_or_else(|| full_jitter(attempts - 1)))
    }
}

impl Service<Request<Bytes>> for Retrying {
    type Response = Response<http_body_util::Empty<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self { mut server, policy } = self.clone();
        Box::pin(async move {
            let mut attempts = 0;
            loop {
                let response = server.ready().await?.call(request.clone()).await?;
                attempts += 1;
                if !may_pass(response.status()) {
                    return Ok(response);
                }
                match policy.next(attempts, retry_after(&response)) {
                    Some(wait) => sleep(wait).await,
                    None => return Ok(response),
                }
            }
        })
    }
}

/// Whether trying again might help.
pub fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503)
}

/// A number of seconds, or a date and the server's own.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    tower_outbound::header::retry_after(response.headers(), std::time::UNIX_EPOCH)
}

/// From 1 s to 20 s: the numbers of the AWS clients for throttling.
pub fn full_jitter(retry: u32) -> Duration {
    let ceiling = 2_f64.powi(retry.min(10) as i32).min(20.0);
    Duration::from_secs_f64(ceiling * fastrand::f64())
}
