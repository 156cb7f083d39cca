use std::{fmt, str::FromStr, sync::OnceLock};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, StatusCode, Uri, response};
use serde_core::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::PageProblem;

/// A page, as it came.
#[derive(Debug)]
pub struct Page {
    pub(crate) position: Position,
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    pub(crate) value: OnceLock<Value>,
    pub(crate) next: Option<Position>,
}

impl Page {
    pub(crate) fn new(position: Position, head: response::Parts, body: Bytes) -> Self {
        Self {
            position,
            head,
            body,
            value: OnceLock::new(),
            next: None,
        }
    }

    /// Its number, from 1; a listing that was resumed counts on.
    pub fn number(&self) -> u64 {
        self.position.page()
    }

    /// Where it was got.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The status: a success.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// What layers have left with the response: an [`Outcome`](crate::outcome::Outcome), say.
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Where the next page is; `None` if this is the last. To be written down with what came of this
    /// page, so that a job can go on from there: see [`Pages::resume_from`](super::Pages::resume_from).
    pub fn next(&self) -> Option<&Position> {
        self.next.as_ref()
    }

    /// The body as JSON, read once.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<&Value, PageProblem> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = serde_json::from_slice(&self.body).map_err(PageProblem::NotJson)?;
        Ok(self.value.get_or_init(|| value))
    }

    /// What is at this JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)); `None` if there
    /// is nothing, or `null`.
    ///
    /// # Errors
    /// If the body is not JSON.
    pub fn at(&self, pointer: &str) -> Result<Option<&Value>, PageProblem> {
        let value = self.json()?.pointer(pointer);
        Ok(value.filter(|value| !value.is_null()))
    }

    /// The items of the array at this JSON pointer; none if it is not there.
    ///
    /// # Errors
    /// If the body is not JSON, or an item is not of this type.
    pub fn items<T: DeserializeOwned>(&self, pointer: &str) -> Result<Vec<T>, PageProblem> {
        match self.at(pointer)? {
            Some(items) => Vec::deserialize(items).map_err(PageProblem::NotJson),
            None => Ok(Vec::new()),
        }
    }
}

/// A place in a listing: the request for a page, without its headers.
///
/// As text it is one line of JSON, and holds what the request's URL and body hold, but no token.
///
/// ```
/// use tower_outbound::pages::Position;
///
/// let written = r#"{"page":7,"method":"GET","uri":"https://api.example.com/users?cursor=x","body":""}"#;
/// let position: Position = written.parse()?;
/// assert_eq!(position.page(), 7);
/// assert_eq!(position.to_string(), written);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    page: u64,
    method: Method,
    uri: Uri,
    body: String,
}

impl Position {
    pub(crate) fn of(page: u64, request: &Request<Bytes>) -> Self {
        Self {
            page,
            method: request.method().clone(),
            uri: request.uri().clone(),
            body: String::from_utf8_lossy(request.body()).into_owned(),
        }
    }

    /// The number of the page that is there.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// Its URL.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Makes a request one for this place.
    pub(crate) fn apply(self, request: &mut Request<Bytes>) {
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.body_mut() = self.body.into();
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, uri) = (
            Value::from(self.method.as_str()),
            Value::from(self.uri.to_string()),
        );
        let body = json!(self.body);
        let page = self.page;
        write!(
            f,
            r#"{{"page":{page},"method":{method},"uri":{uri},"body":{body}}}"#
        )
    }
}

impl FromStr for Position {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        use serde_core::de::Error;

        let value: Value = serde_json::from_str(text)?;
        let text = |name: &'static str| {
            value[name]
                .as_str()
                .ok_or_else(|| serde_json::Error::missing_field(name))
        };
        Ok(Self {
            page: value["page"]
                .as_u64()
                .ok_or_else(|| serde_json::Error::missing_field("page"))?,
            method: text("method")?.parse().map_err(serde_json::Error::custom)?,
            uri: text("uri")?.parse().map_err(serde_json::Error::custom)?,
            body: text("body")?.to_owned(),
        })
    }
}
