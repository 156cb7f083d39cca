//! The stack, and what is called through it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    buffer_body::{BufferErrorBody, BufferErrorBodyLayer, ErrorBody},
    mark::ReplaySafe,
    outcome::Outcome,
    pages::{BodyPaging, Page, PageError, Pages},
    preset::GenesysCloud,
    rate_limit_retry::{Pacer, RateLimitRetry},
    token::{TokenCache, TokenError},
    token_refresh::TokenRefresh,
};

/// hyper-util's client, over TLS or (on loopback) without.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(crate) fn http_client() -> HttpClient {
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// The API of Genesys Cloud, as far as this program uses it.
pub(crate) struct Api {
    stack: RateLimitRetry<TokenRefresh<BufferErrorBody<HttpClient>>>,
    url: String,
    /// What holds the calls back; kept to be looked at.
    pub(crate) pacer: Arc<Pacer>,
}

impl Api {
    pub(crate) fn new(cloud: &GenesysCloud, tokens: TokenCache, http: HttpClient) -> Self {
        // A bulk job: what is under way when the quota ends is refused, so it begins with few.
        let pacer = Arc::new(Pacer::new().gentle_start(8));
        let stack = ServiceBuilder::new()
            // Outermost: what is sent again after a wait gets the token of that time.
            .layer(cloud.rate_limit_retry().pacer(Arc::clone(&pacer)))
            .layer(cloud.token_refresh(tokens))
            // Lets the layers above tell one 401 or 504 from another, and us say what was wrong.
            .layer(BufferErrorBodyLayer::new())
            .service(http);
        let url = cloud.api_url().to_owned();
        Self { stack, url, pacer }
    }

    /// The pages of the conversations of an interval; the last one is empty.
    pub(crate) fn pages(
        &self,
        interval: &str,
    ) -> Result<impl Stream<Item = Result<Page, PageError>>, BoxError> {
        let query = json!({
            "interval": interval,
            "order": "asc",
            "orderBy": "conversationStart",
            "paging": {"pageSize": PAGE_SIZE, "pageNumber": 1},
        });
        let url = format!("{}/api/v2/analytics/conversations/details/query", self.url);
        let first = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            // A POST that only reads: it may be sent again whatever became of the first time.
            .extension(ReplaySafe)
            .body(query.to_string().into())?;
        let paging = BodyPaging::items_at("/conversations");
        Ok(Pages::new(self.stack.clone(), first, paging).stream())
    }

    /// The details of a conversation, as JSON.
    pub(crate) async fn details(&self, id: &str) -> Result<(Bytes, Outcome), BoxError> {
        let url = format!("{}/api/v2/analytics/conversations/{id}/details", self.url);
        let request = Request::get(url).body(Full::default())?;
        Ok(self.call(request).await?)
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<(Bytes, Outcome), CallError> {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = self.answer(request).await;
        answer.map_err(|source| CallError { what, source })
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<(Bytes, Outcome), BoxError> {
        let response = self.stack.clone().oneshot(request).await?;
        let outcome = Outcome::of(&response);
        if response.status() != StatusCode::OK {
            return Err(Failed {
                status: response.status(),
                said: said(response.extensions().get()),
                correlation_id: correlation_id(response.headers()),
                done: done(&outcome),
                renewal: TokenError::of(&response).cloned(),
            }
            .into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        Ok((body, outcome))
    }
}

/// Which call did not succeed.
#[derive(Debug, Error)]
#[error("{what} did not succeed")]
pub(crate) struct CallError {
    what: String,
    source: BoxError,
}

/// The answer of a server to a call, after all that the layers could do for it.
#[derive(Debug, Error)]
#[error("{status}, {said} (correlation id {correlation_id}); {done}")]
struct Failed {
    status: StatusCode,
    said: String,
    correlation_id: String,
    done: String,
    /// Why the token was not renewed, if it was refused.
    #[source]
    renewal: Option<TokenError>,
}

/// What the layers did about a call, and why they did not go on.
fn done(outcome: &Outcome) -> String {
    let requests = u64::from(outcome.resends) + 1;
    match outcome.stopped {
        Some(reason) => format!("requests sent: {requests}, and no more because of {reason:?}"),
        None => format!("requests sent: {requests}"),
    }
}

/// The message of an error body.
fn said(body: Option<&ErrorBody>) -> String {
    let body = body.map(|body| serde_json::from_slice::<Value>(body.bytes()));
    let message = body.and_then(Result::ok);
    let message = message.as_ref().and_then(|body| body["message"].as_str());
    message.unwrap_or("without a message").to_owned()
}

/// What Genesys' support asks for.
fn correlation_id(headers: &HeaderMap) -> String {
    let id = headers.get("inin-correlation-id");
    let id = id.and_then(|id| id.to_str().ok());
    id.unwrap_or("unknown").to_owned()
}

/// The most that the service takes.
const PAGE_SIZE: u32 = 100;
