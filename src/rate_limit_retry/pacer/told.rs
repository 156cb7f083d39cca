//! What a server's `RateLimit` fields say of what is left, so that it need not refuse.

use std::time::Duration;

use tokio::time::Instant;

use self::{
    bucket::Bucket,
    window::{SAME_RESET, Window},
};
use super::{learned::Turn, recent::Recent};
use crate::{
    header::{QuotaUnit, RateLimit, RateLimitPolicy},
    time,
};

mod bucket;
mod window;

/// The limits that a server has told of, each by its policy.
///
/// What is left must not be exceeded before the reset; it is no promise that so much will be let
/// through (draft-ietf-httpapi-ratelimit-headers-10, §7). A quota that fills up steadily, as a
/// bucket does, allows for more: there requests may follow as soon as the policy's rate has them.
/// Such a quota shows itself by having as much left as before; one with a window of a second or two
/// is taken for one from the start. A refusal speaks against what a quota was taken for; and where our
/// own requests had used up such a short window, time and again, they are sent evenly from then on.
#[derive(Debug, Default)]
pub(super) struct Told {
    policies: Vec<Policy>,
    /// Requests that were answered, or lost.
    ended: u64,
    /// Those of them that tell, and whose end is still to be told.
    heard: Vec<u64>,
    /// How often a request was refused though something was said to be left for it.
    misled: u64,
    /// The last request that was sent in such a belief when that was heard of.
    believed: u64,
    /// Requests that were let through.
    let_through: u64,
    /// Those that were sent while there was a policy.
    recent: Recent,
}

/// A request, by its place in the order of sending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    /// The first is 1.
    pub(super) number: u64,
    /// How many had ended when it was sent.
    ended: u64,
    at: Instant,
    /// Something was said to be left for it.
    promised: bool,
}

/// How many requests there have been.
#[derive(Clone, Copy, Debug)]
struct Count {
    sent: u64,
    ended: u64,
}

#[derive(Debug)]
struct Policy {
    name: String,
    /// Of the answers that told, the one to the request that was sent last.
    newest: Newest,
    /// How much there is after a reset, and for how long, if the server says.
    described: Option<(u64, Option<Duration>)>,
    /// What is left, if it is whole again at each reset.
    window: Window,
    /// What is left, if it fills up steadily.
    bucket: Bucket,
    /// What it is; `None` if that has not shown itself.
    kind: Option<Kind>,
    /// A request whose answer has as much left as before; unless it was refused, that was filled up.
    fuller: Option<u64>,
    /// The first request that was sent though nothing was left, since the quota fills up.
    beyond: Option<u64>,
    /// The first request of a window of which no answer had told.
    presumed: Option<u64>,
    /// A request is out to see how much there is.
    asking: bool,
    /// How many had been sent when one was refused that a short window of our own would have refused.
    used_up: Option<u64>,
    /// When the last request was sent.
    last_sent: Option<Instant>,
}

/// How a quota comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Steadily, as that of a bucket.
    Steady,
    /// Whole, at each reset.
    Window,
    /// Whole, in a window of a second or two: when that begins, no field tells to the second.
    ShortWindow,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    /// The number of the request that was answered.
    number: u64,
    remaining: u64,
    /// How long it was to the reset.
    reset: Duration,
    /// How many had been sent when the answer came.
    sent: u64,
    at: Instant,
}

impl Told {
    /// Whether the next request, the `number`th, may be sent.
    pub(super) fn turn(&mut self, number: u64, now: Instant) -> Turn {
        let turns = self
            .policies
            .iter_mut()
            .map(|policy| policy.turn(number, now));
        turns.fold(Turn::Go, Turn::and)
    }

    /// The `number`th request is sent.
    pub(super) fn sent(&mut self, number: u64, now: Instant) -> Numbered {
        let promises = |policy: &Policy| policy.promises(number);
        let promised = !self.policies.is_empty() && self.policies.iter().all(promises);
        if !self.policies.is_empty() {
            self.recent.sent(number, now);
        }
        for policy in &mut self.policies {
            policy.last_sent = Some(now);
            if number > policy.window.last() {
                policy.beyond.get_or_insert(number);
                policy.asking = now >= policy.window.resets();
            }
            policy.window.sent(number, now);
            if let Some(gap) = policy.gap() {
                policy.bucket.sent(gap, number, now);
            }
        }
        Numbered {
            number,
            ended: self.ended,
            at: now,
            promised,
        }
    }

