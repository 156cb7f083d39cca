//! Tokens: where they come from, and one place that keeps them fresh.
//!
//! ```
//! use std::time::Duration;
//! use tower_outbound::token::{Grant, TokenCache, source_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_outbound::token::TokenError> {
//! let tokens = TokenCache::new(source_fn(|_cause| async {
//!     Ok(Grant::new("what the server granted").expires_in(Duration::from_secs(3600)))
//! }));
//!
//! let token = tokens.token().await?;
//! assert_eq!(token.generation(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Three words, three things: a [`TokenSource`] asks a server for a token, a [`TokenCache`] holds the
//! present one and decides when to ask again, and a [`Token`] is what is sent.
//!
//! However many requests find the token missing, old or refused, and for whatever reason, one
//! renewal runs at a time. All who need its result share it, be it a token or an error.
//!
//! # Defaults
//!
//! | | | why |
//! |---|---|---|
//! | not used any more | 10 s or a tenth of its life before its end | the way to the server takes time |
//! | renewed in the background | 5 min or a fifth of its life before its end, jittered | outlasts a short outage unnoticed |
//! | a renewal takes at most | 30 s | what clients commonly give one request |
//! | tries within a renewal | 3, from 200 ms, jittered | a lost packet is not an outage |
//! | cool-down after a failure | 1 s doubling to 60 s, full jitter | a recovering server is not stormed |
//! | cool-down after a rejection | 60 s | wrong credentials do not become right, and servers count |
//! | time between two tokens | at least 1 s | the grain of `expires_in` |
//! | between renewals that did not help | 1 s doubling to 60 s | an endpoint may answer 401 for reasons of its own |
//!
//! A token is at its end if either the monotonic or the wall clock says so: the one stands still while
//! a machine is suspended, the other can be set. Its age counts from when it was asked for.
//!
//! # Clone
//!
//! Clones of a [`TokenCache`] share everything: token, renewals, cool-downs. Make one for each set of
//! credentials and clone it; two caches of one client each mint their own tokens.
//!
//! # Cancellation
//!
//! Renewals run in a tokio task of their own, started by the first poll that needs one. Whoever waits for
//! it may go away; the others get its result. [`TokenCache::settle`] lets it end before the program does.
//!
//! # Errors
//!
//! A failed renewal is an error to all who waited for it, and to everybody during the cool-down after
//! it, at once and without a request. A token that nobody refused is used until its very end
//! when no newer one can be had.

mod attach;
mod cache;
mod cell;
mod error;
mod expiry;
mod flight;
mod grant;
mod health;
mod keyed;
mod secret;
mod source;
#[allow(clippy::module_inception)]
mod token;

pub use self::{
    attach::{Answered, Attach},
    cache::{TokenCache, TokenCacheBuilder},
    error::{TokenError, TokenErrorKind},
    expiry::ExpiryPolicy,
    grant::Grant,
    keyed::KeyedTokenCache,
    secret::Secret,
    source::{Cause, Refusal, SourceFn, TokenSource, source_fn},
    token::{CredentialHeader, Token},
};
pub(crate) use self::{
    cache::Need,
    cell::Held,
    error::{OAuthError, Rotation},
};

#[cfg(test)]
mod tests;
