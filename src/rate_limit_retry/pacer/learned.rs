//! A limit as it shows itself: a decision on what was let through and what was refused.
//!
//! Two refusals with requests between them tell a rate: at both, the server's bucket was empty, so
//! what was let through is what it gained ([`History`]). How much it holds (its burst) shows in what
//! it lets through at once. Neither is known exactly, so both are ranges; they narrow with every
//! refusal. This is true of any limit, more or less. Where one bucket would have done all that was
//! seen, to the request, it is known far better, and from fewer refusals ([`Buckets`]); a limit on the
//! requests in a second, which saves nothing up, is known by their number ([`Second`]). As long as one
//! bucket would, the limit is taken to be one that nobody else uses. Otherwise refusals come by chance,
//! what was let through is a share that may grow at any time, and it is asked for more the sooner the
//! smaller it is.
//!
//! A limit is used as follows. While it is closed, nothing is sent. When it opens, what it is known to
//! hold is sent at once (the *rush*); then requests follow at its rate (the *trickle*), slowly ever
//! faster, until it refuses again. That tells the rate anew, and finds a quota that has grown. A limit
//! that seems to be a window, since it is to be closed for long, is left alone after the rush, and then
//! asked for more: many servers name the same time at every refusal, whatever their buckets gain.
//! Requests that were under way at a refusal are told by the epoch. They are no news of the limit, but
//! meet the same empty bucket: which of them are let through tells its rate before it is asked again.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    buckets::Buckets,
    history::History,
    ramp::Ramp,
    second::{self, Second},
};
use crate::time;

mod learning;

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
    counted: second::Sent,
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
    /// The rate is not believed to be below, in requests a second: asking as often as the server says costs
    /// no more than waiting does.
    slowest: f64,
    /// Refusals in a row after which one bucket would still have done all that was seen.
    agreements: u32,
    /// None would have, and there have not been enough of those since: others use the same quota, or it is
    /// no bucket.
    doubted: bool,
    burst: Burst,
    /// Those that would have done all that was seen last.
    buckets: Option<Buckets>,
    /// What was let through in the second before each of the last refusals.
    second: Second,
    /// What is known by that, or what the buckets have in common, if it is enough.
    bucket: Option<Bucket>,
    /// Where a ramp begins in the range of what the rate may be: with 0 at the least, with 1 at the most.
    lean: f64,
    /// `None` while everything goes.
    ramp: Option<Ramp>,
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
    /// How often its hints have to be doubled, since they come too early.
    too_early: u32,
    /// Openings that are tried with one request first, since one was found closed.
    distrust: u32,
    /// The server says when it opens, and that is later than a bucket would let the next one through:
    /// a window, or a bucket whose server says what it always says.
    windowed: bool,
    /// It let far more through than a window was seen to hold, after a while in which nothing was sent: a
    /// bucket, whatever its server says.
    fills: bool,
    /// In seconds, like its mean deviation.
    round_trip: f64,
    deviation: f64,
}

/// A rate in requests a second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    least: f64,
    most: f64,
    /// The requests that it was measured with.
    seen: f64,
}

impl Burst {
    /// That so many were let through is what its size is known by.
    fn count(&mut self, accepted: f64) {
        self.counted = accepted as u64;
    }

    /// One of those counted was refused.
    fn hold_one_less(&mut self) {
        self.least = (self.least - 1.0).max(1.0);
        self.most = (self.most - 1.0).max(self.least);
        self.tried = self.tried.min(self.least);
    }
}

impl Rate {
    fn value(self) -> f64 {
        (self.least * self.most).sqrt()
    }

    /// The same, and no less than this.
    fn at_least(self, slowest: f64) -> Self {
        let raised = (slowest / self.value()).max(1.0);
        Self {
            least: self.least * raised,
            most: self.most * raised,
            ..self
        }
    }

    /// With 0 the least that it may be, with 1 the most.
    fn leaning(self, lean: f64) -> f64 {
        self.least * self.spread().powf(lean)
    }

    fn spread(self) -> f64 {
        self.most / self.least
    }

    /// Whether this is another rate than was known before, or is known better.
    fn is_news_after(self, before: Rate) -> bool {
        let narrower = self.spread() - 1.0 < 0.8 * (before.spread() - 1.0);
        narrower || self.least > before.most || self.most < before.least
    }
}