    /// The `number`th request was lost; should it have been the one that was to ask, another may.
    pub(super) fn lost(&mut self, number: u64) {
        self.has_ended(number);
        for policy in &mut self.policies {
            policy.asking = false;
        }
    }

    /// The `number`th request was let through. What its answer is silent on holds to its reset, and no
    /// longer.
    pub(super) fn let_through(&mut self, number: u64, now: Instant) {
        self.has_ended(number);
        self.let_through += 1;
        for policy in &mut self.policies {
            if policy.fuller == Some(number) {
                policy.kind = Some(Kind::Steady);
            }
        }
        self.policies
            .retain(|policy| number <= policy.newest.number || now < policy.newest.told_until());
    }

    /// Whether the fields tell enough to go by them alone: all about each policy, and the truth.
    pub(super) fn guides(&self) -> bool {
        let described =
            |policy: &Policy| policy.described.is_some_and(|(_, window)| window.is_some());
        !self.policies.is_empty()
            && self.policies.iter().all(described)
            && self.misled <= 1 + self.let_through / REQUESTS_PER_LIE
    }

    /// A request was refused; `sent` have been sent so far.
    pub(super) fn refused(&mut self, request: Numbered, sent: u64, now: Instant) {
        let number = request.number;
        if request.promised && number > self.believed {
            self.misled += 1;
            self.believed = sent;
        }
        self.has_ended(number);
        let count = Count {
            sent,
            ended: self.ended,
        };
        for policy in &mut self.policies {
            policy.refused(request, count, &self.recent, now);
        }
        self.recent.refused(number);
    }

    fn has_ended(&mut self, number: u64) {
        if let Some(heard) = self.heard.iter().position(|heard| *heard == number) {
            self.heard.swap_remove(heard);
            return;
        }
        self.ended += 1;
        for policy in &mut self.policies {
            policy.window.ended_silently(number);
        }
    }

    /// The answer to a request has come, and says this; `sent` have been sent so far. Without a
    /// request, it is the answer to one that was sent before any was counted.
    pub(super) fn answered(
        &mut self,
        request: Option<Numbered>,
        sent: u64,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        if let Some(request) = request {
            self.heard.push(request.number);
            self.ended += 1;
            for policy in &mut self.policies {
                if limits.iter().all(|limit| limit.policy != policy.name) {
                    policy.window.ended_silently(request.number);
                }
            }
        }
        let count = Count {
            sent,
            ended: self.ended,
        };
        for limit in limits {
            let Some(reset) = limit.reset else { continue };
            let described = policies.iter().find(|policy| policy.policy == limit.policy);
            if described.is_some_and(|policy| policy.unit != QuotaUnit::Requests) {
                continue;
            }
            let newest = Newest {
                number: request.map_or(0, |request| request.number),
                remaining: limit.remaining,
                reset,
                sent,
                at: now,
            };
            let described = described.map(|policy| (policy.quota, policy.window));
            let mut known = self.policies.iter_mut();
            if let Some(policy) = known.find(|known| known.name == limit.policy) {
                policy.told(request, newest, described, count);
            } else if self.policies.len() < MOST_POLICIES {
                let name = limit.policy.clone();
                let policy = Policy::new(name, request, newest, described, count);
                self.policies.push(policy);
            }
        }
    }
}

impl Policy {
    fn new(
        name: String,
        request: Option<Numbered>,
        newest: Newest,
        described: Option<(u64, Option<Duration>)>,
        count: Count,
    ) -> Self {
        Self {
            name,
            newest,
            described,
            window: Window::new(newest, count),
            bucket: Bucket::new(request, newest.remaining, count, newest.at),
            kind: None,
            fuller: None,
            beyond: None,
            presumed: None,
            asking: false,
            used_up: None,
            last_sent: None,
        }
    }

    fn turn(&mut self, number: u64, now: Instant) -> Turn {
        if let Some(gap) = self.gap() {
            if self.is_steady() {
                return self.bucket.turn(gap, number, now);
            }
            if self.is_short_window() {
                // One after the other, no window ever has too many, whenever it begins.
                return match self.last_sent.map(|last| time::after(last, gap)) {
                    Some(next) if next > now => Turn::At(next),
                    _ => Turn::Go,
                };
            }
        }
        if number > self.window.last() && now >= self.window.resets() {
            match self.described {
                // A new window, which nobody has told of yet.
                Some((quota, window)) => {
                    let quota = if self.is_short() {
                        quota.min(self.bucket.most())
                    } else {
                        quota
                    };
                    let resets = time::after(now, window.unwrap_or(self.newest.reset));
                    self.window.reset(quota.max(1), resets, number - 1, now);
                    self.presumed = Some(number);
                }
                None if self.asking => return Turn::AfterAnswer,
                None => return Turn::Go,
            }
        }
        if number <= self.window.last() {
            Turn::Go
        } else {
            Turn::At(self.window.resets())
        }
    }

