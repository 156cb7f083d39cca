//! How renewals have gone, and what that allows next: decisions that are told the time.

use std::{cmp, time::Duration};

use tokio::time::Instant;

use super::{TokenError, TokenErrorKind};
use crate::backoff::{Backoff, Delays};

/// What a cache remembers of its renewals.
#[derive(Debug)]
pub(crate) struct Health {
    minted: Option<Instant>,
    cool_downs: Delays,
    cooling: Option<TokenError>,
    trial: Option<Trial>,
    fruitless: u32,
    withheld_until: Option<Instant>,
}

/// A token that was minted because the one before it had been refused: did that help?
#[derive(Clone, Copy, Debug)]
struct Trial {
    generation: u64,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fruitful,
    Fruitless,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            minted: None,
            cool_downs: COOL_DOWN.delays(),
            cooling: None,
            trial: None,
            fruitless: 0,
            withheld_until: None,
        }
    }

    /// The error of the last renewal, while the cache cools down from it.
    pub(crate) fn cooling(&self, now: Instant) -> Option<&TokenError> {
        self.cooling
            .as_ref()
            .filter(|error| error.next_attempt().is_some_and(|end| now < end))
    }

    /// When the next token may be minted at the earliest.
    pub(crate) fn next_mint(&self) -> Option<Instant> {
        self.minted.map(|minted| minted + LEAST_TIME_BETWEEN_MINTS)
    }

    /// A token came; `on_trial` if it was asked for because the one before it was refused.
    pub(crate) fn renewed(&mut self, generation: u64, on_trial: bool, now: Instant) {
        self.minted = Some(now);
        self.cooling = None;
        self.cool_downs = COOL_DOWN.delays();
        self.trial = on_trial.then_some(Trial {
            generation,
            verdict: None,
        });
    }

    /// No token came, and the present one lives this much longer, if that is known. Returns the error,
    /// with the time of the next attempt.
    pub(crate) fn failed(
        &mut self,
        error: TokenError,
        left: Option<Duration>,
        now: Instant,
    ) -> TokenError {
        let delay = self.cool_downs.next().unwrap_or_default();
        let pause = match error.kind() {
            TokenErrorKind::Rejected => COOL_DOWN_AFTER_REJECTION,
            TokenErrorKind::Throttled => cmp::max(delay, error.retry_after().unwrap_or_default()),
            // Until the present token's end nobody needs another; then one is tried for at once.
            TokenErrorKind::Transient => match left {
                Some(left) if !left.is_zero() => cmp::min(delay, left),
                _ => delay,
            },
        };
        let error = error.until(now + pause.min(LONGEST_COOL_DOWN));
        self.cooling = Some(error.clone());
        error
    }

    /// A request that was replayed with this token was accepted: renewing it had helped.
    pub(crate) fn accepted(&mut self, generation: u64) {
        if self.judge(generation, Verdict::Fruitful) {
            self.fruitless = 0;
            self.withheld_until = None;
        }
    }

    /// This token was refused, whether on a replay or on a first attempt.
    pub(crate) fn refused(&mut self, generation: u64, now: Instant) {
        if self.judge(generation, Verdict::Fruitless) {
            let pause = FRUITLESS_WAIT.saturating_mul(1 << self.fruitless.min(31));
            self.fruitless = self.fruitless.saturating_add(1);
            self.withheld_until = Some(now + pause.min(LONGEST_FRUITLESS_WAIT));
        }
    }

    /// Whether refusals lead to no renewal for now, because the last ones did not help.
    pub(crate) fn withholds(&self, now: Instant) -> bool {
        self.withheld_until.is_some_and(|end| now < end)
    }

    /// Settles the trial of this token, if it has one that is open.
    fn judge(&mut self, generation: u64, verdict: Verdict) -> bool {
        match &mut self.trial {
            Some(trial) if trial.generation == generation && trial.verdict.is_none() => {
                trial.verdict = Some(verdict);
                true
            }
            _ => false,
        }
    }
}

/// However often requests ask, an authorization server sees at most this rate; it is also the
/// resolution of `expires_in`.
const LEAST_TIME_BETWEEN_MINTS: Duration = Duration::from_secs(1);

/// Full jitter spreads a fleet over a recovering authorization server; a minute is what a user will
/// wait for recovery.
const COOL_DOWN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
    .at_least(Duration::from_millis(100));

/// Wrong credentials do not become right, and servers count the attempts.
const COOL_DOWN_AFTER_REJECTION: Duration = Duration::from_secs(60);

/// However long a server asks for, look again once an hour.
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(3600);

/// After the first renewal that did not help; doubles with every further one.
const FRUITLESS_WAIT: Duration = Duration::from_secs(1);
const LONGEST_FRUITLESS_WAIT: Duration = Duration::from_secs(60);
