use bytes::Bytes;
use http::Request;
use serde_json::Value;

use super::cursor::in_body;
use crate::pages::{Next, Page, PageProblem, Paging};

/// Pages are numbered in the JSON body of a query, and the first one without items is behind the
/// last.
///
/// By default the number is at `/paging/pageNumber`, as Genesys' analytics have it.
///
/// ```
/// use tower_outbound::pages::BodyPaging;
///
/// let conversations = BodyPaging::items_at("/conversations");
/// ```
#[derive(Clone, Debug)]
pub struct BodyPaging {
    number: String,
    items: String,
}

impl BodyPaging {
    /// The items are at this JSON pointer.
    pub fn items_at(pointer: impl Into<String>) -> Self {
        Self {
            number: "/paging/pageNumber".to_owned(),
            items: pointer.into(),
        }
    }

    /// The number is at this JSON pointer of the request's body; without it, a request is for page 1.
    pub fn number_at(mut self, pointer: impl Into<String>) -> Self {
        self.number = pointer.into();
        self
    }
}

impl Paging for BodyPaging {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        let has_items = match page.at(&self.items)? {
            Some(Value::Array(items)) => !items.is_empty(),
            None => false,
            Some(_) => {
                let what = format!("what is at {} is no array", self.items);
                return Err(PageProblem::Nonsense(what));
            }
        };
        if !has_items {
            return Ok(Next::End);
        }
        let body: Value = serde_json::from_slice(request.body()).map_err(PageProblem::NotJson)?;
        let number = match body.pointer(&self.number) {
            None => 1,
            Some(number) => number.as_u64().ok_or_else(|| {
                PageProblem::Nonsense(format!("the page number {number} is none"))
            })?,
        };
        let next = in_body(request, &self.number, (number + 1).into())?;
        Ok(Next::Page(next))
    }
}