    /// Whether something was said to be left for the `number`th request.
    fn promises(&self, number: u64) -> bool {
        let comes_back = self.is_steady() || self.is_short_window();
        number <= self.window.last() || self.gap().is_some() && comes_back
    }

    /// In which time the quota gains another request, if it fills up steadily.
    fn gap(&self) -> Option<Duration> {
        let (quota, window) = self.described?;
        Some(window?.div_f64(quota.max(1) as f64))
    }

    fn is_steady(&self) -> bool {
        self.kind
            .map_or(self.is_short(), |kind| kind == Kind::Steady)
    }

    fn is_short_window(&self) -> bool {
        self.kind == Some(Kind::ShortWindow) && self.is_short()
    }

    /// Whether its window is as short as that of a rate.
    fn is_short(&self) -> bool {
        let window = self.described.and_then(|(_, window)| window);
        window.is_some_and(|window| window <= SHORT_WINDOW)
    }

    fn told(
        &mut self,
        request: Option<Numbered>,
        newest: Newest,
        described: Option<(u64, Option<Duration>)>,
        count: Count,
    ) {
        let (now, left) = (newest.at, newest.remaining);
        self.described = described;
        self.asking = false;
        self.window.told(newest, count);
        if let Some(gap) = self.gap() {
            self.bucket.told(request, left, gap, count, now);
        }
        if self.beyond.is_some_and(|beyond| beyond <= newest.number) && left > 0 {
            self.beyond = None;
        }
        // A window that has just begun would be whole.
        if let Some((quota, _)) = described
            && self.presumed == Some(newest.number)
            && left.saturating_add(count.sent - newest.number + 1) < quota
        {
            self.is_rather(None);
        }
        // Answers may overtake each other.
        if newest.number < self.newest.number {
            return;
        }
        // It was sent when the other answer was there, and used up one at least.
        let after = newest.number > self.newest.sent;
        let before_the_reset = now + SAME_RESET < self.newest.told_until();
        if after && before_the_reset && left >= self.newest.remaining {
            self.fuller = Some(newest.number);
        }
        self.newest = newest;
    }

    fn refused(&mut self, request: Numbered, count: Count, recent: &Recent, now: Instant) {
        let number = request.number;
        self.asking = false;
        if let Some(gap) = self.gap() {
            self.bucket.refused(gap, count, now);
        }
        if self.beyond.is_some_and(|beyond| beyond <= number) {
            if self.was_used_up(request, recent) {
                // By chance it may seem so once.
                let again = self.used_up.replace(count.sent);
                if again.is_some_and(|sent| sent < number) {
                    self.is_rather(Some(Kind::ShortWindow));
                }
                return;
            }
            self.used_up = None;
            if !self.bucket.keeps_back(number, count.sent) {
                self.is_rather(Some(Kind::Window));
            }
        } else if self.presumed.is_some_and(|presumed| presumed <= number) {
            self.is_rather(None);
        }
    }

    /// Whether as many as a short window lets through were sent just before this one: nobody else need have
    /// used it.
    fn was_used_up(&self, refused: Numbered, recent: &Recent) -> bool {
        match self.described {
            Some((quota, Some(window))) if self.is_short() => {
                recent.before(refused.number, refused.at, window) >= quota
            }
            _ => false,
        }
    }

    /// It is not what it was taken for. What is under way was sent in that belief, and tells no more.
    fn is_rather(&mut self, kind: Option<Kind>) {
        self.kind = kind;
        self.beyond = None;
        self.presumed = None;
    }
}

impl Newest {
    fn told_until(&self) -> Instant {
        time::after(self.at, self.reset)
    }
}

/// Servers name one or two; a name is theirs to choose, and must not grow our memory.
const MOST_POLICIES: usize = 8;
/// Of so many let through, one refusal in spite of what was said to be left is no matter; where there are
/// more of them, other clients use the same quota, or requests overtake each other.
const REQUESTS_PER_LIE: u64 = 200;
/// So short a window is taken for a bucket until it refuses: a rate a second is the usual way to
/// describe one.
const SHORT_WINDOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
