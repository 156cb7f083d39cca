use bytes::Bytes;
use http::Request;
use serde_json::Value;

use super::query;
use crate::pages::{Next, Page, PageProblem, Paging, error::Shown};

/// The page tells a cursor, and the next request sends it along.
///
/// Without one, or with an empty one, the page was the last.
///
/// ```
/// use tower_outbound::pages::Cursor;
///
/// let slack = Cursor::at("/response_metadata/next_cursor").to_query("cursor");
/// let search = Cursor::at("/nextPageToken").to_body("/page/token");
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    from: String,
    to: To,
}

#[derive(Clone, Debug)]
enum To {
    Query(String),
    Body(String),
}

impl Cursor {
    /// The cursor is at this JSON pointer: a text or a number.
    pub fn at(pointer: impl Into<String>) -> Self {
        Self {
            from: pointer.into(),
            to: To::Query("cursor".to_owned()),
        }
    }

    /// It goes into this parameter of the query; `cursor` by default.
    pub fn to_query(mut self, name: impl Into<String>) -> Self {
        self.to = To::Query(name.into());
        self
    }

    /// It goes into the JSON body, at this pointer.
    pub fn to_body(mut self, pointer: impl Into<String>) -> Self {
        self.to = To::Body(pointer.into());
        self
    }
}

impl Paging for Cursor {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        let cursor = match page.at(&self.from)? {
            None => return Ok(Next::End),
            Some(Value::String(text)) if text.is_empty() => return Ok(Next::End),
            Some(cursor @ (Value::String(_) | Value::Number(_))) => cursor,
            Some(other) => {
                return Err(PageProblem::Nonsense(format!(
                    "the cursor at {} is neither text nor number: {other}",
                    self.from
                )));
            }
        };
        Ok(Next::Page(match &self.to {
            To::Query(name) => query::set(request, name, &Shown(cursor).to_string())?,
            To::Body(pointer) => in_body(request, pointer, cursor.clone())?,
        }))
    }
}

/// This request with a value set in its JSON body; objects on the way are made.
pub(super) fn in_body(
    request: &Request<Bytes>,
    pointer: &str,
    value: Value,
) -> Result<Request<Bytes>, PageProblem> {
    let mut body = if request.body().is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(request.body()).map_err(PageProblem::NotJson)?
    };
    let mut place = &mut body;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        place = place
            .as_object_mut()
            .ok_or_else(|| {
                PageProblem::Nonsense(format!("the request's body has no object for {pointer}"))
            })?
            .entry(name)
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *place = value;
    let mut next = request.clone();
    *next.body_mut() = body.to_string().into();
    Ok(next)
}
