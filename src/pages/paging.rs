use std::{fmt, time::Duration};

use bytes::Bytes;
use http::Request;

use super::{Page, PageProblem};

/// How a page leads to the next: a pure decision.
///
/// It is given the request that got the page, and answers with another. It keeps no state, so that a
/// listing can be [resumed](super::Pages::resume_from) with nothing but a request.
pub trait Paging {
    /// What comes after this page, which `request` has got.
    ///
    /// # Errors
    /// If the page does not say, in a way that makes sense.
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem>;
}

/// What comes after a response.
#[derive(Debug)]
pub enum Next {
    /// The page was the last.
    End,
    /// The page that this request gets.
    Page(Request<Bytes>),
    /// The response was no page yet: send this request after so long.
    NotYet(Request<Bytes>, Duration),
}

/// A function as a [`Paging`].
///
/// ```
/// use tower_outbound::pages::{Next, next_fn};
///
/// // The next page is at an offset of as many items as there have been.
/// let paging = next_fn(|request, page| {
///     let Some(offset) = page.at("/nextOffset")? else {
///         return Ok(Next::End);
///     };
///     let mut next = request.clone();
///     *next.uri_mut() = format!("https://api.example.com/items?offset={offset}")
///         .parse()
///         .expect("a number is fine in a query");
///     Ok(Next::Page(next))
/// });
/// # drop(paging);
/// ```
pub fn next_fn<F>(next: F) -> NextFn<F>
where
    F: Fn(&Request<Bytes>, &Page) -> Result<Next, PageProblem>,
{
    NextFn(next)
}

/// The paging made by [`next_fn`].
#[derive(Clone, Copy)]
pub struct NextFn<F>(F);

impl<F> Paging for NextFn<F>
where
    F: Fn(&Request<Bytes>, &Page) -> Result<Next, PageProblem>,
{
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        (self.0)(request, page)
    }
}

impl<F> fmt::Debug for NextFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextFn")
    }
}
