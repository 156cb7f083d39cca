//! What the layers did before a response was returned.
//!
//! ```
//! use http::Response;
//! use tower_outbound::outcome::Outcome;
//!
//! let response = Response::new(());
//! // Nothing was attached: it is the answer to the first and only attempt.
//! assert_eq!(Outcome::of(&response).resends, 0);
//! ```

use std::time::Duration;

use http::Response;

/// What happened between a call and its response, as an extension of that response.
///
/// A response to the first and only attempt carries none, which [`Outcome::of`] reads as
/// the default: on the common road nothing is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Times that the request was sent again, for any reason.
    pub resends: u32,
    /// Refusals by rate limit (429 and what the classifier counts as such) that it received.
    pub refusals: u32,
    /// Times that it was sent again with another token, or the same one after a pause.
    pub token_replays: u32,
    /// Time spent waiting: cool-downs, back-off, and renewals of the token.
    pub waited: Duration,
    /// Why the layers stopped, where they might have gone on; `None` if the response was accepted.
    pub stopped: Option<Stopped>,
}

impl Outcome {
    /// The outcome told on a response.
    pub fn of<R>(response: &Response<R>) -> Outcome {
        response
            .extensions()
            .get::<Outcome>()
            .cloned()
            .unwrap_or_default()
    }

    /// Tells this outcome on a response, added to what a layer below has told.
    pub(crate) fn tell<R>(self, response: &mut Response<R>) {
        if self == Outcome::default() {
            return;
        }
        let mut told = response
            .extensions_mut()
            .remove::<Outcome>()
            .unwrap_or_default();
        told.add(self);
        response.extensions_mut().insert(told);
    }

    /// Adds what happened in another layer or on another attempt.
    pub(crate) fn add(&mut self, other: Outcome) {
        self.resends = self.resends.saturating_add(other.resends);
        self.refusals = self.refusals.saturating_add(other.refusals);
        self.token_replays = self.token_replays.saturating_add(other.token_replays);
        self.waited = self.waited.saturating_add(other.waited);
        self.stopped = other.stopped.or(self.stopped);
    }
}

/// Why a response that was not a success is returned all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The server may have acted on the request, and doing so twice could do harm.
    NotReplaySafe,
    /// The body could be sent only once.
    BodyNotReplayable,
    /// The request was marked [`NoRetry`](crate::mark::NoRetry).
    MarkedNoRetry,
    /// It failed as often as `max_retries` allows.
    MaxRetries,
    /// It was refused as often as `max_refusals` allows.
    MaxRefusals,
    /// The retry budget is spent: too large a share of all requests is failing.
    Budget,
    /// The server asked for a longer wait than `max_wait`.
    MaxWait {
        /// The wait that it asked for.
        hint: Duration,
    },
    /// The wait would not have ended before the request's [`Deadline`](crate::mark::Deadline).
    Deadline,
    /// The token was refused and could not be renewed; the
    /// [`TokenError`](crate::token::TokenError) is an extension beside this one.
    RenewalFailed,
    /// The token was renewed and refused again.
    RefusedAgain,
    /// The token was refused, and recent renewals did not help, so none was made.
    RenewalWithheld,
}
