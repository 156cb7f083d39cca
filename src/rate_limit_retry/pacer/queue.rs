//! Who waits for a turn, and in which order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    task::Waker,
};

use tokio::time::Instant;

use super::limits::Ticket;

/// Where a request stands in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    priority: Reverse<i8>,
    rank: Rank,
    number: u64,
}

/// One that was refused goes before those that were never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rank {
    Refused,
    New,
}

/// Those who wait, and those who have been given a turn and have not seen it yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Place, Waker>,
    granted: HashMap<Place, Ticket>,
    numbers: u64,
    /// Who will look again at which time.
    alarm: Option<(Place, Instant)>,
}

impl Queue {
    pub(super) fn new_place(&mut self, priority: i8) -> Place {
        self.numbers += 1;
        Place {
            priority: Reverse(priority),
            rank: Rank::New,
            number: self.numbers,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Lines up, or leaves another waker.
    pub(super) fn wait(&mut self, place: Place, waker: &Waker) {
        self.waiting
            .entry(place)
            .and_modify(|known| known.clone_from(waker))
            .or_insert_with(|| waker.clone());
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.waiting.first_key_value().map(|(place, _)| *place)
    }

    /// Gives the first one its turn. Returns whom to wake.
    pub(super) fn grant_first(&mut self, ticket: Ticket) -> Option<Waker> {
        let (place, waker) = self.waiting.pop_first()?;
        self.granted.insert(place, ticket);
        Some(waker)
    }

    /// The turn that was given to this place, if one was.
    pub(super) fn take_granted(&mut self, place: Place) -> Option<Ticket> {
        self.granted.remove(&place)
    }

    /// Steps out of the line.
    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// This one will look again at this time, or when it is woken.
    pub(super) fn set_alarm(&mut self, place: Place, at: Option<Instant>) {
        match at {
            Some(at) => self.alarm = Some((place, at)),
            None if self.alarm.is_some_and(|(set_by, _)| set_by == place) => self.alarm = None,
            None => {}
        }
    }

    /// Whom to wake, so that the first one looks again at this time; none if it will.
    pub(super) fn alarm_first(&self, at: Instant) -> Option<Waker> {
        let (first, waker) = self.waiting.first_key_value()?;
        match self.alarm {
            Some((place, set)) if place == *first && set <= at + ALARM_PRECISION => None,
            _ => Some(waker.clone()),
        }
    }

    pub(super) fn everybody(&self) -> Vec<Waker> {
        self.waiting.values().cloned().collect()
    }
}

impl Place {
    /// The place of the same request after it was refused.
    pub(super) fn refused(self) -> Self {
        Self {
            rank: Rank::Refused,
            ..self
        }
    }
}

/// That of tokio's timers.
const ALARM_PRECISION: std::time::Duration = std::time::Duration::from_millis(1);
