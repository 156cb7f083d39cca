//! The stack, and what is called through it.

use std::{num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_outbound::{
    buffer_body::{BufferErrorBodyLayer, ErrorBody, ReadAhead},
    mark::ReplaySafe,
    outcome::Outcome,
    pages::{BodyPaging, Job, Page, PageError, Pages, Paging, Position},
    preset::GenesysCloud,
    rate_limit_retry::Pacer,
    token::{TokenCache, TokenError},
};

use crate::{tally::Tally, timeline::Timeline};

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
    stack: Stack,
    url: String,
    page_size: Option<NonZeroU32>,
    /// What holds the calls back; kept to be looked at.
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) timeline: Arc<Timeline>,
}

type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<ReadAhead<Incoming>>, BoxError>;

impl Api {
    pub(crate) fn new(cloud: &GenesysCloud, tokens: TokenCache, http: HttpClient) -> Self {
        // A bulk job: what is under way when the quota ends is refused, so it begins with few.
        let pacer = Arc::new(Pacer::new().gentle_start(8));
        let (tally, timeline) = (Arc::<Tally>::default(), Arc::new(Timeline::new()));
        let (calls, attempts) = (Arc::clone(&tally), Arc::clone(&timeline));
        let stack = ServiceBuilder::new()
            .map_response(move |response: Response<_>| {
                calls.count(&Outcome::of(&response));
                response
            })
            // Above the token layer: what is sent again after a wait gets the token of that time.
            .layer(cloud.rate_limit_retry().pacer(Arc::clone(&pacer)))
            .map_response(move |response: Response<_>| {
                attempts.count(response.status());
                response
            })
            .layer(cloud.token_refresh(tokens))
            // Lets the layers above tell one 401 or 504 from another, and us say what was wrong.
            .layer(BufferErrorBodyLayer::new())
            .service(http);
        Self {
            stack: Stack::new(stack),
            url: cloud.api_url().to_owned(),
            page_size: None,
            pacer,
            tally,
            timeline,
        }
    }

    /// How many conversations are on a page, if it is not to be what is usual.
    pub(crate) fn page_size(self, page_size: Option<NonZeroU32>) -> Self {
        Self { page_size, ..self }
    }

    /// The pages of the conversations of an interval, from one on; the last one is empty.
    pub(crate) fn query(
        &self,
        interval: &str,
        from: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Page, PageError>> + use<>, BoxError> {
        let page_size = self.page_size.map_or(QUERY_PAGE_SIZE, NonZeroU32::get);
        let query = json!({
            "interval": interval,
            "order": "asc",
            "orderBy": "conversationStart",
            "paging": {"pageSize": page_size, "pageNumber": 1},
        });
        let paging = BodyPaging::items_at("/conversations");
        Ok(self.pages("query", &query, paging, from)?)
    }

    /// The same as the pages of an asynchronous job's results.
    pub(crate) fn job(
        &self,
        interval: &str,
        from: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Page, PageError>> + use<>, BoxError> {
        let query = json!({
            "interval": interval,
            "order": "asc",
            "orderBy": "conversationStart",
        });
        let size = self.page_size.map_or(JOB_PAGE_SIZE, NonZeroU32::get);
        Ok(self.pages("jobs", &query, Job::new().page_size(size), from)?)
    }

    fn pages<P: Paging>(
        &self,
        path: &str,
        query: &Value,
        paging: P,
        from: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Page, PageError>> + use<P>, http::Error> {
        let url = format!("{}/api/v2/analytics/conversations/details/{path}", self.url);
        let first = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            // A POST that only reads, or at worst begins a job that nobody asks for again: it may be
            // sent again whatever became of the first time.
            .extension(ReplaySafe)
            .body(query.to_string().into())?;
        let pages = Pages::new(self.stack.clone(), first, paging);
        let pages = match from {
            Some(from) => pages.resume_from(from),
            None => pages,
        };
        Ok(pages.stream())
    }

    /// The details of a conversation, as JSON.
    pub(crate) async fn details(&self, id: &str) -> Result<Bytes, BoxError> {
        let url = format!("{}/api/v2/analytics/conversations/{id}/details", self.url);
        let request = Request::get(url).body(Full::default())?;
        Ok(self.call(request).await?)
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = self.answer(request).await;
        answer.map_err(|source| CallError { what, source })
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Bytes, BoxError> {
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
        Ok(response.into_body().collect().await?.to_bytes())
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

/// The ids of the conversations of a page.
pub(crate) fn ids(page: &Page) -> Result<Vec<String>, BoxError> {
    let conversations = page.items::<Value>("/conversations")?;
    let ids = conversations.iter().map(|conversation| {
        let id = conversation["conversationId"].as_str();
        let id = id.ok_or_else(|| format!("one on page {} has no id", page.number()))?;
        Ok(id.to_owned())
    });
    ids.collect()
}

/// The most that the service takes.
const QUERY_PAGE_SIZE: u32 = 100;

/// What the service takes if nothing is said.
const JOB_PAGE_SIZE: u32 = 1000;
