//! A limit as it shows itself: a decision on what was let through and what was refused.
//!
//! Two refusals with requests between them tell a rate: at both, the server's bucket was empty, so
//! what was let through is what it gained ([`History`]). How much it holds (its burst) shows in what
//! it lets through at once. Neither is known exactly, so both are ranges; they narrow with every
//! refusal.
//!
//! A limit is used as follows. While it is closed, nothing is sent. When it opens, what it is known to
//! hold is sent at once (the *rush*); then requests follow at its rate (the *trickle*), slowly ever
//! faster, until it refuses again. That tells the rate anew, and finds a quota that has grown.
//! Requests that were under way at a refusal are no news: they are told by the epoch.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::history::{History, Trail};
use crate::time;

/// What the limit says to the next request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turn {
    /// Send it.
    Go,
    /// Not before.
    At(Instant),
    /// Not before one of those under way was answered.
    AfterAnswer,
}

impl Turn {
    /// What both say, taken together.
    pub(super) fn and(self, other: Turn) -> Turn {
        match (self, other) {
            (Turn::Go, turn) | (turn, Turn::Go) => turn,
            (Turn::At(one), Turn::At(other)) => Turn::At(one.max(other)),
            // Answers are looked at whenever they come; a time has to be waited for.
            (Turn::At(at), _) | (_, Turn::At(at)) => Turn::At(at),
            (Turn::AfterAnswer, Turn::AfterAnswer) => Turn::AfterAnswer,
        }
    }
}

/// A request that was sent, as far as its answer needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    epoch: u64,
    /// Its number since the limit opened, from 1.
    number: u64,
    /// How many of the trickle were sent until then, itself included.
    trickled: u64,
    rush: bool,
    at: Instant,
    /// When the one before it was sent.
    last: Option<Instant>,
}

/// A refusal's own word on how long to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pause {
    /// The server's, on a limit.
    Hint(Duration),
    /// The server's, since it is down or overloaded. It knows when to be asked again, not when it can
    /// do more: this is no window.
    Outage(Duration),
    /// The server said nothing: this is how long to wait while nothing is known of its limit.
    Guess(Duration),
}

impl Pause {
    pub(super) fn length(self) -> Duration {
        match self {
            Pause::Hint(length) | Pause::Outage(length) | Pause::Guess(length) => length,
        }
    }
}

/// One limit, as far as it is known. Told the time, never asks.
#[derive(Debug)]
pub(super) struct Learned {
    rate: Option<Rate>,
    burst: Burst,
    ramp: Ramp,
    /// Counts the refusals that were news.
    epoch: u64,
    /// `None` until the first refusal.
    history: Option<History>,
    /// The first refusal came to a request whose sending was not seen.
    began_unseen: bool,
    opening: Opening,
    /// Whether it has opened since the refusal that was news last.
    is_open: bool,
    since_opened: SinceOpened,
    /// Refusals in a row, with nothing let through between them.
    failures: u32,
    /// Openings that are tried with one request first, since one was found closed.
    distrust: u32,
    /// The server says when it opens, and nothing is let through before: a window, not a bucket.
    windowed: bool,
    round_trip: f64,
}

/// A rate in requests a second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    least: f64,
    most: f64,
    /// The requests that it was measured with.
    seen: f64,
}

impl Rate {
    fn value(self) -> f64 {
        (self.least * self.most).sqrt()
    }

    fn spread(self) -> f64 {
        self.most / self.least
    }
}

/// How many requests the limit lets through at once.
#[derive(Clone, Copy, Debug)]
struct Burst {
    least: f64,
    most: f64,
    /// What is dared at the next opening.
    tried: f64,
    /// Requests since more was dared than it held.
    since_refuted: f64,
}

/// How the rate of sending rises between two refusals.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    /// By which share it rises over `length` requests.
    step: f64,
    length: f64,
    /// Where it starts; at 1 it is at the estimated rate.
    start: f64,
}

/// How the limit will open.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    by_hint: bool,
    /// How long it will have been closed, in seconds.
    closed: f64,
    /// Requests that were under way when it closed, and may have used up what it gained.
    under_way: f64,
}

