//! `reqwest-retry` over `reqwest-middleware`, and at the end, in place of a network, the server.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Extensions, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};
use tower::{BoxError, ServiceExt, util::BoxCloneService};

use crate::model::server::Server;

/// With its default backoff: full jitter from 1 s to 30 min. It reads no hints.
pub fn retry(
    server: Server,
    retries: u32,
) -> BoxCloneService<http::Request<Bytes>, Response<reqwest::Body>, BoxError> {
    let policy = ExponentialBackoff::builder().build_with_max_retries(retries);
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(RetryTransientMiddleware::new_with_policy(policy))
        .with(Wire(server))
        .build();
    BoxCloneService::new(tower::service_fn(move |request| {
        send(client.clone(), request)
    }))
}

async fn send(
    client: ClientWithMiddleware,
    request: http::Request<Bytes>,
) -> Result<Response<reqwest::Body>, BoxError> {
    let response = client.execute(request.try_into()?).await?;
    Ok(response.into())
}

/// Answers as the server does.
struct Wire(Server);

#[async_trait]
impl Middleware for Wire {
    async fn handle(
        &self,
        _: reqwest::Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> Result<reqwest::Response, Error> {
        let Ok(response) = self
            .0
            .clone()
            .oneshot(http::Request::new(Bytes::new()))
            .await;
        Ok(response.map(|_| "").into())
    }
}
