//! What a server counts.

use std::time::Duration;

use super::hint::NotBefore;

/// The requests of one process.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    /// Answered 429.
    pub refused: u64,
    /// Of these, those of the start-up: see [`Tally::refusal`].
    pub refused_at_start: u64,
    /// Answered 502 or 503.
    pub unavailable: u64,
    /// Sent after a hint had been delivered to the process, and before it was over.
    pub early: u64,
    /// Refusals per second of the run, by when they were delivered.
    pub refused_per_second: PerSecond,
    /// Requests sent per second of the run.
    pub sent_per_second: PerSecond,
    not_before: Duration,
    first_refusal: Option<Duration>,
    second_episode: Option<Duration>,
}

impl Tally {
    pub fn sending(&mut self, now: Duration) {
        self.sent += 1;
        self.sent_per_second.count(now);
        self.early += u64::from(now < self.not_before);
    }

    /// A hint has reached the process.
    pub fn hinted(&mut self, hint: NotBefore, now: Duration) {
        let not_before = match hint {
            NotBefore::After(wait) => now + wait,
            NotBefore::At(time) => time,
        };
        self.not_before = self.not_before.max(not_before);
    }

    /// A refusal of a request that was sent at this time has reached the process.
    ///
    /// The second episode begins when a request is refused that was sent with the first refusal known;
    /// what is sent in the very moment in which it comes is not.
    /// What was sent before the process knew of that one, too, is start-up: until then nobody can know
    /// the limit's rate.
    pub fn refusal(&mut self, sent: Duration, now: Duration) {
        self.refused += 1;
        self.refused_per_second.count(now);
        let first = *self.first_refusal.get_or_insert(now);
        if self.second_episode.is_none() && sent > first {
            self.second_episode = Some(now);
        }
        let is_start = self.second_episode.is_none_or(|second| sent <= second);
        self.refused_at_start += u64::from(is_start);
    }
}

/// How often something happened in each second of a run.
#[derive(Clone, Debug, Default)]
pub struct PerSecond(Vec<u32>);

impl PerSecond {
    pub fn count(&mut self, at: Duration) {
        let second = at.as_secs() as usize;
        if self.0.len() <= second {
            self.0.resize(second + 1, 0);
        }
        self.0[second] += 1;
    }

    pub fn add(&mut self, other: &PerSecond) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// The counts, from the first second on.
    pub fn counts(&self) -> &[u32] {
        &self.0
    }

    /// How many in these seconds.
    pub fn between(&self, from: usize, to: usize) -> u64 {
        let to = to.min(self.0.len());
        let counts = self.0.get(from.min(to)..to).unwrap_or_default();
        counts.iter().map(|count| u64::from(*count)).sum()
    }
}
