//! A limit on how many requests are under way at the same time, as it shows itself: a decision on
//! counts.
//!
//! What a client counts as under way is more than what the server counts: a request holds no place
//! before it has arrived. Sent at once, they are all there before the first is answered, so where the
//! refusals begin is how many fit. Sent evenly over a round trip, more fit: those on the road, too.
//!
//! A rate limit refuses at some number under way, too, and one refusal tells nothing. What tells are
//! two: once all were sent at once, and the next one was refused; so a bucket would hold no more than
//! these. And once far more were let through one after the other, faster than a bucket that holds so
//! few can have gained them. A rate limit that does both would have to be a fast one with a small
//! bucket, and by the number under way that one is kept as well.
//!
//! While a limit is believed to be one on concurrency, no rate is: so many are under way as were let
//! through, and sometimes one more is tried, the more rarely the more a refusal costs. It is believed
//! no longer when it refuses, time and again, what it has let through before, or what is alone.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::learned::Turn;

/// A request that was sent, as far as its answer needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    round: u64,
    /// How many were sent before it in its round.
    before: u64,
    at: Instant,
    /// How many others were under way.
    beside: u32,
}

/// What is known of a limit on concurrency. Told the time, never asks.
#[derive(Debug)]
pub(super) struct Concurrency {
    /// Counts the refusals that were news. Those of requests that were under way at one are none.
    round: u64,
    current: Round,
    previous: Option<Round>,
    /// When the refused request was sent that the current round begins with.
    from: Option<Instant>,
    evidence: Option<Evidence>,
    /// How much evidence it takes to believe.
    convincing: u32,
    limit: Option<Limit>,
    /// In seconds.
    round_trip: f64,
}

/// What was seen between two refusals.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// When the first request was sent.
    opened: Option<Instant>,
    sent: u64,
    let_through: u64,
    /// Of these, how many were sent after the refused one, which was under way then. They may have used up
    /// what the limit gained next.
    after: u64,
    /// As many of the round before.
    carried: u64,
    /// The number of the refused one, from 0.
    refused: u64,
    /// How many others were under way when the refused one was sent.
    fit: u32,
    /// Those were all that had been sent.
    at_once: bool,
    /// From the first request to the refused one, in seconds.
    open: f64,
    /// From the refusal before to this one, in seconds.
    length: f64,
}

/// What speaks for a limit on concurrency.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    /// How many fit at once.
    fit: u32,
    weight: u32,
}

/// The limit that is believed in.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// So many fit that are sent at once.
    at_once: u32,
    /// So many may be under way.
    most: u32,
    /// That is more than was let through before.
    is_trial: bool,
    /// Requests are sent evenly over the round trip, so that more fit.
    evenly: bool,
    /// Requests let through since one of these was changed.
    let_through: u64,
    /// So many are let through before one more is tried.
    patience: u64,
    /// Refusals in a row that were none of a trial.
    unexplained: u32,
    /// What may be sent now, in requests, when they are sent evenly.
    level: f64,
    level_at: Instant,
}

impl Concurrency {
    pub(super) fn new() -> Self {
        Self {
            round: 0,
            current: Round::default(),
            previous: None,
            from: None,
            evidence: None,
            convincing: CONVINCING,
            limit: None,
            round_trip: 0.0,
        }
    }

    /// How many requests may be under way, if that is what the limit is on.
    pub(super) fn most(&self) -> Option<u32> {
        self.limit.map(|limit| limit.most)
    }

    /// How many requests it lets through in a second, and at once.
    pub(super) fn estimate(&self) -> Option<(f64, f64)> {
        let most = f64::from(self.most()?);
        Some((most / self.round_trip, most))
    }

    pub(super) fn turn(&mut self, under_way: u32, now: Instant) -> Turn {
        let Some(limit) = &mut self.limit else {
            return Turn::Go;
        };
        if under_way >= limit.most {
            return Turn::AfterAnswer;
        }
        if !limit.evenly {
            return Turn::Go;
        }
        let pace = limit.refill(self.round_trip, now);
        let missing = 1.0 - limit.level;
        if missing <= ROUNDING {
            return Turn::Go;
        }
        Turn::At(now + Duration::from_secs_f64((missing / pace).max(LEAST_WAIT)))
    }

