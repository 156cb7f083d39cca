//! A request's turn.

use std::sync::Arc;

use tokio::time::Instant;

use super::{gate::Gate, learned::Pause, limits::Ticket, queue::Place};
use crate::{
    header::{RateLimit, RateLimitPolicy},
    time,
};

/// A turn. Dropped without an answer, its request counts as lost.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    place: Place,
    /// `None` once it is accounted for.
    ticket: Option<Ticket>,
}

impl Permit {
    pub(super) fn new(gate: Arc<Gate>, place: Place, ticket: Ticket) -> Self {
        Self {
            gate,
            place,
            ticket: Some(ticket),
        }
    }

    /// Whether the limit has not closed since. If it has, a turn has to be asked for again.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        self.gate.is_open(now)
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// An answer came that is no refusal.
    pub(crate) fn let_through(mut self, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.let_through(ticket, now);
        }
    }

    pub(crate) fn refused(mut self, pause: Pause, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.refused(ticket, pause, now);
        }
    }

    /// The answer says how much is left.
    pub(crate) fn told(&self, limits: &[RateLimit], policies: &[RateLimitPolicy], now: Instant) {
        if let Some(ticket) = self.ticket {
            self.gate.told(ticket, limits, policies, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.lost(ticket, time::now());
        }
    }
}
