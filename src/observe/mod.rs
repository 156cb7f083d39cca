//! What happens, told once: the layers emit an [`Event`], and this file says how it is logged.

use std::{path::Path, time::Duration};

use tracing::{debug, info, trace, warn};

use crate::{
    mark::LimitKey,
    outcome::Stopped,
    rate_limit_retry::Pause,
    store::StoreError,
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
    /// The server takes the refresh token no more.
    LoginEnded { reason: &'a str },
    /// What was granted could not be written down yet.
    StoreFailed { error: &'a StoreError },
    /// A server refused a token.
    TokenRefused { generation: u64 },
    /// A refused request is sent again with this token.
    TokenReplay { generation: u64 },
    /// A request is sent again with the same token, attached in another way.
    AttachedAgain { generation: u64 },
    /// Others could read the file with the tokens; now they cannot.
    StoreMadePrivate { path: &'a Path },
    /// A limit refused a request.
    Refused { key: &'a LimitKey, pause: Pause },
    /// A request waits for its turn.
    Held { key: &'a LimitKey },
    /// A request is to be sent again.
    Retrying { resends: u32 },
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
        Event::LoginEnded { reason } => warn!(reason, "the user has to log in again"),
        Event::StoreFailed { error } => warn!(%error, "the token store could not be written"),
        Event::TokenRefused { generation } => debug!(generation, "the server refused the token"),
        Event::TokenReplay { generation } => debug!(generation, "replaying with a token"),
        Event::AttachedAgain { generation } => debug!(generation, "attaching the token anew"),
        Event::StoreMadePrivate { path } => {
            let path = path.display();
            warn!(%path, "others could read the token file; it is private now");
        }
        Event::Refused { key, pause } => debug!(?key, ?pause, "refused by a limit"),
        Event::Held { key } => trace!(?key, "waiting for its turn"),
        Event::Retrying { resends } => debug!(resends, "to be sent again"),
        Event::Stopped { reason } => debug!(?reason, "not sending again"),
    }
}
