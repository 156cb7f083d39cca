use std::{error::Error, fmt};

use bytes::Bytes;
use http::StatusCode;
use thiserror::Error;
use tower::BoxError;

use super::Position;

/// Why there is no page where there should be one.
#[derive(Debug)]
pub struct PageError(Box<Details>);

#[derive(Debug)]
struct Details {
    resume: Position,
    problem: PageProblem,
}

/// What is wrong with a page, or with the way to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PageProblem {
    /// The service failed.
    #[error("the request failed")]
    Failed(#[source] BoxError),
    /// The server answered with something other than success: the page may be past the end, say.
    #[error("the server answered {status}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body, as far as a page may go.
        body: Bytes,
    },
    /// The body broke off, or is longer than a page may be.
    #[error("the body could not be read")]
    Unreadable(#[source] BoxError),
    /// The body is not JSON, or not of the expected shape.
    #[error("the body is not what was expected")]
    NotJson(#[source] serde_json::Error),
    /// What leads to the next page is there, but makes no sense.
    #[error("what leads to the next page makes no sense: {0}")]
    Nonsense(String),
    /// The next page is one that has been got already: the listing goes round in a circle.
    #[error("it leads back to a page that has been got already")]
    Repeats,
    /// The next page is at another server, which shall not see what this one sees.
    #[error("it leads to another origin, {0}")]
    OtherOrigin(String),
    /// There are more pages than the user allows.
    #[error("there are more pages than the {0} that were allowed")]
    TooMany(u64),
}

impl PageError {
    pub(crate) fn new(resume: Position, problem: PageProblem) -> Self {
        Self(Box::new(Details { resume, problem }))
    }

    /// The page, from 1: the one that did not come, or to which nothing leads.
    pub fn number(&self) -> u64 {
        self.0.resume.page()
    }

    /// Where to go on: see [`Pages::resume_from`](super::Pages::resume_from). No page that was handed over
    /// is got again.
    pub fn resume(&self) -> &Position {
        &self.0.resume
    }

    /// What is wrong.
    pub fn problem(&self) -> &PageProblem {
        &self.0.problem
    }

    /// Finds a `PageError` in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a PageError> {
        crate::causes::find(error)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.number(), self.problem())
    }
}

impl Error for PageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem().source()
    }
}

/// A number that is written or a text: what JSON has for cursors.
pub(crate) struct Shown<'a>(pub(crate) &'a serde_json::Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            serde_json::Value::String(text) => f.write_str(text),
            other => other.fmt(f),
        }
    }
}