/// What happened since the limit opened.
#[derive(Clone, Copy, Debug)]
struct SinceOpened {
    at: Option<Instant>,
    sent: u64,
    last: Option<Instant>,
    rush_left: u64,
    trickled: u64,
    trickle_under_way: u64,
    /// How much of the trickle may be under way at the same time.
    window: f64,
    let_through: f64,
    /// Requests of the trickle that had to wait for their turn.
    paced: f64,
    /// Requests beyond what the estimated rate gives.
    beyond: f64,
    /// One request is out to see whether the limit is open.
    scout: bool,
    /// What may be sent now, in requests.
    level: f64,
    level_at: Option<Instant>,
}

impl Learned {
    /// Of a limit of which nothing is known: everything may be sent at once.
    pub(super) fn new() -> Self {
        Self::with_window(f64::INFINITY)
    }

    /// Starts with so many requests at a time, one more with each that is let through.
    pub(super) fn gentle(at_first: u32) -> Self {
        Self::with_window(f64::from(at_first.max(1)))
    }

    fn with_window(window: f64) -> Self {
        Self {
            rate: None,
            burst: Burst {
                least: 1.0,
                most: f64::INFINITY,
                tried: 1.0,
                since_refuted: f64::INFINITY,
            },
            ramp: Ramp {
                step: MOST_STEP,
                length: LEAST_RAMP,
                start: 1.0,
            },
            epoch: 0,
            history: None,
            began_unseen: false,
            opening: Opening::default(),
            is_open: true,
            since_opened: SinceOpened::new(window),
            failures: 0,
            distrust: 0,
            windowed: false,
            round_trip: 0.0,
        }
    }

    /// The rate in requests a second and the burst, once they are known.
    pub(super) fn estimate(&self) -> Option<(f64, f64)> {
        self.rate.map(|rate| (rate.value(), self.burst.least))
    }

    // ===== sending =====

    /// The limit opens again.
    pub(super) fn open(&mut self, now: Instant) {
        // A refusal that is no news may have closed it once more. Those sent before that are still
        // under way, and numbered.
        if mem::replace(&mut self.is_open, true) {
            return;
        }
        if let Some(history) = &mut self.history {
            history.sent(0, now);
        }
        let window = if self.windowed && self.opening.by_hint {
            // Beyond the rush, one at a time: it is not expected to be let through.
            1.0
        } else {
            self.since_opened.window
        };
        self.since_opened = SinceOpened::new(window);
        self.since_opened.at = Some(now);
        self.since_opened.level_at = Some(now);
        self.since_opened.scout = self.distrust > 0;
        let Some(rate) = self.rate else { return };
        let gained = rate.value() * self.opening.closed - self.opening.under_way;
        let gained = gained.max(0.0) * SHARE_OF_GAIN;
        if !self.opening.by_hint {
            self.since_opened.level = self.burst.least.min(gained);
        } else if self.windowed {
            self.since_opened.rush_left = self.burst.tried as u64;
        } else {
            self.since_opened.rush_left = self.burst.tried.min(gained) as u64;
        }
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let since = &self.since_opened;
        if since.scout {
            return self.after_answer(now);
        }
        if since.rush_left > 0 {
            return Turn::Go;
        }
        if since.trickle_under_way as f64 >= since.window {
            return self.after_answer(now);
        }
        let unpaced = self.windowed && self.opening.by_hint;
        let Some(rate) = self.rate.filter(|_| !unpaced) else {
            return Turn::Go;
        };
        let pace = self.pace(rate);
        self.refill(pace, now);
        let missing = 1.0 - self.since_opened.level;
        if missing <= ROUNDING {
            return Turn::Go;
        }
        Turn::At(now + Duration::from_secs_f64((missing / pace).clamp(LEAST_WAIT, LONGEST_WAIT)))
    }

    /// Not before one of those under way was answered, unless that takes long: a long poll tells
    /// nothing of a limit, and must not hold the others.
    fn after_answer(&self, now: Instant) -> Turn {
        match self.since_opened.last {
            Some(last) if now < last + LONG_IN_COMING => Turn::At(last + LONG_IN_COMING),
            _ => Turn::Go,
        }
    }

