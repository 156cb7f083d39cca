//! What an answer means: a pure decision on a response's head, or on an error.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use http::Response;
//! use tower_outbound::rate_limit_retry::classify::{Class, Classify, Standard};
//!
//! let (parts, ()) = Response::builder()
//!     .status(429)
//!     .header("retry-after", "30")
//!     .body(())?
//!     .into_parts();
//! let class = Standard::new().response(&parts, SystemTime::UNIX_EPOCH);
//! assert_eq!(class, Class::Refused { wait: Some(Duration::from_secs(30)) });
//! # Ok::<(), http::Error>(())
//! ```

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use http::{StatusCode, response};
use tower::load_shed::error::Overloaded;

use super::{RateLimited, transport};
use crate::{
    causes,
    header::{LegacyFields, RateLimit, exhausted_for, rate_limit, retry_after},
    origin::MissingOrigin,
    token::TokenError,
};

/// What an answer means for the next attempt.
///
/// Whether there is one depends on the request, too: what may have run is replayed only if running it
/// twice does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// It is the caller's, be it a success or not.
    Done,
    /// The server asks for a pause, and did not run the request: the limit key is closed for `wait`,
    /// and every request is replayed.
    Refused {
        /// The least time to wait, as the server told it; `None` if it told none.
        wait: Option<Duration>,
    },
    /// It was not run, for a reason that has nothing to do with a limit: every request is replayed.
    NotProcessed,
    /// This connection was the wrong one, or not ready for it: every request is replayed, once.
    Misdirected,
    /// It failed and may have run: replayed if that is safe. A `wait` closes the limit key.
    Transient {
        /// The least time to wait, as the server told it; `None` if it told none.
        wait: Option<Duration>,
    },
}

/// Tells what an answer means. Pure: no clock, no state, no waiting.
pub trait Classify: Send + Sync + 'static {
    /// What a response means, by its head. With a
    /// [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below, the body is in the
    /// extensions as [`ErrorBody`](crate::buffer_body::ErrorBody).
    ///
    /// `now` is the wall-clock time, for dates in headers.
    fn response(&self, parts: &response::Parts, now: SystemTime) -> Class;

    /// What a response says is left of its limits, refused or not. By default what `RateLimit` says.
    ///
    /// No more than that is sent before the reset.
    fn limits(&self, parts: &response::Parts, now: SystemTime) -> Vec<RateLimit> {
        Standard::new().limits(parts, now)
    }

    /// What an error of the inner service means.
    fn error(&self, error: &(dyn Error + 'static)) -> Class {
        Standard::new().error(error)
    }
}

/// The rules of the standards, which need no knowledge of a vendor.
///
/// | what came back | [`Class`] |
/// |---|---|
/// | 429 | [`Refused`](Class::Refused) |
/// | 408, 502, 503, 504 | [`Transient`](Class::Transient) |
/// | 421, 425 | [`Misdirected`](Class::Misdirected) |
/// | any other status, 500 and 501 among them | [`Done`](Class::Done) |
/// | connect error (feature `hyper-util`), `REFUSED_STREAM` or GOAWAY (feature `h2`), tower's `Overloaded` | [`NotProcessed`](Class::NotProcessed) |
/// | an error of this crate: no token, no origin | [`Done`](Class::Done) |
/// | any other error: reset, cut, timed out | [`Transient`](Class::Transient) |
///
/// The wait is `Retry-After`, or else what `RateLimit` says of a limit that has nothing left.
#[derive(Clone, Debug, Default)]
pub struct Standard {
    legacy: Vec<LegacyFields>,
}

impl Standard {
    /// The rules of the standards.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads these older or vendors' limit headers too. None by default: `X-RateLimit-Reset` means
    /// seconds to one vendor and a date to another.
    pub fn legacy_fields(mut self, fields: impl IntoIterator<Item = LegacyFields>) -> Self {
        self.legacy.extend(fields);
        self
    }

    fn wait(&self, parts: &response::Parts, now: SystemTime) -> Option<Duration> {
        // Retry-After takes precedence: draft-ietf-httpapi-ratelimit-headers-10, section 7.
        retry_after(&parts.headers, now)
            .or_else(|| exhausted_for(&parts.headers, &self.legacy, now))
    }
}

impl Classify for Standard {
    fn response(&self, parts: &response::Parts, now: SystemTime) -> Class {
        match parts.status {
            StatusCode::TOO_MANY_REQUESTS => Class::Refused {
                wait: self.wait(parts, now),
            },
            StatusCode::SERVICE_UNAVAILABLE => Class::Transient {
                wait: self.wait(parts, now),
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Class::Transient { wait: None }
            }
            StatusCode::MISDIRECTED_REQUEST | StatusCode::TOO_EARLY => Class::Misdirected,
            _ => Class::Done,
        }
    }

    fn limits(&self, parts: &response::Parts, now: SystemTime) -> Vec<RateLimit> {
        let mut limits = rate_limit(&parts.headers);
        let older = self.legacy.iter();
        limits.extend(older.filter_map(|fields| fields.limit(&parts.headers, now)));
        limits
    }

    fn error(&self, error: &(dyn Error + 'static)) -> Class {
        for error in causes::chain(error) {
            if is_ours(error) {
                return Class::Done;
            }
            if error.is::<Overloaded>() || transport::was_never_sent(error) {
                return Class::NotProcessed;
            }
        }
        Class::Transient { wait: None }
    }
}

/// Errors that say that nothing was sent, and that trying again at once would not help.
fn is_ours(error: &(dyn Error + 'static)) -> bool {
    error.is::<TokenError>() || error.is::<MissingOrigin>() || error.is::<RateLimited>()
}

/// Standard rules with the last word given to a closure.
///
/// ```
/// use http::StatusCode;
/// use tower_outbound::rate_limit_retry::{RateLimitRetryLayer, classify::{Class, classify_fn}};
///
/// let layer = RateLimitRetryLayer::new().classify(classify_fn(|parts, standard| {
///     match parts.headers.get("x-quota") {
///         // A monthly quota: no wait cures that.
///         Some(quota) if quota == "exhausted" => Class::Done,
///         // This server calls a deadlock a conflict.
///         _ if parts.status == StatusCode::CONFLICT => Class::Transient { wait: None },
///         _ => standard,
///     }
/// }));
/// ```
pub fn classify_fn<F>(classify: F) -> ClassifyFn<F>
where
    F: Fn(&response::Parts, Class) -> Class + Send + Sync + 'static,
{
    ClassifyFn {
        standard: Standard::new(),
        classify,
    }
}

/// The classifier made by [`classify_fn`].
#[derive(Clone)]
pub struct ClassifyFn<F> {
    standard: Standard,
    classify: F,
}

impl<F> std::fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClassifyFn")
            .field("standard", &self.standard)
            .finish_non_exhaustive()
    }
}

impl<F> Classify for ClassifyFn<F>
where
    F: Fn(&response::Parts, Class) -> Class + Send + Sync + 'static,
{
    fn response(&self, parts: &response::Parts, now: SystemTime) -> Class {
        (self.classify)(parts, self.standard.response(parts, now))
    }

    fn limits(&self, parts: &response::Parts, now: SystemTime) -> Vec<RateLimit> {
        self.standard.limits(parts, now)
    }
}
