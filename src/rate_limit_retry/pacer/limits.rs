//! All limits of one key: whether the next request may be sent, decided on what is known of each.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    concurrency::{self, Concurrency},
    learned::{Learned, Pause, Sent, Turn},
    quota::{Quota, Used},
    told::{Numbered, Told},
};
use crate::{
    header::{RateLimit, RateLimitPolicy},
    time,
};

/// The limits of one key. Told the time, never asks.
#[derive(Debug)]
pub(super) struct Limits {
    closed_until: Option<Instant>,
    /// A pause longer than anyone waits: whoever comes is told so.
    spent: Option<Spent>,
    quotas: Vec<Used>,
    most_under_way: Option<u32>,
    under_way: u32,
    told: Told,
    learned: Option<Learned>,
    /// What is learned of another kind of limit. While there is one, the rate is not asked for.
    concurrency: Option<Concurrency>,
    /// Requests sent so far.
    sent: u64,
    refusals: u64,
    /// When a limit last showed itself.
    shown: Instant,
    last_pause: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    until: Instant,
    longest_wait: Duration,
}

/// A request that was sent under these limits, and has to be accounted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    numbered: Numbered,
    sent: Option<Sent>,
    counted: Option<concurrency::Sent>,
}

/// How a limit is met by one who knows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learning {
    Off,
    /// Everything at once, until the first refusal.
    On,
    /// So many at a time at first.
    Gentle(u32),
}

impl Limits {
    pub(super) fn new(
        learning: Learning,
        quotas: impl IntoIterator<Item = Quota>,
        most_under_way: Option<u32>,
        now: Instant,
    ) -> Self {
        Self {
            closed_until: None,
            spent: None,
            quotas: quotas.into_iter().map(Used::nothing_of).collect(),
            most_under_way,
            under_way: 0,
            told: Told::default(),
            learned: match learning {
                Learning::Off => None,
                Learning::On => Some(Learned::new()),
                Learning::Gentle(at_first) => Some(Learned::gentle(at_first)),
            },
            concurrency: (learning != Learning::Off).then(Concurrency::new),
            sent: 0,
            refusals: 0,
            shown: now,
            last_pause: Duration::ZERO,
        }
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if let Some(until) = self.closed_until {
            if now < until {
                return Turn::At(until);
            }
            self.closed_until = None;
            if let Some(learned) = &mut self.learned {
                learned.open(now);
            }
        }
        let mut turn = match self.most_under_way {
            Some(most) if self.under_way >= most => Turn::AfterAnswer,
            _ => Turn::Go,
        };
        for quota in &mut self.quotas {
            turn = turn.and(quota.turn(now));
        }
        turn = turn.and(self.told.turn(self.sent + 1, now));
        if let Some(concurrency) = &mut self.concurrency {
            turn = turn.and(concurrency.turn(self.under_way, now));
        }
        if !self.told.guides()
            && self.most_learned().is_none()
            && let Some(learned) = &mut self.learned
        {
            turn = turn.and(learned.turn(now));
        }
        match turn {
            // There is none to wait for: better one too many than a job that stands still.
            Turn::AfterAnswer if self.under_way == 0 => Turn::Go,
            turn => turn,
        }
    }

    /// A request is sent; `waited` if it had to wait for its turn.
    pub(super) fn sent(&mut self, waited: bool, now: Instant) -> Ticket {
        if waited || !self.quotas.is_empty() {
            self.shown = now;
        }
        let others = self.under_way;
        self.sent += 1;
        self.under_way += 1;
        for quota in &mut self.quotas {
            quota.sent(now);
        }
        Ticket {
            numbered: self.told.sent(self.sent, now),
            sent: self
                .learned
                .as_mut()
                .map(|learned| learned.sent(waited, now)),
            counted: self
                .concurrency
                .as_mut()
                .map(|concurrency| concurrency.sent(others, now)),
        }
    }

    pub(super) fn let_through(&mut self, ticket: Ticket, now: Instant) {
        self.under_way -= 1;
        self.told.let_through(ticket.numbered.number, now);
        if let (Some(learned), Some(sent)) = (&mut self.learned, ticket.sent) {
            learned.let_through(sent, now);
        }
        if let (Some(concurrency), Some(counted)) = (&mut self.concurrency, ticket.counted) {
            concurrency.let_through(counted, now);
        }
    }

    /// It was dropped, or failed in a way that tells nothing.
    pub(super) fn lost(&mut self, ticket: Ticket) {
        self.under_way -= 1;
        self.told.lost(ticket.numbered.number);
        if let (Some(learned), Some(sent)) = (&mut self.learned, ticket.sent) {
            learned.lost(sent);
        }
    }

