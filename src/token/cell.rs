//! The token that is in use, read without a lock.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};

use super::{Cause, Token, expiry::Freshness};
use crate::time::Moment;

/// A token, and whether it has been found to be no good since it was put here.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) token: Token,
    spoiled: OnceLock<Cause>,
}

impl Held {
    pub(crate) fn new(token: Token) -> Self {
        Self {
            token,
            spoiled: OnceLock::new(),
        }
    }

    /// What the token's age asks for; a spoiled one is never used again.
    pub(crate) fn freshness(&self, now: Moment) -> Freshness {
        match self.spoiled() {
            Some(_) => Freshness::Expired,
            None => self.token.expiry().freshness(now),
        }
    }

    /// Whether it may still be used when no better one can be had: not spoiled, and alive,
    /// though perhaps not for long.
    pub(crate) fn is_alive(&self, now: Moment) -> bool {
        self.spoiled().is_none() && !self.token.expiry().is_dead(now)
    }

    /// Why it is no good: refused by a server, or invalidated by the user.
    pub(crate) fn spoiled(&self) -> Option<&Cause> {
        self.spoiled.get()
    }

    /// From now on requests wait for a newer one. The first cause is the one that is kept.
    pub(crate) fn spoil(&self, cause: Cause) {
        let _ = self.spoiled.set(cause);
    }
}

/// Holds the current token.
///
/// Written under the cache's lock alone, so a newer token is never replaced by an older one.
#[derive(Debug, Default)]
pub(crate) struct TokenCell(ArcSwapOption<Held>);

impl TokenCell {
    pub(crate) fn load(&self) -> Guard<Option<Arc<Held>>> {
        self.0.load()
    }

    pub(crate) fn load_full(&self) -> Option<Arc<Held>> {
        self.0.load_full()
    }

    pub(crate) fn store(&self, held: Arc<Held>) {
        self.0.store(Some(held));
    }

    pub(crate) fn clear(&self) {
        self.0.store(None);
    }
}