    /// A request is sent while so many others are under way.
    pub(super) fn sent(&mut self, beside: u32, now: Instant) -> Sent {
        if let Some(limit) = &mut self.limit {
            limit.refill(self.round_trip, now);
            limit.level = (limit.level - 1.0).max(0.0);
        }
        let before = self.current.sent;
        self.current.sent += 1;
        self.current.opened.get_or_insert(now);
        Sent {
            round: self.round,
            before,
            at: now,
            beside,
        }
    }

    pub(super) fn let_through(&mut self, sent: Sent, now: Instant) {
        let took = now.saturating_duration_since(sent.at).as_secs_f64();
        self.round_trip = match self.round_trip {
            0.0 => took,
            average => average + (took - average) / 10.0,
        };
        if sent.round == self.round {
            self.current.let_through += 1;
            if let Some(limit) = &mut self.limit {
                limit.let_through(sent.beside + 1, now);
            }
        } else if sent.round + 1 == self.round
            && let Some(previous) = &mut self.previous
        {
            previous.let_through += 1;
            previous.after += u64::from(sent.before > previous.refused);
        }
    }

    /// A request was refused whose sending was not seen.
    pub(super) fn refused_unseen(&mut self, now: Instant) {
        self.from.get_or_insert(now);
    }

    /// A request was refused by a limit, and nothing is sent for so long.
    pub(super) fn refused(&mut self, sent: Sent, closed: Duration) {
        if sent.round != self.round {
            if sent.round + 1 == self.round
                && let Some(previous) = &mut self.previous
            {
                previous.fit = previous.fit.min(sent.beside);
            }
            return;
        }
        let seconds_since = |from: Option<Instant>| {
            from.map_or(0.0, |from| {
                sent.at.saturating_duration_since(from).as_secs_f64()
            })
        };
        let round = Round {
            carried: self.previous.map_or(0, |previous| previous.after),
            refused: sent.before,
            fit: sent.beside,
            at_once: u64::from(sent.beside) == sent.before,
            open: seconds_since(self.current.opened),
            length: seconds_since(self.from),
            ..mem::take(&mut self.current)
        };
        self.round += 1;
        self.from = Some(sent.at);
        let previous = self.previous.replace(round);

        if let Some(limit) = &mut self.limit {
            let round_trips = closed.as_secs_f64() / self.round_trip.max(LEAST_WAIT);
            if !limit.refused(sent.beside, round_trips) {
                self.limit = None;
                self.evidence = None;
                self.convincing = self.convincing.saturating_mul(DISTRUST);
            }
            return;
        }
        // A limit of so many does not refuse beside fewer.
        let known = self.evidence.filter(|known| known.fit <= round.fit);
        let found = previous.and_then(|other| round.evidence(&other, self.round_trip));
        self.evidence = match (known, found) {
            (Some(known), Some(found)) if known.fit == found.fit => Some(Evidence {
                fit: found.fit,
                weight: known.weight + found.weight,
            }),
            (known, found) => found.or(known),
        };
        if let Some(Evidence { fit, weight }) = self.evidence
            && weight >= self.convincing
        {
            self.limit = Some(Limit::new(fit, sent.at));
        }
    }
}

impl Round {
    /// How much speaks for it that these two were ended by a limit on concurrency.
    fn evidence(&self, other: &Round, round_trip: f64) -> Option<Evidence> {
        let (fit, burst, steady) = match (self.fit_at_once(), other.fit_at_once()) {
            (Some(fit), None) => (fit, self, other),
            (None, Some(fit)) => (fit, other, self),
            _ => return None,
        };
        let beyond = steady.let_through.saturating_sub(fit.into());
        if steady.at_once || steady.fit < fit || beyond < fit.into() {
            return None;
        }
        let average = steady.let_through as f64 / steady.length;
        // Few may fit because little was gained since the refusal before. That is known to be wrong where
        // more was gained in the steady round, or while those came back that were under way at it.
        let fit_and_one = f64::from(fit) + 1.0;
        let carried = burst.carried as f64;
        let own = (steady.let_through - steady.after) as f64 / steady.length;
        let less = DIFFERENT * (fit_and_one + carried) / burst.length < own;
        let gained = carried / round_trip * (burst.length - round_trip);
        if !less && (2 * burst.carried < fit.into() || gained < MUCH_FASTER * fit_and_one) {
            return None;
        }
        // What a bucket that holds so few lets through besides, it has gained while it was open; and it
        // gains no less while it is closed.
        let gained = beyond as f64 / steady.open;
        let weight = if gained > MUCH_FASTER * average && beyond >= MANY {
            CONVINCING
        } else if gained > FASTER * average || steady.fit == fit {
            1
        } else {
            return None;
        };
        Some(Evidence { fit, weight })
    }

