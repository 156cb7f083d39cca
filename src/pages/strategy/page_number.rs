use bytes::Bytes;
use http::Request;

use super::query;
use crate::pages::{Next, Page, PageProblem, Paging};

/// Pages are numbered in the query, and each tells how many there are.
///
/// ```
/// use tower_outbound::pages::PageNumber;
///
/// let genesys = PageNumber::in_query("pageNumber").count_at("/pageCount");
/// ```
#[derive(Clone, Debug)]
pub struct PageNumber {
    name: String,
    count: String,
}

impl PageNumber {
    /// The number is this parameter; without it, a request is for page 1.
    pub fn in_query(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            count: "/pageCount".to_owned(),
        }
    }

    /// The count of all pages is at this JSON pointer; `/pageCount` by default.
    pub fn count_at(mut self, pointer: impl Into<String>) -> Self {
        self.count = pointer.into();
        self
    }
}

impl Paging for PageNumber {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        // Without a count nobody could tell the last page from one that was forgotten.
        let count = page.at(&self.count)?.and_then(serde_json::Value::as_u64);
        let count = count.ok_or_else(|| {
            PageProblem::Nonsense(format!("there is no count of pages at {}", self.count))
        })?;
        let number = query::number(request.uri(), &self.name, 1)?;
        if number >= count {
            return Ok(Next::End);
        }
        let next = (number + 1).to_string();
        Ok(Next::Page(query::set(request, &self.name, &next)?))
    }
}
