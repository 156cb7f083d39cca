use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use tokio::time::Instant;
use tower::BoxError;

use super::{Grant, Secret};
use crate::causes;

/// Why no token could be had.
///
/// It is cheap to clone: all callers that waited for one renewal share one error. From the token
/// layer it comes as an error when nothing was sent, and as an extension of the refused response
/// when a renewal failed; [`find`](Self::find) and [`of`](Self::of) get it out.
///
/// What to do about it:
/// - [`is_rejected`](Self::is_rejected): credentials, scopes or configuration are wrong. Trying again
///   does not help; `oauth_error` and `description` say what the server objects to.
/// - [`is_throttled`](Self::is_throttled): the token endpoint asks for a pause.
/// - otherwise it is transient: the endpoint could not be reached, or failed. The cache tries again by
///   itself when it has cooled down; see [`next_attempt`](Self::next_attempt).
#[derive(Clone)]
pub struct TokenError {
    details: Arc<Details>,
    next_attempt: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Details {
    kind: TokenErrorKind,
    reason: Reason,
    oauth: Option<OAuthError>,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    rotation: Option<Rotation>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a server that granted something of no use did to the refresh token.
#[derive(Clone, Debug)]
pub(crate) enum Rotation {
    /// Nothing: it can be used again.
    Kept,
    /// There is another now, and the old one is spent.
    To(Secret),
}

impl Rotation {
    pub(crate) fn by(grant: Grant) -> Self {
        grant.refresh_token.map_or(Self::Kept, Self::To)
    }
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The endpoint could not be reached, or failed: worth another try.
    Transient,
    /// The endpoint asks for a pause.
    Throttled,
    /// The endpoint understood, and said no: the same request will be refused again.
    Rejected,
}

#[derive(Clone, Debug)]
enum Reason {
    Said(String),
    TimedOut(Duration),
    Panicked,
    Deadline,
    Superseded,
    LoginRequired(String),
}

/// An error object of [RFC 6749, section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2).
#[derive(Clone, Debug)]
pub(crate) struct OAuthError {
    pub(crate) code: String,
    pub(crate) description: Option<String>,
}

impl TokenError {
    /// A failure that another try may cure: no connection, a cut reply, a server error.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(TokenErrorKind::Transient, message)
    }

    /// The server asks for a pause of this length, or of one that it did not tell.
    pub fn throttled(retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        let mut error = Self::new(TokenErrorKind::Throttled, message);
        error.edit().retry_after = retry_after;
        error
    }

    /// The server said no for good, or the configuration is wrong.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(TokenErrorKind::Rejected, message)
    }

    /// A failure of this kind. The message is one line, in lower case, and holds no secret.
    pub fn new(kind: TokenErrorKind, message: impl Into<String>) -> Self {
        Self::because(kind, Reason::Said(message.into()))
    }

