use std::time::Duration;

use http::uri::Authority;

use crate::{
    mark::LimitKey,
    outcome::Stopped,
    rate_limit_retry::RateLimited,
    store::StoreError,
    token::{Cause, TokenError},
};

/// Something that was done, or decided against.
///
/// The common road, a request with a good token and no limit in sight, tells nothing. An
/// `authority` is the host and port of a request's URI, if it has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A token is being asked for.
    #[non_exhaustive]
    Renewing {
        /// Why.
        cause: &'a Cause,
        /// The number of the token that is replaced; 0 if there was none.
        generation: u64,
        /// How long that one could still be used; `None` if it has no end that is known, or cannot
        /// be used.
        left: Option<Duration>,
    },
    /// A token came.
    #[non_exhaustive]
    Renewed {
        /// Why it was asked for.
        cause: &'a Cause,
        /// Its number.
        generation: u64,
        /// How long that took.
        took: Duration,
        /// How long it lives, if that is known.
        left: Option<Duration>,
    },
    /// No token came. All who waited for it get this error, and the cache cools down.
    #[non_exhaustive]
    RenewalFailed {
        /// Why it was asked for.
        cause: &'a Cause,
        /// What went wrong.
        error: &'a TokenError,
        /// How long that took.
        took: Duration,
    },
    /// The server takes the refresh token no more: somebody has to log in again.
    #[non_exhaustive]
    LoginEnded {
        /// What the server said.
        reason: &'a str,
    },
    /// What was granted could not be written down. It is used, and lost if the program ends before
    /// the store is back.
    #[non_exhaustive]
    StoreFailed {
        /// What went wrong.
        error: &'a StoreError,
    },
    /// A request goes to an origin that the token was not meant for; it goes without.
    #[non_exhaustive]
    TokenLeftOut {
        /// Where it goes.
        authority: Option<&'a Authority>,
    },
    /// A server refused a token.
    #[non_exhaustive]
    TokenRefused {
        /// Which server.
        authority: Option<&'a Authority>,
        /// The number of the token.
        generation: u64,
    },
    /// A refused request is sent again.
    #[non_exhaustive]
    TokenReplay {
        /// To which server.
        authority: Option<&'a Authority>,
        /// The number of the token that it has now.
        generation: u64,
        /// Whether it is the same token, attached in another way: with the nonce that a server
        /// wants to see in a proof, say.
        attached_again: bool,
    },
    /// A request whose token was refused is not sent again.
    #[non_exhaustive]
    TokenNotReplayed {
        /// To which server it went.
        authority: Option<&'a Authority>,
        /// Why not.
        reason: Stopped,
    },
    /// A limit refused a request.
    #[non_exhaustive]
    Refused {
        /// Whose limit.
        key: &'a LimitKey,
        /// The pause that the server asked for.
        retry_after: Option<Duration>,
    },
    /// A server says that it is down, or overloaded, and for how long.
    #[non_exhaustive]
    Overloaded {
        /// Whose limit.
        key: &'a LimitKey,
        /// The pause that it asked for.
        retry_after: Duration,
    },
    /// A request waits for its turn.
    #[non_exhaustive]
    Held {
        /// Whose limit.
        key: &'a LimitKey,
    },
    /// It is its turn.
    #[non_exhaustive]
    Released {
        /// Whose limit.
        key: &'a LimitKey,
        /// How long it has waited.
        waited: Duration,
    },
    /// A request will not be sent, because of a limit that is known already.
    #[non_exhaustive]
    TurnedAway {
        /// What the caller gets.
        error: &'a RateLimited,
    },
    /// A request that was refused or failed is to be sent again.
    #[non_exhaustive]
    Retrying {
        /// Whose limit it counts towards.
        key: &'a LimitKey,
        /// How often this layer has sent it again, this time included.
        resends: u32,
        /// How long it waits by itself before; `None` if it waits for its turn, with all others.
        pause: Option<Duration>,
    },
    /// A request that was refused or failed is not sent again.
    #[non_exhaustive]
    NotRetried {
        /// Whose limit it counts towards.
        key: &'a LimitKey,
        /// Why not.
        reason: Stopped,
    },
}
