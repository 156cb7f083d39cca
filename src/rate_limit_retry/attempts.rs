//! Whether to send again, and when: a pure decision on what has come back so far.

use std::time::Duration;

use http::{Method, Request};
use tokio::time::Instant;
use tower::retry::budget::Budget;

use super::{classify::Class, idempotency::IDEMPOTENCY_KEY};
use crate::{
    backoff::{Backoff, Delays, jitter_above},
    mark::{Deadline, ReplaySafe},
    outcome::Stopped,
};

/// How far to go.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_retries: u32,
    pub(crate) max_refusals: u32,
    pub(crate) max_wait: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) refused_backoff: Backoff,
}

/// What one request has met with so far; made when it first fails.
#[derive(Debug)]
pub(crate) struct Attempts {
    failures: u32,
    refusals: u32,
    misdirected: bool,
    backoff: Delays,
    refused_backoff: Delays,
    rng: fastrand::Rng,
}

impl Attempts {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            failures: 0,
            refusals: 0,
            misdirected: false,
            backoff: limits.backoff.delays(),
            refused_backoff: limits.refused_backoff.delays(),
            rng: fastrand::Rng::new(),
        }
    }

    /// Whether anything that may come back next could lead to another attempt.
    pub(crate) fn may_go_on(&self, limits: &Limits) -> bool {
        self.failures < limits.max_retries || self.refusals < limits.max_refusals
    }

    /// Whether the request has come back so often that others should have a turn before it.
    pub(crate) fn have_been_many(&self) -> bool {
        self.refusals > MOST_REFUSALS_IN_FRONT || self.failures > MOST_FAILURES_IN_FRONT
    }

    /// How long to wait before the next attempt, or why there is none.
    pub(crate) fn next(
        &mut self,
        class: Class,
        request: &Traits,
        limits: &Limits,
        budget: &dyn Budget,
        now: Instant,
    ) -> Result<Duration, Stopped> {
        let wait = match class {
            Class::Done => Duration::ZERO,
            Class::Refused { wait } => {
                if self.refusals >= limits.max_refusals {
                    return Err(Stopped::MaxRefusals);
                }
                self.refusals += 1;
                let hinted = self.above_hint(wait, limits)?;
                hinted
                    .or_else(|| self.refused_backoff.next())
                    .unwrap_or_default()
            }
            Class::Misdirected => {
                if self.misdirected {
                    return Err(Stopped::MaxRetries);
                }
                self.misdirected = true;
                Duration::ZERO
            }
            Class::NotProcessed | Class::Transient { .. } => {
                let hint = match class {
                    Class::Transient { wait } if request.replay_safe => wait,
                    Class::Transient { .. } => return Err(Stopped::NotReplaySafe),
                    _ => None,
                };
                if self.failures >= limits.max_retries {
                    return Err(Stopped::MaxRetries);
                }
                self.failures += 1;
                let hinted = self.above_hint(hint, limits)?;
                hinted.or_else(|| self.backoff.next()).unwrap_or_default()
            }
        };
        if request
            .deadline
            .is_some_and(|deadline| deadline.saturating_duration_since(now) < wait)
        {
            return Err(Stopped::Deadline);
        }
        // Last, so that only what is really sent again is paid for.
        if matches!(class, Class::Transient { .. }) && !budget.withdraw() {
            return Err(Stopped::Budget);
        }
        Ok(wait)
    }

    /// A wait above what the server asked for, unless that is too long.
    fn above_hint(
        &mut self,
        hint: Option<Duration>,
        limits: &Limits,
    ) -> Result<Option<Duration>, Stopped> {
        match hint {
            Some(hint) if hint > limits.max_wait => Err(Stopped::MaxWait { hint }),
            hint => Ok(hint.map(|hint| jitter_above(hint, &mut self.rng))),
        }
    }
}

/// What about a request decides whether it may be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) replay_safe: bool,
    pub(crate) deadline: Option<Instant>,
}

impl Traits {
    /// Read off the spare that would be sent.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            replay_safe: is_replay_safe(request),
            deadline: request
                .extensions()
                .get::<Deadline>()
                .map(|deadline| deadline.instant()),
        }
    }
}

/// Whether sending it twice has the effect of sending it once.
///
/// By its method (RFC 9110, section 9.2.2), because the caller says so, or because it carries a key by
/// which the server recognises it (draft-ietf-httpapi-idempotency-key-header).
fn is_replay_safe<B>(request: &Request<B>) -> bool {
    request.method().is_idempotent() && request.method() != Method::CONNECT
        || request.extensions().get::<ReplaySafe>().is_some()
        || request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// So often a refused request goes first again. To be refused more often is no bad luck: a server may
/// refuse what it costs, or its path, whatever the pace.
const MOST_REFUSALS_IN_FRONT: u32 = 3;
/// A server that is down is asked by the first in the queue, again and again. That must not always be
/// the same one, which would use up its attempts for all.
const MOST_FAILURES_IN_FRONT: u32 = 1;
