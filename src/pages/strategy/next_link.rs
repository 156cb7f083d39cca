use bytes::Bytes;
use fluent_uri::UriRef;
use http::Request;
use serde_json::Value;

use crate::{
    header::next_link,
    pages::{Next, Page, PageProblem, Paging},
};

/// The page tells the URL of the next, absolute or relative, in its body or its `Link` header.
///
/// The URL is taken as it is: it is encoded already. Without one, or with an empty one, the page
/// was the last. One at another origin is an error.
///
/// ```
/// use tower_outbound::pages::NextLink;
///
/// let genesys = NextLink::at("/nextUri");
/// let graph = NextLink::at("/@odata.nextLink");
/// let github = NextLink::header(); // Link: <…>; rel="next"
/// ```
#[derive(Clone, Debug)]
pub struct NextLink(From);

#[derive(Clone, Debug)]
enum From {
    Body(String),
    Header,
}

impl NextLink {
    /// The URL is at this JSON pointer.
    pub fn at(pointer: impl Into<String>) -> Self {
        Self(From::Body(pointer.into()))
    }

    /// The URL is that of `rel="next"` in the `Link` header
    /// ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)).
    pub fn header() -> Self {
        Self(From::Header)
    }
}

impl Paging for NextLink {
    fn next(&self, request: &Request<Bytes>, page: &Page) -> Result<Next, PageProblem> {
        let link = match &self.0 {
            From::Header => next_link(page.headers()),
            From::Body(pointer) => match page.at(pointer)? {
                None => None,
                Some(Value::String(link)) => Some(link.clone()),
                Some(other) => {
                    let what = format!("the link at {pointer} is no text: {other}");
                    return Err(PageProblem::Nonsense(what));
                }
            },
        };
        match link {
            Some(link) if !link.is_empty() => Ok(Next::Page(followed(request, &link)?)),
            _ => Ok(Next::End),
        }
    }
}

/// This request at where a link leads (RFC 3986, section 5).
fn followed(request: &Request<Bytes>, link: &str) -> Result<Request<Bytes>, PageProblem> {
    let nonsense = || PageProblem::Nonsense(format!("{link:?} is no URL"));
    let base = request.uri().to_string();
    let base = fluent_uri::Uri::parse(base.as_str()).map_err(|_| nonsense())?;
    let link = UriRef::parse(link).map_err(|_| nonsense())?;
    let mut target = link.resolve_against(&base).map_err(|_| nonsense())?;
    target.set_fragment(None);
    let mut next = request.clone();
    *next.uri_mut() = target.as_str().parse().map_err(|_| nonsense())?;
    Ok(next)
}
