//! The token that is in use, read without a lock.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};

use super::{Refusal, Token, expiry::Freshness};
use crate::time::Moment;

/// A token, and whether a server has refused it since it was put here.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) token: Token,
    refused: OnceLock<Refusal>,
}

impl Held {
    pub(crate) fn new(token: Token) -> Self {
        Self {
            token,
            refused: OnceLock::new(),
        }
    }

    /// What the token's age asks for; a refused one is never used again.
    pub(crate) fn freshness(&self, now: Moment) -> Freshness {
        match self.refused() {
            Some(_) => Freshness::Expired,
            None => self.token.expiry().freshness(now),
        }
    }

    /// Whether it may still be used when no better one can be had: not refused, and alive,
    /// though perhaps not for long.
    pub(crate) fn is_alive(&self, now: Moment) -> bool {
        self.refused().is_none() && !self.token.expiry().is_dead(now)
    }

    pub(crate) fn refused(&self) -> Option<&Refusal> {
        self.refused.get()
    }

    /// From now on requests wait for a newer one. The first refusal is the one that is kept.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let _ = self.refused.set(refusal);
    }
}

/// Holds the current token.
///
/// Only a landing flight writes here, under its cache's lock, so a newer token is never replaced by an
/// older one.
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
}
