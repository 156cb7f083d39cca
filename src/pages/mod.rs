//! Pages: a listing that a server hands out in parts, as a stream.
//!
//! ```
//! use bytes::Bytes;
//! use futures_util::TryStreamExt;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{BoxError, service_fn};
//! use tower_outbound::pages::{Cursor, Pages, items};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands for a stack of layers over an HTTP client.
//! let api = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let page = match request.uri().query() {
//!         None => r#"{"items":[1,2],"cursor":"a b"}"#,
//!         Some("cursor=a+b") => r#"{"items":[3]}"#,
//!         Some(_) => r#"{"items":[]}"#,
//!     };
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(page)))
//! });
//!
//! let first = Request::get("https://api.example.com/numbers").body(Bytes::new())?;
//! let pages = Pages::new(api, first, Cursor::at("/cursor").to_query("cursor")).stream();
//! let numbers: Vec<u32> = items::<u32>(pages, "/items").try_collect().await?;
//! assert_eq!(numbers, [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! How a page leads to the next is a [`Paging`]; those that are common are here.
//!
//! | | the next page is | seen at |
//! |---|---|---|
//! | [`Cursor`] | behind a text in the page, put into the query or the body | Genesys, Slack, Zendesk |
//! | [`PageNumber`] | the next number, up to a count that the page tells | Genesys |
//! | [`BodyPaging`] | the next number in the body of a query, until a page is empty | Genesys' analytics |
//! | [`NextLink`] | at a URL in the page, or in its `Link` header | Genesys, Microsoft Graph, Salesforce, GitHub |
//! | [`Scim`] | at the index behind the last item (RFC 7644) | SCIM |
//! | [`Job`] | that of the results, when the job is done | Genesys' asynchronous queries |
//! | [`next_fn`] | what a function says | |
//!
//! Requests are equal to the first but for what leads on: method, headers and marks stay. A stack with the
//! layers of this crate below makes a token that dies between two pages invisible.
//!
//! # Where it ends
//!
//! With the last page; or with one [`PageError`], which says why, on which page, and from
//! [where](PageError::resume) to go on: a page that was handed over is never asked for again.
//! A listing that leads back to a page that it has had, or to another server, is an error.
//!
//! # Defaults
//!
//! | | | why |
//! |---|---|---|
//! | a page has at most | 16 MiB | thousands of items; beyond, ask for smaller pages |
//! | pages | any number | a listing that is cut without a word is worse than a long one |
//!
//! # Cancellation
//!
//! A stream that is dropped asks for nothing more. One that is not polled sends nothing; with
//! [`Pages::look_ahead`] one page more than was taken is got.

mod error;
mod look_ahead;
mod page;
mod paging;
mod strategy;
mod stream;

pub use self::{
    error::{PageError, PageProblem},
    page::{Page, Position},
    paging::{Next, NextFn, Paging, next_fn},
    strategy::{BodyPaging, Cursor, Job, NextLink, PageNumber, Scim},
    stream::{AtMost, Pages, items},
};

#[cfg(test)]
mod tests;
