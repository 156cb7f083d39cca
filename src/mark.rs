//! Request marks: what a caller says about one request, as an [extension](http::Extensions).
//!
//! ```
//! use std::time::Duration;
//! use http::Request;
//! use tower_outbound::mark::{Deadline, ReplaySafe};
//!
//! // A query that is sent as a POST, and changes nothing on the server.
//! let request = Request::post("https://api.example.com/query")
//!     .extension(ReplaySafe)
//!     .extension(Deadline::within(Duration::from_secs(30)))
//!     .body(r#"{"interval":"2026-01-01/2026-01-02"}"#)?;
//! # Ok::<(), http::Error>(())
//! ```
//!
//! | mark | set by | read by | meaning |
//! |---|---|---|---|
//! | [`ReplaySafe`] | caller | rate limit | sending it twice does what sending it once does |
//! | [`NoRetry`] | caller | rate limit | one attempt, whatever comes back |
//! | [`Deadline`] | caller | both layers | no wait goes beyond this time |
//! | [`NoToken`] | caller | token | no token is attached |
//! | [`LimitKey`] | caller | rate limit | whose limit holds it, instead of its origin's |
//! | [`Tenant`] | caller | both layers | one limit per tenant and origin; whose token is attached |
//! | [`Priority`] | caller | rate limit | goes before others that wait for the same limit |
//! | [`ResendCount`] | both layers | layers below | how often it was sent before |

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::time;

/// Sending this request twice has the effect of sending it once, whatever its method says.
///
/// A `POST` that only queries is the usual case. Without this mark (or an `Idempotency-Key`
/// header) a `POST` or `PATCH` is replayed only when the server cannot have acted on it
/// ([RFC 9110, section 9.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaySafe;

/// One attempt only: whatever comes back is the caller's.
///
/// The request still waits while its limit key is closed, and a refused token is still renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoRetry;

/// Attach no token: the request goes to the inner service as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoToken;

/// The time beyond which the caller has no use for an answer.
///
/// It bounds every *wait* of the layers (back-off, the queue of a limit, renewal): one that cannot end in time
/// is not begun, and the response in hand is returned at once. An attempt that is under way is
/// not cut; put [`tower::timeout`](https://docs.rs/tower/latest/tower/timeout/) inside for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at a time of tokio's clock.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// A deadline this long from now; a century away if that is beyond what the clock can tell.
    pub fn within(duration: Duration) -> Self {
        Self(time::after(time::now(), duration))
    }

    /// The time itself.
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// The name under which requests share one rate limit.
///
/// By default that is the request's origin, with its [`Tenant`] if it has one. As a mark on a
/// request it replaces that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LimitKey(Arc<str>);

impl LimitKey {
    /// A key of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimitKey({:?})", self.0)
    }
}

/// On whose behalf a request is made: tenants of one origin share no limit and, if the token layer has a
/// [`KeyedTokenCache`](crate::token::KeyedTokenCache), no token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// A tenant of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What of a request a function sees that tells requests apart: by limit, or by tenant.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The URI.
    pub uri: &'a http::Uri,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// The marks that the caller has set.
    pub extensions: &'a http::Extensions,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn of<B>(request: &'a http::Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// Which of the requests that wait for one limit goes first: the highest, and among equals the first to
/// come. 0 without this mark.
///
/// For the one request that somebody is waiting for, among ten thousand of a job. Those with a lower
/// priority wait as long as there are any with a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub i8);

/// How often this request has been sent before, for whatever reason; absent on the first attempt.
///
/// The layers set it on what they send again, for layers below to see. It is the attribute
/// `http.request.resend_count` of OpenTelemetry's HTTP conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResendCount(pub u32);
