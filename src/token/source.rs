use std::{fmt, future::Future, pin::Pin};

use http::{HeaderMap, HeaderValue, StatusCode, header, response};

use super::{Grant, TokenError};
use crate::header::{Challenge, challenges};

/// Where tokens come from.
///
/// A [`TokenCache`](super::TokenCache) asks it one question at a time, bounds each with a timeout, and
/// tries again what is [transient](super::TokenErrorKind::Transient); a source only has to ask once and
/// say what came of it. It is called from a task of the cache's own: a caller that goes away
/// does not cut a request in half.
///
/// A source must not send its own requests through a service that this cache's tokens protect: it
/// would wait for itself.
///
/// ```
/// use tower_outbound::token::{Cause, Grant, TokenError, TokenSource};
///
/// struct FromFile(std::path::PathBuf);
///
/// impl TokenSource for FromFile {
///     async fn token(&self, _cause: &Cause) -> Result<Grant, TokenError> {
///         let text = std::fs::read_to_string(&self.0)
///             .map_err(|error| TokenError::transient("the token file is unreadable").caused_by(error))?;
///         Ok(Grant::new(text.trim()))
///     }
/// }
/// ```
pub trait TokenSource: Send + Sync + 'static {
    /// Asks for a token; `cause` says why one is wanted.
    fn token(&self, cause: &Cause) -> impl Future<Output = Result<Grant, TokenError>> + Send;

    /// Whether it can get a token that meets this refusal, where a renewal as usual would not: step-up
    /// authentication ([RFC 9470](https://www.rfc-editor.org/rfc/rfc9470)) above all.
    ///
    /// If so, the token layer renews the token with [`Cause::Refused`], whatever it takes for a refusal
    /// otherwise. By default it cannot, and the response is the caller's.
    fn answers(&self, refusal: &Refusal) -> bool {
        let _ = refusal;
        false
    }
}

/// Why a token is wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// There has been none yet.
    FirstUse,
    /// The present one is still good, but not for long.
    ExpiringSoon,
    /// The present one is at the end of its life.
    Expired,
    /// A server refused the present one.
    Refused(Refusal),
    /// The user asked: [`TokenCache::renew`](super::TokenCache::renew).
    Requested,
}

impl Cause {
    /// For spans and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::ExpiringSoon => "expiring_soon",
            Self::Expired => "expired",
            Self::Refused(_) => "refused",
            Self::Requested => "requested",
        }
    }
}

/// What a server said when it refused a token.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    challenges: Vec<HeaderValue>,
}

impl Refusal {
    pub(crate) fn from_parts(parts: &response::Parts) -> Self {
        let challenges = parts.headers.get_all(header::WWW_AUTHENTICATE);
        Self {
            status: parts.status,
            challenges: challenges.iter().cloned().collect(),
        }
    }

    /// The status of the response, usually 401.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The challenges of its `WWW-Authenticate` headers.
    pub fn challenges(&self) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in &self.challenges {
            headers.append(header::WWW_AUTHENTICATE, value.clone());
        }
        challenges(&headers)
    }
}

/// A source made of a closure.
///
/// ```
/// use tower_outbound::token::{Grant, TokenCache, source_fn};
///
/// let tokens = TokenCache::new(source_fn(|_cause| async { Ok(Grant::new("a token")) }));
/// ```
pub fn source_fn<F, Fut>(ask: F) -> SourceFn<F>
where
    F: Fn(Cause) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Grant, TokenError>> + Send,
{
    SourceFn(ask)
}

/// The source made by [`source_fn`].
#[derive(Clone, Copy)]
pub struct SourceFn<F>(F);

impl<F> fmt::Debug for SourceFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceFn")
    }
}

impl<F, Fut> TokenSource for SourceFn<F>
where
    F: Fn(Cause) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Grant, TokenError>> + Send,
{
    fn token(&self, cause: &Cause) -> impl Future<Output = Result<Grant, TokenError>> + Send {
        (self.0)(cause.clone())
    }
}

/// `TokenSource` behind a pointer: what a cache holds.
pub(crate) trait AnySource: Send + Sync {
    fn ask<'a>(
        &'a self,
        cause: &'a Cause,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, TokenError>> + Send + 'a>>;

    fn can_answer(&self, refusal: &Refusal) -> bool;
}

impl<T: TokenSource> AnySource for T {
    fn ask<'a>(
        &'a self,
        cause: &'a Cause,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, TokenError>> + Send + 'a>> {
        Box::pin(self.token(cause))
    }

    fn can_answer(&self, refusal: &Refusal) -> bool {
        self.answers(refusal)
    }
}