    /// A request is sent; `waited` if it had to wait for its turn.
    pub(super) fn sent(&mut self, waited: bool, now: Instant) -> Sent {
        self.since_opened.sent += 1;
        let rush = self.since_opened.rush_left > 0 && !self.since_opened.scout;
        if rush {
            self.since_opened.rush_left -= 1;
            self.since_opened.level = 0.0;
            self.since_opened.level_at = Some(now);
        } else {
            if let Some(rate) = self.rate {
                let pace = self.pace(rate);
                self.refill(pace, now);
                let since = &mut self.since_opened;
                if waited && since.level < 2.0 {
                    since.paced += 1.0;
                    since.beyond += (1.0 - rate.value() / pace).max(0.0);
                }
                since.level = (since.level - 1.0).max(0.0);
            }
            self.since_opened.trickled += 1;
            self.since_opened.trickle_under_way += 1;
        }
        if let Some(history) = &mut self.history {
            history.sent(self.since_opened.sent, now);
        }
        Sent {
            epoch: self.epoch,
            number: self.since_opened.sent,
            trickled: self.since_opened.trickled,
            rush,
            at: now,
            last: self.since_opened.last.replace(now),
        }
    }

    /// The rate of sending now.
    fn pace(&self, rate: Rate) -> f64 {
        let since = &self.since_opened;
        let risen = self.ramp.start + since.paced / self.ramp.length - 1.0;
        let value = rate.value();
        let ramped = value * (1.0 + self.ramp.step * (risen + RAMP_BEND * risen.powi(3)));
        // More was let through than the limit can have held: it is not what it was.
        let doubt = 1.5 * self.burst.least + 10.0 + value * self.round_trip + 0.01 * since.paced;
        ramped.max(value * 0.1) * (since.beyond / doubt).max(1.0)
    }

    fn refill(&mut self, pace: f64, now: Instant) {
        let since = &mut self.since_opened;
        let at = since.level_at.unwrap_or(now);
        let gained = now.saturating_duration_since(at).as_secs_f64() * pace;
        since.level = (since.level + gained).min(self.burst.least.max(1.0));
        since.level_at = Some(at.max(now));
    }

    // ===== answers =====

    pub(super) fn let_through(&mut self, sent: Sent, now: Instant) {
        let took = now.saturating_duration_since(sent.at).as_secs_f64();
        self.round_trip = match self.round_trip {
            0.0 => took,
            average => average + (took - average) / 10.0,
        };
        self.failures = 0;
        if sent.epoch != self.epoch {
            if sent.epoch + 1 == self.epoch
                && let Some(history) = &mut self.history
            {
                history.let_through_late(sent.at);
            }
            return;
        }
        let learned = self.rate.is_some();
        let since = &mut self.since_opened;
        since.scout = false;
        if sent.rush {
            return;
        }
        since.trickle_under_way = since.trickle_under_way.saturating_sub(1);
        since.let_through += 1.0;
        since.window += if learned || since.window < FAST_START {
            1.0
        } else {
            // Doubling no longer: what is under way when the end is met is refused.
            (since.let_through / 8.0).max(8.0).min(since.window) / since.window
        };
    }

    /// No answer came, or none that tells of a limit.
    pub(super) fn lost(&mut self, sent: Sent) {
        if sent.epoch != self.epoch {
            return;
        }
        self.since_opened.scout = false;
        if !sent.rush {
            let under_way = self.since_opened.trickle_under_way;
            self.since_opened.trickle_under_way = under_way.saturating_sub(1);
        }
    }

    /// A refusal of a request whose sending was not seen: of the first ones, before there was a limit.
    ///
    /// Returns when the limit opens, as far as is known here.
    pub(super) fn refused_unseen(&mut self, pause: Pause, now: Instant) -> Instant {
        if self.history.is_some() {
            return match pause {
                Pause::Hint(hint) | Pause::Outage(hint) => time::after(now, hint),
                Pause::Guess(_) => now,
            };
        }
        self.began_unseen = true;
        self.close(now, 0, pause, now)
    }

    /// Returns when the limit opens, as far as is known here.
    pub(super) fn refused(&mut self, sent: Sent, pause: Pause, now: Instant) -> Instant {
        if sent.epoch != self.epoch {
            return match pause {
                Pause::Hint(hint) | Pause::Outage(hint) => time::after(now, hint),
                Pause::Guess(_) => now,
            };
        }
        if let (Some(history), Some(opened)) = (&self.history, self.since_opened.at) {
            let earlier = if self.began_unseen {
                self.round_trip
            } else {
                0.0
            };
            let trail = history.until(sent.last, sent.at, sent.number - 1, earlier);
            let open = sent.at.saturating_duration_since(opened).as_secs_f64();
            let closed = opened
                .saturating_duration_since(history.from())
                .as_secs_f64();
            if trail.requests() >= 1.0 {
                self.began_unseen = false;
                self.learn(&trail, sent, open, closed + earlier, pause);
            }
            let expected = self.rate.map_or(0.0, Rate::value) * self.opening.closed;
            let found_closed =
                sent.number == 1 && expected > 4.0 && self.opening.closed > 4.0 * self.round_trip;
            self.distrust = if found_closed {
                DISTRUSTED_OPENINGS
            } else {
                self.distrust.saturating_sub(1)
            };
        }
        let behind = self.since_opened.sent - sent.number;
        self.close(sent.at, behind, pause, now)
    }

