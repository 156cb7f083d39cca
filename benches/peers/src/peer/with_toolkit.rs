//! The `RetryLayer` of `cf-gears-toolkit-http`, without the client that it comes with.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use toolkit_http::{ExponentialBackoff, HttpError, ResponseBody, RetryConfig, RetryLayer};
use tower::{BoxError, Layer, ServiceExt, util::BoxCloneService};

use super::FIRST_BACKOFF;
use crate::model::server::Server;

type Boxed = BoxCloneService<Request<Bytes>, Response<ResponseBody>, BoxError>;

/// 3 retries, 100 ms to 10 s; a hint above 10 s counts as 10 s.
pub fn defaults(server: Server) -> Boxed {
    retry(server, RetryConfig::default())
}

/// As many retries as it takes others, and no hint of the servers here is cut.
pub fn patient(server: Server) -> Boxed {
    let config = RetryConfig {
        max_retries: 10,
        backoff: ExponentialBackoff::new(FIRST_BACKOFF, Duration::from_secs(60)),
        ..RetryConfig::default()
    };
    retry(server, config)
}

fn retry(server: Server, config: RetryConfig) -> Boxed {
    let wire = server
        .map_request(|request: Request<Full<Bytes>>| request.map(|_| Bytes::new()))
        .map_response(|response: Response<Empty<Bytes>>| {
            response.map(|body| body.map_err(Into::into).boxed())
        })
        .map_err(|never: Infallible| -> HttpError { match never {} });
    RetryLayer::new(config)
        .layer(wire)
        .map_request(|request: Request<Bytes>| request.map(Full::new))
        .map_err(BoxError::from)
        .boxed_clone()
}
