use std::{error::Error, fmt, time::Duration};

use thiserror::Error;
use tokio::time::Instant;

use crate::{causes, mark::LimitKey, time};

/// A request was not sent, because of a limit.
///
/// Come back at [`retry_at`](Self::retry_at).
#[derive(Clone, Debug, Error)]
#[error("not sent: {reason} (`{}`); come back in {:.1} s", key.as_str(), after.as_secs_f64())]
pub struct RateLimited {
    key: LimitKey,
    reason: Reason,
    retry_at: Instant,
    after: Duration,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The request's [`Deadline`](crate::mark::Deadline) comes before its turn. Give it more time, or
    /// send fewer at a time.
    Deadline,
    /// The server asked for a pause longer than
    /// [`max_wait`](super::RateLimitRetryLayer::max_wait), as when a daily quota is spent. Until then it
    /// is not asked.
    Spent,
    /// As many requests are waiting as [`max_queue`](super::Pacer::max_queue) allows.
    QueueFull,
}

impl RateLimited {
    pub(crate) fn new(key: LimitKey, reason: Reason, retry_at: Instant) -> Self {
        Self {
            key,
            reason,
            retry_at,
            after: retry_at.saturating_duration_since(time::now()),
        }
    }

    /// The limit that it came up against.
    pub fn key(&self) -> &LimitKey {
        &self.key
    }

    /// Why it was not sent.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When it could be sent, as far as is known: exactly where the server named a time, else by
    /// the rate of the limit.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// How long that was, when the error was made.
    pub fn retry_after(&self) -> Duration {
        self.after
    }

    /// Finds this error in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RateLimited> {
        causes::find(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Deadline => "its deadline comes before its turn",
            Reason::Spent => "the quota is spent for a long time",
            Reason::QueueFull => "too many requests are waiting for this limit",
        })
    }
}
