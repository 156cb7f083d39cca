//! What happens, told once: the layers emit an [`Event`], and this file says how it is logged.

use std::time::Duration;

use tracing::{debug, info, trace, warn};

use crate::{
    mark::LimitKey,
    outcome::Stopped,
    token::{Cause, TokenError},
};

/// Something that a layer did or decided.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A request goes to an origin that the token was not meant for; it goes without.
    TokenLeftOut { host: &'a str },
    /// A token is being asked for.
    Renewing { cause: &'a Cause, generation: u64 },
    /// A token came.
    Renewed {
        generation: u64,
        left: Option<Duration>,
    },
    /// No token came.
    RenewalFailed { error: &'a TokenError },
    /// A server refused a token.
    TokenRefused { generation: u64 },
    /// A refused request is sent again with this token.
    TokenReplay { generation: u64 },
    /// A server asked for a pause.
    Closed { key: &'a LimitKey, pause: Duration },
    /// A request waits for its limit key to open.
    Held { key: &'a LimitKey, pause: Duration },
    /// A request is to be sent again.
    Retrying { resends: u32, pause: Duration },
    /// A request is not sent again, though it failed.
    Stopped { reason: Stopped },
}

/// Tells an event to whoever listens.
pub(crate) fn emit(event: &Event<'_>) {
    match event {
        Event::TokenLeftOut { host } => {
            debug!(host, "no token attached: not one of its origins");
        }
        Event::Renewing { cause, generation } => debug!(?cause, generation, "asking for a token"),
        Event::Renewed { generation, left } => info!(generation, ?left, "token renewed"),
        Event::RenewalFailed { error } => warn!(%error, kind = ?error.kind(), "no token"),
        Event::TokenRefused { generation } => debug!(generation, "the server refused the token"),
        Event::TokenReplay { generation } => debug!(generation, "replaying with a token"),
        Event::Closed { key, pause } => debug!(?key, ?pause, "the server asks for a pause"),
        Event::Held { key, pause } => trace!(?key, ?pause, "waiting for the limit to open"),
        Event::Retrying { resends, pause } => {
            debug!(resends, ?pause, "sending again after a pause")
        }
        Event::Stopped { reason } => debug!(?reason, "not sending again"),
    }
}
