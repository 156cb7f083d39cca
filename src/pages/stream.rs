use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde_core::de::DeserializeOwned;
use tower::{BoxError, Service, ServiceExt};

use super::{Next, Page, PageError, PageProblem, Paging, Position};
use crate::origin::Origin;

/// A listing, before its first page is asked for. See the [module](super).
#[derive(Clone)]
pub struct Pages<S, P> {
    service: S,
    paging: P,
    first: Request<Bytes>,
    number: u64,
    at_most: Option<AtMost>,
    max_bytes: usize,
}

/// How many pages to get, and what it means when there are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtMost {
    /// The stream ends with a [`PageProblem::TooMany`].
    OrFail(u64),
    /// The stream ends. [`Page::next`] of the last page tells that there is more.
    ThenEnd(u64),
}

impl<S, P> Pages<S, P> {
    /// The pages that begin with this request's, each leading to the next in this way.
    pub fn new(service: S, first: Request<Bytes>, paging: P) -> Self {
        Self {
            service,
            paging,
            first,
            number: 1,
            at_most: None,
            max_bytes: MAX_BYTES,
        }
    }

    /// Begins at another page: that of [`Page::next`] or [`PageError::resume`], of this listing. Headers
    /// and marks stay those of the first request.
    pub fn resume_from(mut self, position: Position) -> Self {
        self.number = position.page();
        position.apply(&mut self.first);
        self
    }

    /// How many pages to get at most, counted from where it begins; any number by default.
    pub fn at_most(mut self, at_most: AtMost) -> Self {
        self.at_most = Some(at_most);
        self
    }

    /// How long the body of a page may be: 16 MiB by default.
    pub fn max_page_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The pages. Nothing is sent before the stream is polled, nor while it is not.
    pub fn stream<B, R>(self) -> impl Stream<Item = Result<Page, PageError>>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        P: Paging,
        B: From<Bytes>,
        R: Body,
        R::Error: Into<BoxError>,
    {
        stream::unfold(Walk::new(self), |mut walk| async {
            let page = walk.step().await?;
            Some((page, walk))
        })
    }
}

/// The items of pages, from the array at this JSON pointer; a page without it has none.
///
/// One that is not of this type is an error of its page, with which the stream does not end.
pub fn items<T: DeserializeOwned>(
    pages: impl Stream<Item = Result<Page, PageError>>,
    pointer: &str,
) -> impl Stream<Item = Result<T, PageError>> {
    pages
        .map(move |page| {
            let page = page?;
            let items = page
                .items::<T>(pointer)
                .map_err(|problem| PageError::new(page.position().clone(), problem))?;
            Ok(stream::iter(items.into_iter().map(Ok)))
        })
        .try_flatten()
}

/// A listing that is under way.
pub(crate) struct Walk<S, P> {
    pages: Pages<S, P>,
    /// What gets the next page; none after the last.
    request: Option<Request<Bytes>>,
    /// Why there is no next page.
    failure: Option<PageError>,
    number: u64,
    last_allowed: Option<u64>,
    origin: Option<Origin>,
    /// The requests that were sent, as hashes: eight bytes for each page.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl<S, P> Walk<S, P> {
    pub(crate) fn new(pages: Pages<S, P>) -> Self {
        let count = pages.at_most.map(|at_most| match at_most {
            AtMost::OrFail(count) | AtMost::ThenEnd(count) => count,
        });
        Self {
            request: Some(pages.first.clone()).filter(|_| count != Some(0)),
            failure: None,
            number: pages.number,
            last_allowed: count.map(|count| pages.number.saturating_add(count).saturating_sub(1)),
            origin: Origin::of(pages.first.uri()),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            pages,
        }
    }

    /// The next page, or why there is none; nothing after the end.
    pub(crate) async fn step<B, R>(&mut self) -> Option<Result<Page, PageError>>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        P: Paging,
        B: From<Bytes>,
        R: Body,
        R::Error: Into<BoxError>,
    {
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        let mut request = self.request.take()?;
        self.seen.insert(self.hash(&request));
        loop {
            let here = Position::of(self.number, &request);
            let fail = |problem| Some(Err(PageError::new(here.clone(), problem)));
            let mut page = match self.fetch(here.clone(), request.clone()).await {
                Ok(page) => page,
                Err(problem) => return fail(problem),
            };
            match self.pages.paging.next(&request, &page) {
                Err(problem) => return fail(problem),
                Ok(Next::NotYet(next, pause)) => {
                    if let Err(problem) = self.is_ours(&next) {
                        return fail(problem);
                    }
                    tokio::time::sleep(pause).await;
                    request = next;
                }
                Ok(Next::End) => return Some(Ok(page)),
                Ok(Next::Page(next)) => {
                    self.number += 1;
                    let there = Position::of(self.number, &next);
                    page.next = Some(there.clone());
                    match self.admit(next) {
                        Ok(next) => self.request = next,
                        // This page is good all the same.
                        Err(problem) => {
                            self.failure = Some(PageError::new(there, problem));
                        }
                    }
                    return Some(Ok(page));
                }
            }
        }
    }

    /// The next request, if it is to be sent.
    fn admit(&self, next: Request<Bytes>) -> Result<Option<Request<Bytes>>, PageProblem> {
        self.is_ours(&next)?;
        if self.seen.contains(&self.hash(&next)) {
            return Err(PageProblem::Repeats);
        }
        if self.last_allowed.is_some_and(|last| self.number > last) {
            return match self.pages.at_most {
                Some(AtMost::OrFail(count)) => Err(PageProblem::TooMany(count)),
                _ => Ok(None),
            };
        }
        Ok(Some(next))
    }

    fn is_ours(&self, next: &Request<Bytes>) -> Result<(), PageProblem> {
        let origin = Origin::of(next.uri());
        if origin == self.origin {
            return Ok(());
        }
        let name = origin.map_or_else(|| "none".to_owned(), |origin| origin.to_string());
        Err(PageProblem::OtherOrigin(name))
    }

    async fn fetch<B, R>(
        &mut self,
        here: Position,
        request: Request<Bytes>,
    ) -> Result<Page, PageProblem>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        B: From<Bytes>,
        R: Body,
        R::Error: Into<BoxError>,
    {
        let failed = |error: S::Error| PageProblem::Failed(error.into());
        let service = self.pages.service.ready().await.map_err(failed)?;
        let response = service.call(request.map(B::from)).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.pages.max_bytes).collect().await;
        let body = body.map_err(PageProblem::Unreadable)?.to_bytes();
        if !head.status.is_success() {
            return Err(PageProblem::Refused {
                status: head.status,
                body,
            });
        }
        Ok(Page::new(here, head, body))
    }

    fn hash(&self, request: &Request<Bytes>) -> u64 {
        let (method, uri, body) = (request.method(), request.uri(), request.body());
        self.hasher.hash_one((method, uri, body))
    }
}

impl<S, P: fmt::Debug> fmt::Debug for Pages<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("paging", &self.paging)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Thousands of items; whoever has larger pages can ask for smaller ones.
const MAX_BYTES: usize = 16 * 1024 * 1024;
