use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use serde_json::Value;

use super::{cursor::Cursor, query};
use crate::pages::{Next, Page, PageProblem, Paging};

/// An asynchronous query: a `POST` begins a job, which is asked for until it is done, and then its
/// results come by cursor.
///
/// The first request is the `POST`. Only results are pages. The defaults are those of Genesys' asynchronous
/// queries: `/jobId`, then `<URL>/<id>` until `/state` is `FULFILLED`, then `<URL>/<id>/results` with
/// `/cursor`.
///
/// ```
/// use std::time::Duration;
/// use tower_outbound::pages::Job;
///
/// let job = Job::new().every(Duration::from_secs(5)).page_size(5000);
/// # drop(job);
/// ```
#[derive(Clone, Debug)]
pub struct Job {
    every: Duration,
    page_size: Option<u32>,
    results: Cursor,
}

impl Default for Job {
    fn default() -> Self {
        Self::new()
    }
}

impl Job {
    /// A job that is asked for once a second.
    pub fn new() -> Self {
        Self {
            every: POLL,
            page_size: None,
            results: Cursor::at("/cursor"),
        }
    }

    /// How long to wait before the job is asked for again: a second by default, which is short against
    /// the tens of seconds that a job takes, and no burden on a limit of some calls a second.
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// So many results on a page at most, asked for by the parameter `pageSize`. By default the server
    /// decides, since it knows what it can answer at once: 1,000 in the loopback cloud. A size that it does
    /// not allow is refused by it, and the stream ends in that error.
    pub fn page_size(mut self, results: u32) -> Self {
        self.page_size = Some(results);
        self
    }
}

impl Paging for Job {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        if request.method() == Method::POST {
            let id = page.at("/jobId")?.and_then(Value::as_str);
            let id = id.ok_or_else(|| PageProblem::Nonsense("there is no `jobId`".to_owned()))?;
            let ask = get(request, &format!("{}/{id}", request.uri().path()))?;
            return Ok(Next::NotYet(ask, Duration::ZERO));
        }
        if request.uri().path().ends_with(RESULTS) {
            return self.results.next(request, page);
        }
        match page.at("/state")?.and_then(Value::as_str) {
            Some("FULFILLED") => {
                let mut results = get(request, &format!("{}{RESULTS}", request.uri().path()))?;
                if let Some(size) = self.page_size {
                    results = query::set(&results, "pageSize", &size.to_string())?;
                }
                Ok(Next::NotYet(results, Duration::ZERO))
            }
            Some("QUEUED" | "PENDING") => Ok(Next::NotYet(request.clone(), self.every)),
            state => {
                let state = state.unwrap_or("unknown");
                Err(PageProblem::Nonsense(format!("the job is {state}")))
            }
        }
    }
}

/// A `GET` of a path at the same server, with the headers and the marks of this request.
fn get(request: &Request<Bytes>, path: &str) -> Result<Request<Bytes>, PageProblem> {
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    let mut next = request.clone();
    *next.method_mut() = Method::GET;
    *next.body_mut() = Bytes::new();
    next.headers_mut().remove(header::CONTENT_TYPE);
    next.headers_mut().remove(header::CONTENT_LENGTH);
    *next.uri_mut() = Uri::from_parts(parts)
        .map_err(|_| PageProblem::Nonsense(format!("{path:?} is no path")))?;
    Ok(next)
}

const RESULTS: &str = "/results";
const POLL: Duration = Duration::from_secs(1);