    /// The error behind this one, for [`source`](Error::source).
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.edit().source = Some(Arc::from(source.into()));
        self
    }

    pub(crate) fn timed_out(bound: Duration) -> Self {
        Self::because(TokenErrorKind::Transient, Reason::TimedOut(bound))
    }

    pub(crate) fn panicked() -> Self {
        Self::because(TokenErrorKind::Transient, Reason::Panicked)
    }

    pub(crate) fn deadline() -> Self {
        Self::because(TokenErrorKind::Transient, Reason::Deadline)
    }

    /// What was asked for is not wanted any more.
    pub(crate) fn superseded() -> Self {
        Self::because(TokenErrorKind::Transient, Reason::Superseded)
    }

    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self.details.reason, Reason::Superseded)
    }

    /// Nobody but the user can help: there is no session, or it has ended. The message says why.
    pub fn login_required(message: impl Into<String>) -> Self {
        Self::because(
            TokenErrorKind::Rejected,
            Reason::LoginRequired(message.into()),
        )
    }

    fn because(kind: TokenErrorKind, reason: Reason) -> Self {
        let details = Details {
            kind,
            reason,
            oauth: None,
            status: None,
            retry_after: None,
            rotation: None,
            source: None,
        };
        Self {
            details: Arc::new(details),
            next_attempt: None,
        }
    }

    /// Finds a `TokenError` in an error or among its causes.
    ///
    /// Layers in between (`Buffer`, `Timeout`) wrap what they pass on; this looks inside.
    ///
    /// ```
    /// # use tower_outbound::token::TokenError;
    /// # let error: tower::BoxError = TokenError::rejected("wrong secret").into();
    /// if let Some(error) = TokenError::find(&*error) {
    ///     eprintln!("log in again: {error}");
    /// }
    /// ```
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TokenError> {
        causes::find(error)
    }

    /// The error because of which a refused token was not renewed, on the response that refused it.
    pub fn of<R>(response: &Response<R>) -> Option<&TokenError> {
        response.extensions().get()
    }

    /// What the failure means for the next attempt.
    pub fn kind(&self) -> TokenErrorKind {
        self.details.kind
    }

    /// Whether the server said no for good.
    pub fn is_rejected(&self) -> bool {
        self.kind() == TokenErrorKind::Rejected
    }

    /// Whether the server asks for a pause.
    pub fn is_throttled(&self) -> bool {
        self.kind() == TokenErrorKind::Throttled
    }

    /// Whether another try may help.
    pub fn is_transient(&self) -> bool {
        self.kind() == TokenErrorKind::Transient
    }

    /// Whether the user has to log in again: the server ended the session, or there is none.
    pub fn is_login_required(&self) -> bool {
        matches!(self.details.reason, Reason::LoginRequired(_))
    }

    /// Whether the renewal took longer than the cache allows.
    pub fn is_timeout(&self) -> bool {
        matches!(self.details.reason, Reason::TimedOut(_))
    }

    /// Whether the request's own [`Deadline`](crate::mark::Deadline) left no time to wait.
    pub fn is_deadline(&self) -> bool {
        matches!(self.details.reason, Reason::Deadline)
    }

    /// The `error` code of the server's reply, such as `invalid_client`.
    pub fn oauth_error(&self) -> Option<&str> {
        self.details.oauth.as_ref().map(|oauth| oauth.code.as_str())
    }

    /// The `error_description` of the server's reply, without control characters.
    pub fn description(&self) -> Option<&str> {
        self.details.oauth.as_ref()?.description.as_deref()
    }

    /// The HTTP status of the token endpoint's reply, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.details.status
    }

    /// The pause that the server asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.retry_after
    }

    /// Until then the cache answers with this error, and asks the endpoint nothing.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.next_attempt
    }

    pub(crate) fn until(mut self, next_attempt: Instant) -> Self {
        self.next_attempt = Some(next_attempt);
        self
    }

    pub(crate) fn replied(mut self, status: StatusCode, oauth: Option<OAuthError>) -> Self {
        let details = self.edit();
        details.status = Some(status);
        details.oauth = oauth;
        self
    }

    /// The server did grant something, though it cannot be used.
    pub(crate) fn rotated(mut self, rotation: Rotation) -> Self {
        self.edit().rotation = Some(rotation);
        self
    }

    pub(crate) fn take_rotation(&mut self) -> Option<Rotation> {
        self.edit().rotation.take()
    }

    fn edit(&mut self) -> &mut Details {
        Arc::make_mut(&mut self.details)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.details.reason {
            Reason::Said(message) => f.write_str(message),
            Reason::LoginRequired(message) => write!(f, "log in again: {message}"),
            Reason::TimedOut(bound) => {
                write!(f, "the token source did not answer within {bound:?}")
            }
            Reason::Panicked => f.write_str("the token source panicked"),
            Reason::Superseded => {
                f.write_str("the cache was cleared while the token was asked for")
            }
            Reason::Deadline => {
                f.write_str("the request's deadline leaves no time to wait for a token")
            }
        }
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenError")
            .field("kind", &self.details.kind)
            .field("message", &format_args!("{self}"))
            .field("oauth", &self.details.oauth)
            .field("status", &self.details.status)
            .field("retry_after", &self.details.retry_after)
            .field("source", &self.details.source)
            .finish_non_exhaustive()
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.details.source.as_deref().map(|source| source as _)
    }
}
