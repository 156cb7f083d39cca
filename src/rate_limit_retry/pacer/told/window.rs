//! What is left of a quota that is whole again at each reset.

use std::time::Duration;

use tokio::time::Instant;

use super::{Count, Newest};

/// How many requests a window lets through, in the order of sending.
///
/// Requests may be decided on in any order, and answers overtake each other. What the server said
/// to be left is therefore for all that have not been answered, but for those that were sent long
/// before the window began: they were counted then, however long their answers take.
#[derive(Debug)]
pub(super) struct Window {
    /// What the server has left after the latest decision that is known.
    left: u64,
    /// How many had been sent when that was told, and when the window began.
    told: u64,
    began: u64,
    /// When there is more, unless told anew.
    resets: Instant,
    /// Those that may be counted in this window.
    counted: Answers,
    /// Those that were sent of late, and may be counted in the next; and those sent since `latest`,
    /// to take their place.
    late: [Answers; 2],
    latest: Instant,
    /// When the newest was sent.
    sent_at: Instant,
    /// Ended without a word since the server last said what is left. Whether they were counted, the
    /// next answer tells.
    silent: u64,
}

/// Of the requests after the `after`th, how many were answered.
#[derive(Clone, Copy, Debug)]
struct Answers {
    after: u64,
    answered: u64,
}

impl Window {
    /// One of which this is the first word.
    pub(super) fn new(answer: Newest, count: Count) -> Self {
        let all = Answers {
            after: 0,
            answered: count.ended,
        };
        Self {
            left: answer.remaining,
            told: count.sent,
            began: count.sent,
            resets: answer.told_until(),
            counted: all,
            late: [all, Answers::after(count.sent)],
            latest: answer.at,
            sent_at: answer.at,
            silent: 0,
        }
    }

    /// The number of the last request that it lets through.
    pub(super) fn last(&self) -> u64 {
        let before = self.counted.after + self.counted.answered;
        before.saturating_add(self.left)
    }

    pub(super) fn resets(&self) -> Instant {
        self.resets
    }

    /// The `number`th request is sent.
    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        if now >= self.latest + DECIDED_WITHIN {
            self.late = [self.late[1], Answers::after(number - 1)];
            self.latest = now;
        }
        self.sent_at = now;
    }

    /// It is reset, and has so much left; so many have been sent.
    pub(super) fn reset(&mut self, left: u64, resets: Instant, sent: u64, now: Instant) {
        self.counted = if now >= self.sent_at + DECIDED_WITHIN {
            Answers::after(sent)
        } else {
            self.late[0]
        };
        self.left = left;
        self.told = sent;
        self.began = sent;
        self.resets = resets;
        self.silent = 0;
    }

    /// A request ended whose answer says nothing of this limit.
    pub(super) fn ended_silently(&mut self, number: u64) {
        self.late.iter_mut().for_each(|late| late.count(number));
        if number <= self.began {
            self.counted.count(number);
        } else {
            self.silent += 1;
        }
    }

    /// An answer says how much is left, and when it is reset.
    pub(super) fn told(&mut self, answer: Newest, count: Count) {
        let Newest {
            number,
            remaining,
            at,
            ..
        } = answer;
        self.late.iter_mut().for_each(|late| late.count(number));
        self.counted.count(number);
        self.counted.answered += std::mem::take(&mut self.silent);

        let resets = answer.told_until();
        let is_later = resets > self.resets + SAME_RESET;
        let is_earlier = resets + SAME_RESET < self.resets;
        // Of an earlier reset, those speak that were sent before it, or the server changed its mind.
        if is_later || is_earlier && number > self.began {
            self.reset(remaining, resets, count.sent, at);
        } else if !is_earlier {
            // In which order others were decided on, only what is left can tell.
            if number > self.told || remaining <= self.left {
                self.left = remaining;
                self.told = count.sent;
            }
            // Whole seconds, rounded up: of several answers the one that says the least is nearest.
            self.resets = self.resets.min(resets);
        }
    }
}

impl Answers {
    fn after(number: u64) -> Self {
        Self {
            after: number,
            answered: 0,
        }
    }

    fn count(&mut self, number: u64) {
        if number > self.after {
            self.answered += 1;
        }
    }
}

/// Resets told by two answers that lie closer together are the same one.
pub(super) const SAME_RESET: Duration = Duration::from_millis(1500);
/// After so long, a request that has no answer yet was counted. Servers count what arrives, before
/// the work, and to arrive takes a round trip or two.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);
