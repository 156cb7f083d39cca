//! How events are logged.

use tracing::{debug, info, trace, warn};

use super::Event;

pub(super) fn log(event: &Event<'_>) {
    match event {
        Event::Renewing {
            cause,
            generation,
            left,
        } => debug!(?cause, generation, ?left, "asking for a token"),
        Event::Renewed {
            generation,
            took,
            left,
            ..
        } => info!(generation, ?took, ?left, "token renewed"),
        Event::RenewalFailed { error, took, .. } => {
            warn!(%error, kind = ?error.kind(), ?took, "no token");
        }
        Event::LoginEnded { reason } => warn!(reason, "the user has to log in again"),
        Event::StoreFailed { error } => warn!(%error, "the token store could not be written"),
        Event::TokenLeftOut { authority } => {
            debug!(?authority, "no token attached: not one of its origins");
        }
        Event::TokenRefused { generation, .. } => {
            debug!(generation, "the server refused the token");
        }
        Event::TokenReplay {
            generation,
            attached_again: false,
            ..
        } => debug!(generation, "replaying with a token"),
        Event::TokenReplay { generation, .. } => debug!(generation, "attaching the token anew"),
        Event::TokenNotReplayed { reason, .. } => {
            debug!(?reason, "not replaying, though the token was refused");
        }
        Event::Refused { key, retry_after } => debug!(?key, ?retry_after, "refused by a limit"),
        Event::Overloaded { key, retry_after } => debug!(?key, ?retry_after, "overloaded"),
        Event::Held { key } => trace!(?key, "waiting for its turn"),
        Event::Released { key, waited } => trace!(?key, ?waited, "its turn"),
        Event::TurnedAway { error } => debug!(%error, "turned away"),
        Event::Retrying {
            key,
            resends,
            pause,
        } => debug!(?key, resends, ?pause, "to be sent again"),
        Event::NotRetried { key, reason } => debug!(?key, ?reason, "not sending again"),
    }
}
