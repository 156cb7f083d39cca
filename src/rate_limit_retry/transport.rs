//! Which errors of HTTP clients prove that the server never acted on a request.

use std::error::Error;

/// Whether this very error, not its causes, says that the request never reached the application.
pub(super) fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    client::failed_to_connect(error) || http2::was_not_processed(error)
}

#[cfg(feature = "hyper-util")]
mod client {
    use super::Error;

    /// hyper-util's client says so itself, and reqwest's errors have one of its as a cause.
    pub(super) fn failed_to_connect(error: &(dyn Error + 'static)) -> bool {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(|error| error.is_connect())
    }
}

#[cfg(not(feature = "hyper-util"))]
mod client {
    pub(super) fn failed_to_connect(_: &(dyn super::Error + 'static)) -> bool {
        false
    }
}

#[cfg(feature = "h2")]
mod http2 {
    use super::Error;

    /// A stream that the server refused, or one beyond the last that it takes before it goes away,
    /// was not processed (RFC 9113, section 8.7).
    pub(super) fn was_not_processed(error: &(dyn Error + 'static)) -> bool {
        error.downcast_ref::<h2::Error>().is_some_and(|error| {
            let reason = error.reason();
            let refused = error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            let gone = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            error.is_remote() && (refused || gone)
        })
    }
}

#[cfg(not(feature = "h2"))]
mod http2 {
    pub(super) fn was_not_processed(_: &(dyn super::Error + 'static)) -> bool {
        false
    }
}