/// How many requests the limit lets through at once.
#[derive(Clone, Copy, Debug)]
struct Burst {
    least: f64,
    most: f64,
    /// What is dared at the next opening.
    tried: f64,
    /// It is known by having let through so many of those sent last since an opening.
    counted: u64,
    /// Requests since more was dared than it held.
    since_refuted: f64,
}

/// The limit, as far as it is a bucket, or is used as one.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    /// The least that it holds.
    burst: f64,
}

/// How the limit will open.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    by_hint: bool,
    /// How long it will have been closed, in seconds.
    closed: f64,
    /// Requests that were under way when it closed, and may have used up what it gained.
    under_way: f64,
    /// Of these, those of which nothing was heard.
    unanswered: f64,
}

/// What happened since the limit opened.
#[derive(Clone, Copy, Debug)]
struct SinceOpened {
    at: Option<Instant>,
    sent: u64,
    last: Option<Instant>,
    rush_left: u64,
    /// Nothing beyond the rush is sent before: what is let through then has come since.
    quiet_until: Option<Instant>,
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
            slowest: 0.0,
            agreements: 0,
            doubted: false,
            burst: Burst {
                least: 1.0,
                most: f64::INFINITY,
                tried: 1.0,
                counted: 0,
                since_refuted: f64::INFINITY,
            },
            buckets: None,
            bucket: None,
            second: Second::default(),
            lean: MOST_LEAN,
            ramp: None,
            epoch: 0,
            history: None,
            began_unseen: false,
            opening: Opening::default(),
            is_open: true,
            since_opened: SinceOpened::new(window),
            failures: 0,
            too_early: 0,
            distrust: 0,
            windowed: false,
            fills: false,
            round_trip: 0.0,
            deviation: 0.0,
        }
    }

    /// The rate in requests a second and the burst, once they are known.
    pub(super) fn estimate(&self) -> Option<(f64, f64)> {
        self.rate().map(|rate| (rate.value(), self.burst()))
    }

    fn rate(&self) -> Option<Rate> {
        let bucket = self.bucket.map(|bucket| bucket.rate);
        bucket.or(self.rate.map(|rate| rate.at_least(self.slowest)))
    }

    fn burst(&self) -> f64 {
        self.bucket.map_or(self.burst.least, |bucket| bucket.burst)
    }

    // ===== sending =====

    /// The limit opens again.
    pub(super) fn open(&mut self, now: Instant) {
        // A refusal that is no news may have closed it once more. Those sent before that are still
        // under way, and numbered.
        if mem::replace(&mut self.is_open, true) {
            return;
        }
        self.learn_of_late();
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
        let Some(rate) = self.rate() else {
            self.since_opened.level = START;
            return;
        };
        let saved = match (&self.history, self.bucket) {
            (Some(history), Some(bucket)) => {
                history.saved(rate.value(), bucket.burst, now) - self.opening.unanswered
            }
            _ => rate.value() * self.opening.closed - self.opening.under_way,
        };
        let gained = saved.max(0.0) * SHARE_OF_GAIN;
        if !self.opening.by_hint {
            self.since_opened.level = self.burst().min(gained);
        } else if self.windowed {
            self.since_opened.rush_left = self.burst.tried as u64;
            // In whole seconds, as most hints are: what is left of the window is rounded up as before then,
            // and not opened up to a second late.
            let quiet = Duration::from_secs_f64((self.opening.closed * QUIET).ceil());
            self.since_opened.quiet_until = Some(time::after(now, quiet));
        } else {
            let rush = self.burst.tried.min(gained) as u64;
            // One is left in a bucket that is known: it makes up for requests that arrive too soon.
            self.since_opened.rush_left = match self.bucket {
                Some(_) if rush > 1 => rush - 1,
                _ => rush,
            };
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
        if let Some(quiet_until) = since.quiet_until
            && now < quiet_until
        {
            return Turn::At(quiet_until);
        }
        if since.trickle_under_way as f64 >= since.window {
            return self.after_answer(now);
        }
        let Some(ramp) = self.ramp else {
            return Turn::Go;
        };
        let pace = self.pace(ramp);
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
        // One that is sent ahead is one of those that the limit holds.
        let held = self.since_opened.rush_left > 0;
        self.since_opened.rush_left -= u64::from(held);
        let rush = held && !self.since_opened.scout;
        if rush {
            self.since_opened.level = 0.0;
            self.since_opened.level_at = Some(now);
        } else {
            if let Some(ramp) = self.ramp {
                let pace = self.pace(ramp);
                self.refill(pace, now);
                let beyond = self.rate().map_or(0.0, |rate| 1.0 - rate.value() / pace);
                let since = &mut self.since_opened;
                if waited && since.level < 2.0 {
                    since.paced += 1.0;
                    since.beyond += beyond.max(0.0);
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
            counted: self.second.sent(now),
        }
    }

    /// The rate of sending now.
    fn pace(&self, ramp: Ramp) -> f64 {
        let since = &self.since_opened;
        let pace = ramp.pace(since.paced);
        let Some(rate) = self.rate() else { return pace };
        // More was let through than the limit can have held: it is not what it was.
        let gained = rate.value() * self.round_trip;
        let unknown = match self.bucket {
            Some(bucket) => (bucket.rate.spread() - 1.0).max(0.005),
            None => 0.01,
        };
        let doubt = 1.5 * self.burst() + 10.0 + gained + unknown * since.paced;
        pace * (since.beyond / doubt).max(1.0)
    }

    fn refill(&mut self, pace: f64, now: Instant) {
        let most = match self.rate() {
            Some(_) => self.burst().max(1.0),
            None => START,
        };
        let since = &mut self.since_opened;
        let at = since.level_at.unwrap_or(now);
        let gained = now.saturating_duration_since(at).as_secs_f64() * pace;
        since.level = (since.level + gained).min(most);
        since.level_at = Some(at.max(now));
    }

    // ===== answers =====

    pub(super) fn let_through(&mut self, sent: Sent, now: Instant) {
        let took = now.saturating_duration_since(sent.at).as_secs_f64();
        match self.round_trip {
            0.0 => self.round_trip = took,
            average => {
                self.deviation += ((took - average).abs() - self.deviation) / 10.0;
                self.round_trip += (took - average) / 10.0;
            }
        }
        self.judge_hints();
        self.failures = 0;
        if sent.epoch != self.epoch {
            self.answered_late(sent, false);
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

    /// A request was let through, or refused, that had been under way at a refusal.
    fn answered_late(&mut self, sent: Sent, refused: bool) {
        if sent.epoch + 1 == self.epoch
            && let Some(history) = &mut self.history
        {
            history.answered_late(sent.at, refused);
            self.opening.unanswered = (self.opening.unanswered - 1.0).max(0.0);
        }
    }

    /// After so many refusals in a row one is let through: how far are hints to be believed next time?
    fn judge_hints(&mut self) {
        if !self.opening.by_hint {
            return;
        }
        match self.failures {
            0 => {}
            1 => self.too_early = self.too_early.saturating_sub(1),
            failures => {
                let doublings = failures.saturating_sub(HINTS_BELIEVED);
                self.too_early = (self.too_early + doublings.div_ceil(2)).min(MOST_DOUBLINGS);
            }
        }
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
        let until = self.close(now, 0, pause, now);
        self.history = Some(History::new(now, now, 0.0));
        until
    }

    /// Returns when the limit opens, as far as is known here.
    pub(super) fn refused(&mut self, sent: Sent, pause: Pause, now: Instant) -> Instant {
        if sent.epoch != self.epoch {
            self.second.refused_late(sent.counted);
            self.answered_late(sent, true);
            if sent.epoch + 1 == self.epoch && sent.number <= self.burst.counted {
                // Its answer was overtaken by that of the refusal that was news.
                self.burst.hold_one_less();
            }
            return match pause {
                Pause::Hint(hint) | Pause::Outage(hint) => time::after(now, hint),
                Pause::Guess(_) => now,
            };
        }
        let (mut gap, mut goes_on) = (0.0, false);
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
            gap = trail.end();
            let nothing = trail.requests() < 1.0;
            // A bucket is as empty as it was; who is down says nothing of the limit.
            goes_on = nothing && self.is_alone() && !matches!(pause, Pause::Outage(_));
            if !nothing {
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
        let until = self.close(sent.at, behind, pause, now);
        match &mut self.history {
            Some(history) if goes_on => history.none_was_let_through(),
            history => *history = Some(History::new(sent.at, now, gap)),
        }
        until
    }

    /// After a refusal of a request that was sent at `sent_at`, with so many behind it.
    fn close(&mut self, sent_at: Instant, behind: u64, pause: Pause, now: Instant) -> Instant {
        let first = self.history.is_none();
        let by_hint = !matches!(pause, Pause::Guess(_));
        let is_outage = matches!(pause, Pause::Outage(_));
        let pause = match pause {
            Pause::Outage(hint) => hint,
            Pause::Hint(hint) => {
                let again = self.failures.saturating_sub(HINTS_BELIEVED - 1);
                doubled(hint, self.too_early.saturating_add(again))
            }
            Pause::Guess(guess) => {
                let gap = |rate: Rate| Duration::from_secs_f64(1.0 / rate.value());
                let first = match (self.bucket, self.rate) {
                    // The next one is due then.
                    (Some(bucket), _) => SHORTEST_PAUSE.max(gap(bucket.rate)),
                    (None, Some(rate)) => gap(rate).clamp(LEAST_PAUSE, LONGEST_GUESS),
                    (None, None) => LEAST_PAUSE.max(guess),
                };
                doubled(first, self.failures)
            }
        };
        // Who is down knows best when to be asked again.
        self.failures = self.failures.saturating_add(u32::from(!is_outage));
        self.epoch += 1;
        self.is_open = false;
        let closed = now
            .saturating_duration_since(sent_at)
            .saturating_add(pause)
            .as_secs_f64();
        let searches = first && by_hint && pause <= SHORT_HINT;
        if first {
            let start = if searches { START_OF_SEARCH } else { START };
            self.since_opened.window = self.since_opened.window.min(start);
        }
        if searches {
            // A refusal costs what would have been let through until the hint is over. If that is short,
            // a rate is found for less than the next one costs.
            let rate = 2.0 * START / pause.max(LEAST_PAUSE).as_secs_f64();
            self.ramp = Some(self.search(rate, closed));
        }
        self.opening = Opening {
            by_hint,
            closed,
            under_way: behind as f64,
            unanswered: behind as f64,
        };
        time::after(now, pause)
    }
}

impl SinceOpened {
    fn new(window: f64) -> Self {
        Self {
            at: None,
            sent: 0,
            last: None,
            rush_left: 0,
            quiet_until: None,
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

/// A pause that was so often too short.
fn doubled(pause: Duration, times: u32) -> Duration {
    let doubled = pause.saturating_mul(1 << times.min(16));
    doubled.min(LONGEST_GUESS.max(pause))
}

/// Requests at a time after the first refusal. What is under way at the second one is refused.
const START: f64 = 4.0;
/// The same where the rate is searched for, which is a bound, too: at a round trip of half a second twelve
/// would keep the search below 24 a second.
const START_OF_SEARCH: f64 = 48.0;
/// Up to so many at a time, the number doubles with every round trip.
const FAST_START: f64 = 64.0;
/// Of what a bucket should have gained while it was closed, this share is relied on.
const SHARE_OF_GAIN: f64 = 0.97;
/// A hint is short if a window that ends then would be over with it. One that ends later is best used up
/// fast.
const SHORT_HINT: Duration = Duration::from_secs(2);
/// Of the time that a window was closed, it is left alone for so much after the rush. A window loses
/// nothing by that, and a bucket shows that it is one.
const QUIET: f64 = 0.25;
/// A rate is taken to be in the middle of what it may be, or below.
const MOST_LEAN: f64 = 0.5;
/// A bucket that does all that is seen at so many refusals is one, and nobody else uses it.
const AGREED: u32 = 10;
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
/// The same where it is known when the next one is let through.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Refusals in a row at which the server is believed when to come back. From then on its hint is doubled
/// each time, and half of that is kept for the next row.
const HINTS_BELIEVED: u32 = 3;
/// With more, a second would still become the longest pause there is.
const MOST_DOUBLINGS: u32 = 5;
/// The longest of those times, unless the server asks for more; the cap of the AWS clients.
const LONGEST_GUESS: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
