use std::error::Error;

use thiserror::Error;

use crate::causes;

/// A request body is larger than [`BufferBodyLayer`](super::BufferBodyLayer) may buffer; nothing was
/// sent.
///
/// Raise the limit, or let large bodies through once with
/// [`AboveLimit::PassOnce`](super::AboveLimit::PassOnce).
#[derive(Clone, Copy, Debug, Error)]
#[error(
    "the request body is larger than {limit} bytes, and nothing was sent: raise the limit, or choose \
     AboveLimit::PassOnce"
)]
pub struct BodyTooLarge {
    limit: usize,
}

impl BodyTooLarge {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Finds this error in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a BodyTooLarge> {
        causes::find(error)
    }
}
