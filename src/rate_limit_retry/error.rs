use std::{error::Error, time::Duration};

use thiserror::Error;
use tokio::time::Instant;

use crate::{causes, mark::LimitKey};

/// A limit is closed until after the request's [`Deadline`](crate::mark::Deadline), so it was not
/// sent.
///
/// Come back at [`retry_at`](Self::retry_at).
#[derive(Clone, Debug, Error)]
#[error(
    "not sent: the server asked for a pause at `{}` that ends {beyond:?} after the request's deadline",
    key.as_str()
)]
pub struct RateLimited {
    key: LimitKey,
    retry_at: Instant,
    beyond: Duration,
}

impl RateLimited {
    pub(crate) fn new(key: LimitKey, retry_at: Instant, deadline: Instant) -> Self {
        Self {
            key,
            retry_at,
            beyond: retry_at.saturating_duration_since(deadline),
        }
    }

    /// The limit that is closed.
    pub fn key(&self) -> &LimitKey {
        &self.key
    }

    /// When the request could be sent.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Finds this error in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RateLimited> {
        causes::find(error)
    }
}
