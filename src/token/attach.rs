use std::fmt;

use http::{HeaderMap, Method, StatusCode, Uri};

use super::{Token, TokenError};

/// What a request with a token must have besides the header that carries it, such as a proof that
/// the sender holds the key that the token is bound to.
///
/// [`Grant::attach`](super::Grant::attach) says so of a token.
pub trait Attach: fmt::Debug + Send + Sync + 'static {
    /// The scheme before the token in its header; `None` for that of the cache.
    fn scheme(&self) -> Option<&str> {
        None
    }

    /// Adds to `headers` what the request must have. Called for every request and every replay; the
    /// header with the token is there already.
    ///
    /// # Errors
    /// If the token cannot be sent; then the request is not.
    fn attach(
        &self,
        token: &Token,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), TokenError>;

    /// Looks at every response to a request that this attached to.
    fn answered(&self, uri: &Uri, status: StatusCode, headers: &HeaderMap) -> Answered {
        let _ = (uri, status, headers);
        Answered::Settled
    }

    /// The name of the key that its tokens are bound to, if they are bound to one.
    fn bound_to(&self) -> Option<&str> {
        None
    }
}

/// What a response means for how the token was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Nothing: it is for others to read.
    Settled,
    /// The same token is worth one more try, with what the response has brought.
    SendAgain,
}