    /// How many fit at once, if they were sent so, and as many were let through as had been counted.
    fn fit_at_once(&self) -> Option<u32> {
        let fit = u64::from(self.fit);
        let agrees = self.let_through.abs_diff(fit) <= fit / 8;
        (self.at_once && agrees && self.fit >= LEAST_FIT).then_some(self.fit)
    }
}

impl Limit {
    fn new(at_once: u32, now: Instant) -> Self {
        Self {
            at_once,
            most: at_once,
            is_trial: false,
            evenly: true,
            let_through: 0,
            patience: 2 * u64::from(at_once),
            unexplained: 0,
            level: 0.0,
            level_at: now,
        }
    }

    /// Returns how many requests a second are sent at most, when they are sent evenly.
    fn refill(&mut self, round_trip: f64, now: Instant) -> f64 {
        let pace =
            f64::from(self.most) / (round_trip * EVENLY_OVER).clamp(LEAST_WAIT, LONGEST_ROAD);
        let gained = now.saturating_duration_since(self.level_at).as_secs_f64() * pace;
        self.level = (self.level + gained).min(1.0 + pace * TIMER);
        self.level_at = self.level_at.max(now);
        pace
    }

    /// One was let through while so many were under way, itself included.
    fn let_through(&mut self, under_way: u32, now: Instant) {
        self.let_through += 1;
        if under_way < self.most || self.let_through < self.patience.max(self.most.into()) {
            return;
        }
        self.let_through = 0;
        self.unexplained = 0;
        if mem::replace(&mut self.evenly, true) {
            self.most = self.most.saturating_add((self.most / 16).max(1));
            self.is_trial = true;
            // Where these are let through, more may be: the number rises until one is refused.
            self.patience = 0;
        } else {
            // They go and come together: one more would find all of them there. So they are spread first.
            self.patience = 2 * u64::from(self.most);
            (self.level, self.level_at) = (0.0, now);
        }
    }

    /// One was refused while so many others were under way, which costs so many round trips. Whether
    /// the limit is believed in still.
    fn refused(&mut self, beside: u32, round_trips: f64) -> bool {
        if self.let_through >= self.patience {
            self.unexplained = 0;
        }
        self.most = if self.is_trial {
            // Well below: that one was let through before may have been luck.
            (self.most - (self.most / 8).max(1)).max(self.at_once)
        } else {
            self.unexplained += 1;
            self.at_once + (self.most - self.at_once) / 2
        };
        if beside < self.at_once {
            (self.at_once, self.most) = (beside, beside);
        }
        self.is_trial = false;
        self.evenly = self.most > self.at_once;
        self.let_through = 0;
        let cost = round_trips * f64::from(self.most);
        self.patience = LEAST_PATIENCE.max((cost / SHARE_OF_TRIALS) as u64);
        self.most > 0 && self.unexplained < GIVEN_UP_AFTER
    }
}

/// So much evidence is enough: that of one pair of refusals, or of two less clear ones.
const CONVINCING: u32 = 2;
/// So many times as much is asked for when it was wrong.
const DISTRUST: u32 = 4;
/// One at a time is a rate.
const LEAST_FIT: u32 = 2;
/// Averages are of the same limit that differ by less.
const DIFFERENT: f64 = 1.1;
/// By less a rate may seem higher than it is, since requests are counted whole.
const FASTER: f64 = 1.25;
const MUCH_FASTER: f64 = 1.5;
/// Of fewer requests no pace can be told for certain.
const MANY: u64 = 8;
/// Callers that give up leave requests behind that hold their places, so it may refuse fewer at times.
const GIVEN_UP_AFTER: u32 = 3;
/// So that one in a few hundred is refused, where that costs nothing.
const LEAST_PATIENCE: u64 = 400;
/// Of the time, so much may be lost to trials.
const SHARE_OF_TRIALS: f64 = 1.0 / 30.0;
/// A little less than the round trip, so that what holds is the count.
const EVENLY_OVER: f64 = 0.98;
/// In seconds: no road is longer. What takes longer is held up at the server.
const LONGEST_ROAD: f64 = 0.5;
/// In seconds. Timers know whole milliseconds, and are late.
const TIMER: f64 = 0.002;
/// Floating-point dust.
const ROUNDING: f64 = 1e-6;
/// In seconds. A wait of nothing would spin.
const LEAST_WAIT: f64 = 1e-4;

#[cfg(test)]
mod tests;
