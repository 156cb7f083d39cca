//! Who waits for a turn, and in which order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, btree_map::Entry},
    mem,
    task::Waker,
    time::Duration,
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

/// One that comes back, because it was refused or failed, goes before those that never had a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rank {
    Again,
    New,
}

/// Those who wait, and those who have been given a turn and have not seen it yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Place, Waker>,
    /// How many of them have which priority.
    lengths: BTreeMap<Reverse<i8>, usize>,
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

    /// How many go before one that comes now.
    pub(super) fn ahead(&self, priority: i8) -> usize {
        self.lengths
            .range(..=Reverse(priority))
            .map(|(_, n)| n)
            .sum()
    }

    /// Lines up, or leaves another waker. Returns the one that was left before.
    #[must_use = "a waker must not be dropped under the lock"]
    pub(super) fn wait(&mut self, place: Place, waker: &Waker) -> Option<Waker> {
        match self.waiting.entry(place) {
            Entry::Occupied(known) if known.get().will_wake(waker) => None,
            Entry::Occupied(mut known) => Some(known.insert(waker.clone())),
            Entry::Vacant(free) => {
                free.insert(waker.clone());
                *self.lengths.entry(place.priority).or_default() += 1;
                None
            }
        }
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.waiting.first_key_value().map(|(place, _)| *place)
    }

    /// Gives the first one its turn. Returns whom to wake.
    pub(super) fn grant_first(&mut self, ticket: Ticket) -> Option<Waker> {
        let place = self.first()?;
        self.granted.insert(place, ticket);
        self.leave(place)
    }

    /// The turn that was given to this place, if one was.
    pub(super) fn take_granted(&mut self, place: Place) -> Option<Ticket> {
        self.granted.remove(&place)
    }

    /// Steps out of the line. Returns the waker that was left.
    #[must_use = "a waker must not be dropped under the lock"]
    pub(super) fn leave(&mut self, place: Place) -> Option<Waker> {
        let waker = self.waiting.remove(&place)?;
        if let Some(length) = self.lengths.get_mut(&place.priority) {
            *length -= 1;
        }
        Some(waker)
    }

    /// This one will look again at this time, or when it is woken.
    pub(super) fn set_alarm(&mut self, place: Place, at: Instant) {
        self.alarm = Some((place, at));
    }

    /// Whoever looks has no alarm any more, unless it is set anew.
    pub(super) fn clear_alarm(&mut self, place: Place) {
        self.alarm = self.alarm.filter(|(holder, _)| *holder != place);
    }

    /// Whom to wake, so that the first one looks again at this time; none if it will.
    pub(super) fn alarm_first(&self, at: Instant) -> Option<Waker> {
        let (first, waker) = self.waiting.first_key_value()?;
        match self.alarm {
            Some((place, set)) if place == *first && set <= at + ALARM_PRECISION => None,
            _ => Some(waker.clone()),
        }
    }

    /// Sends everybody out of the line. Returns whom to wake.
    pub(super) fn dismiss(&mut self) -> Vec<Waker> {
        self.lengths.clear();
        mem::take(&mut self.waiting).into_values().collect()
    }
}

impl Place {
    /// The place of the same request when it comes back.
    pub(super) fn again(self) -> Self {
        Self {
            rank: Rank::Again,
            ..self
        }
    }
}

/// That of tokio's timers.
const ALARM_PRECISION: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