    fn close(&mut self, sent_at: Instant, behind: u64, pause: Pause, now: Instant) -> Instant {
        if self.history.is_none() {
            self.since_opened.window = self.since_opened.window.min(START);
        }
        let by_hint = !matches!(pause, Pause::Guess(_));
        let pause = match pause {
            Pause::Hint(hint) | Pause::Outage(hint) => hint,
            Pause::Guess(guess) => {
                let first = match self.rate {
                    Some(rate) => LEAST_PAUSE.max(Duration::from_secs_f64(1.0 / rate.value())),
                    None => LEAST_PAUSE.max(guess),
                };
                let doubled = first.saturating_mul(1 << self.failures.min(16));
                doubled.min(LONGEST_GUESS.max(first))
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.epoch += 1;
        self.is_open = false;
        self.history = Some(History::new(sent_at, now));
        self.opening = Opening {
            by_hint,
            closed: now
                .saturating_duration_since(sent_at)
                .saturating_add(pause)
                .as_secs_f64(),
            under_way: behind as f64,
        };
        time::after(now, pause)
    }

    /// Takes in what was let through between two refusals.
    ///
    /// `open` and `closed` are the seconds that the limit was open and closed of that time.
    fn learn(&mut self, trail: &Trail, refused: Sent, open: f64, closed: f64, pause: Pause) {
        let accepted = (refused.number - 1) as f64;
        self.burst.since_refuted += accepted;
        if refused.rush
            && let Some(rate) = self.rate
        {
            // It held less than was dared. Of the rate that says nothing.
            self.burst.least = self.burst.least.min(accepted).max(1.0);
            self.burst.most = self.burst.least + 1.0;
            self.burst.tried = self.burst.least;
            self.burst.since_refuted = 0.0;
            self.ramp.start = self.start_of_ramp(rate, self.forgone(rate, closed));
            return;
        }

        let rate = self.measure(trail, accepted, open, pause);
        let first = self.rate.is_none();
        self.rate = Some(rate);
        self.size_up(trail, rate, first, accepted, open, closed);

        let forgone = self.forgone(rate, closed);
        // More is dared where a refusal costs little, and not so often that it would be felt.
        let requests_between = 50.0 + 10.0 * self.burst.least;
        let dares = forgone < self.burst.least && self.burst.since_refuted > requests_between;
        self.burst.tried = if dares {
            let more = self.burst.least * 1.25 + 1.0;
            more.min(accepted)
                .min(self.burst.most)
                .max(self.burst.least)
        } else {
            self.burst.least
        };
        let step = (rate.spread() - 1.0) / 2.0 + 1.0 / rate.seen;
        let step = step.clamp(LEAST_STEP, MOST_STEP);
        let shortest = LEAST_RAMP
            .max(2.0 * self.burst.least)
            .max(4.0 * rate.value() * self.round_trip);
        // So that one in a few hundred is refused. A large burst forgives a ramp that is too steep, and
        // takes long to be used up.
        let longest = (150.0 + 150.0 / self.burst.least).max(5.0 * self.burst.least);
        let longest = longest.min(LONGEST_RAMP * rate.value());
        self.ramp = Ramp {
            step,
            // As long as its slowness costs what the next refusal will cost.
            length: rate.seen.min(longest).max(shortest).max(forgone / step),
            start: self.start_of_ramp(rate, forgone),
        };
        self.since_opened.window = (refused.trickled as f64 - 1.0).max(1.0);
    }

    /// The rate by this stretch of time, and what was known before where the two agree.
    fn measure(&mut self, trail: &Trail, accepted: f64, open: f64, pause: Pause) -> Rate {
        let most = 2.0 * (accepted + 1.0) / open.max(trail.seconds() / 1000.0).max(1e-6);
        let least = trail.rate(self.burst.most, most);
        // A bucket would have let through the next request sooner than the server says.
        self.windowed = match pause {
            Pause::Hint(hint) => least * (hint.as_secs_f64() - 1.0) > 2.0,
            Pause::Outage(_) | Pause::Guess(_) => false,
        };
        let most = if self.windowed {
            least
        } else {
            trail.rate(self.burst.least, most).max(least)
        };
        let noise = 1.0 + 0.5 / (accepted + 1.0);
        let mut rate = Rate {
            least,
            most,
            seen: accepted,
        };
        if let Some(known) = self.rate {
            let slack = 1.02 + 4.0 / known.seen;
            let (known_least, known_most) = (known.least / slack, known.most * slack);
            let (least, most) = (least / noise, most * noise);
            if known_least <= most && least <= known_most {
                rate.least = least.max(known_least);
                rate.most = most.min(known_most);
                rate.seen += known.seen;
            }
        }
        rate.seen = rate.seen.clamp(1.0, MOST_SEEN);
        // Where others use the same quota, refusals come by chance. Asking as often as the server says
        // costs no more than waiting does.
        let slowest = 1.0 / pause.length().max(LEAST_PAUSE).as_secs_f64();
        let raised = (slowest / rate.value()).max(1.0);
        rate.least *= raised;
        rate.most *= raised;
        rate
    }

    /// What the limit holds, by what it let through at once.
    fn size_up(
        &mut self,
        trail: &Trail,
        rate: Rate,
        first: bool,
        accepted: f64,
        open: f64,
        closed: f64,
    ) {
        let burst = trail.burst(rate.value() * 1.1);
        // Less than two is one, and some jitter.
        let burst = if burst < 2.0 { 1.0 } else { burst };
        if first || burst > self.burst.least {
            self.burst.least = burst;
        }
        if self.windowed {
            self.burst.least = accepted.min(self.burst.most * FORGETTING).max(1.0);
            self.burst.most = (self.burst.most * FORGETTING).max(self.burst.least);
        }
        // It cannot have held more, or it would not have refused so soon.
        let held = accepted + 1.0 - rate.least * open;
        let bound = if rate.value() * closed > held {
            held
        } else {
            f64::INFINITY
        };
        self.burst.most = (self.burst.most * FORGETTING)
            .min(bound)
            .max(self.burst.least);
    }

    /// The requests that a pause of this length costs, beyond what the limit can save up meanwhile.
    fn forgone(&self, rate: Rate, closed: f64) -> f64 {
        (rate.value() * closed - self.burst.least).max(0.0)
    }

    fn start_of_ramp(&self, rate: Rate, forgone: f64) -> f64 {
        if rate.spread() > 1.1 && forgone < 1.0 {
            1.0
        } else {
            0.75
        }
    }
}

impl SinceOpened {
    fn new(window: f64) -> Self {
        Self {
            at: None,
            sent: 0,
            last: None,
            rush_left: 0,
            trickled: 0,
            trickle_under_way: 0,
            window,
            let_through: 0.0,
            paced: 0.0,
            beyond: 0.0,
            scout: false,
            level: 0.0,
            level_at: None,
        }
    }
}

/// Requests at a time after the first refusal. What is under way at the second one is refused.
const START: f64 = 4.0;
/// Up to so many at a time, the number doubles with every round trip.
const FAST_START: f64 = 64.0;
/// Of what a bucket should have gained while it was closed, this share is relied on.
const SHARE_OF_GAIN: f64 = 0.97;
/// The ramp's bend: a hundredth above the estimate it is a straight line, far above a cubic, so that
/// a quota that has doubled is found.
const RAMP_BEND: f64 = 0.3;
const LEAST_RAMP: f64 = 8.0;
/// In seconds: a quota that others have left is found as soon at a low rate as at a high one.
const LONGEST_RAMP: f64 = 20.0;
const LEAST_STEP: f64 = 0.01;
const MOST_STEP: f64 = 0.5;
/// No measurement counts for more requests: a limit may change.
const MOST_SEEN: f64 = 1000.0;
/// An upper bound is relaxed by this factor with every refusal.
const FORGETTING: f64 = 1.1;
/// Openings tried with one request after one was found closed.
const DISTRUSTED_OPENINGS: u32 = 8;
/// Floating-point dust.
const ROUNDING: f64 = 1e-6;
/// Refusals come sooner.
const LONG_IN_COMING: Duration = Duration::from_secs(1);
/// A wait of nothing would spin.
const LEAST_WAIT: f64 = 1e-4;
const LONGEST_WAIT: f64 = 1e5;
/// The least time between a refusal without a hint and the next request.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// The longest of those times; the cap of the AWS clients.
const LONGEST_GUESS: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
