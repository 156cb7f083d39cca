use std::fmt;

use http::{HeaderMap, Method, StatusCode, Uri};

use super::{Token, TokenError};

/// How a token is put on a request, where that is more than one prebuilt header.
///
/// [`Grant::attach`](super::Grant::attach) says so of a token.
pub trait Attach: fmt::Debug + Send + Sync + 'static {
    /// Adds to `headers` what carries the token. Called for every request and every replay.
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