    /// It was refused; without a ticket, one that was sent before there was anything to limit it.
    pub(super) fn refused(&mut self, ticket: Option<Ticket>, pause: Pause, now: Instant) {
        self.refusals += 1;
        self.shown = now;
        if let Some(ticket) = ticket {
            self.under_way -= 1;
            self.told.refused(ticket.numbered, self.sent, now);
        }
        let until = match (&mut self.learned, ticket.and_then(|ticket| ticket.sent)) {
            (Some(learned), Some(sent)) => learned.refused(sent, pause, now),
            (Some(learned), None) => learned.refused_unseen(pause, now),
            (None, _) => time::after(now, pause.length()),
        };
        let until = self.count_refusal(ticket, pause, until, now);
        self.close_until(until, now);
    }

    /// Returns until when nothing is to be sent, if it was that time.
    fn count_refusal(
        &mut self,
        ticket: Option<Ticket>,
        pause: Pause,
        until: Instant,
        now: Instant,
    ) -> Instant {
        let Some(concurrency) = &mut self.concurrency else {
            return until;
        };
        let by_hint = match pause {
            Pause::Hint(_) => true,
            Pause::Guess(_) => false,
            // Who is down refuses whatever the count.
            Pause::Outage(_) => return until,
        };
        let Some(counted) = ticket.and_then(|ticket| ticket.counted) else {
            concurrency.refused_unseen(now);
            return until;
        };
        let closed = if by_hint { until - now } else { Duration::ZERO };
        concurrency.refused(counted, closed);
        if by_hint || concurrency.most().is_none() {
            return until;
        }
        // What has to come is an answer, and no time.
        now
    }

    fn close_until(&mut self, until: Instant, now: Instant) {
        self.last_pause = self.last_pause.max(until.saturating_duration_since(now));
        // Even if that is now: what is learnt begins anew when it opens.
        self.closed_until = self.closed_until.max(Some(until));
    }

    /// The server asks for a pause longer than anyone waits.
    pub(super) fn spent(&mut self, pause: Duration, longest_wait: Duration, now: Instant) {
        let until = time::after(now, pause);
        self.close_until(until, now);
        let known = self.spent.map(|spent| spent.until);
        self.spent = Some(Spent {
            until: known.max(Some(until)).unwrap_or(until),
            longest_wait,
        });
    }

    /// Until when it makes no sense to wait.
    pub(super) fn spent_until(&mut self, now: Instant) -> Option<Instant> {
        let Spent {
            until,
            longest_wait,
        } = self.spent?;
        if until.saturating_duration_since(now) > longest_wait {
            return Some(until);
        }
        // What is left of it can be waited for.
        self.spent = None;
        None
    }

    /// What an answer's fields say of what is left; without a ticket, the answer to one that was sent
    /// before there was anything to limit it.
    pub(super) fn told(
        &mut self,
        ticket: Option<Ticket>,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        self.shown = now;
        let request = ticket.map(|ticket| ticket.numbered);
        self.told
            .answered(request, self.sent, limits, policies, now);
    }

    /// When a request could be sent that has so many before it, as far as is known.
    pub(super) fn expected(&self, ahead: usize, now: Instant) -> Instant {
        let opens = self.closed_until.map_or(now, |until| until.max(now));
        let concurrency = self.concurrency.as_ref().and_then(Concurrency::estimate);
        let Some((rate, burst)) = concurrency.or_else(|| self.estimate()) else {
            return opens;
        };
        let waits = (ahead as f64 + 1.0 - burst).max(0.0) / rate.max(1e-9);
        time::after(
            opens,
            Duration::try_from_secs_f64(waits).unwrap_or(time::CENTURY),
        )
    }

    /// Nothing was seen of any limit for so long that what was known may be wrong.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.shown);
        let longest = self.quotas.iter().map(Used::period).max();
        let longest = longest.unwrap_or_default().max(2 * self.last_pause);
        self.closed_until.is_none_or(|until| until <= now) && quiet > FORGOTTEN_AFTER.max(longest)
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.under_way > 0
    }

    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| now < *until)
    }

    /// The rate and the burst that were learned, unless the limit is on something else.
    pub(super) fn estimate(&self) -> Option<(f64, f64)> {
        let learned = self.learned.as_ref().and_then(Learned::estimate);
        learned.filter(|_| self.most_learned().is_none())
    }

    /// How many may be under way, if the limit was found to be on that.
    pub(super) fn most_learned(&self) -> Option<u32> {
        self.concurrency.as_ref().and_then(Concurrency::most)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refusals
    }

    pub(super) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// When a limit last showed itself.
    pub(super) fn shown(&self) -> Instant {
        self.shown
    }
}

/// Ten times the usual window of a minute.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
