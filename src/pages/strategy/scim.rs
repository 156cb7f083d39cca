use bytes::Bytes;
use http::Request;

use super::query;
use crate::pages::{Next, Page, PageProblem, Paging};

/// SCIM's paging by index ([RFC 7644, section 3.4.2.4](https://www.rfc-editor.org/rfc/rfc7644#section-3.4.2.4)):
/// `startIndex`, from 1, in the query, and `totalResults` and `itemsPerPage` in the page.
///
/// The next page begins behind as many items as the page has brought, whatever `count` asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scim;

impl Paging for Scim {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        let number = |pointer: &str| -> Result<Option<u64>, PageProblem> {
            Ok(page.at(pointer)?.and_then(serde_json::Value::as_u64))
        };
        let total = number("/totalResults")?
            .ok_or_else(|| PageProblem::Nonsense("there is no `totalResults`".to_owned()))?;
        let brought = match number("/itemsPerPage")? {
            Some(brought) => brought,
            // It may be left out where the page has all that there is.
            None => total,
        };
        let start = query::number(request.uri(), "startIndex", 1)?.max(1);
        let next = start.saturating_add(brought);
        if next > total {
            return Ok(Next::End);
        }
        if brought == 0 {
            let what = format!("the page from {start} on is empty, and there are {total}");
            return Err(PageProblem::Nonsense(what));
        }
        Ok(Next::Page(query::set(
            request,
            "startIndex",
            &next.to_string(),
        )?))
    }
}
