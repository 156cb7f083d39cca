//! The limits of one key, and the queue before them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    LimitSnapshot,
    learned::{Pause, Turn},
    limits::{Limits, Ticket},
    permit::Permit,
    queue::{Place, Queue},
    waiting::Waiting,
};
use crate::{
    header::{RateLimit, RateLimitPolicy},
    mark::LimitKey,
    rate_limit_retry::error::{RateLimited, Reason},
};

/// One key's limits and queue. Whoever touches it gives turns to those whose time has come.
#[derive(Debug)]
pub(super) struct Gate {
    key: LimitKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    queue: Queue,
}

/// What a request tells of itself when it asks for a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) priority: i8,
    pub(crate) deadline: Option<Instant>,
    pub(crate) waker: &'a Waker,
}

/// Where a request lines up that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Comeback {
    /// Before all those that never had a turn, in its old order among those who come back.
    First(Option<Place>),
    /// Behind all. One that is refused again and again, whatever the others are, must not stand in their
    /// way.
    Last,
}

/// What a request is told that asks for a turn.
#[derive(Debug)]
pub(crate) enum Entry {
    Go(Option<Box<Permit>>),
    Wait(Box<Waiting>),
}

/// What one who waits is told.
pub(super) enum Look {
    Turn(Box<Permit>),
    Never(RateLimited),
    /// Nothing yet: look again then, or when woken.
    Later(Option<Instant>),
}

impl Gate {
    pub(super) fn new(key: LimitKey, limits: Limits) -> Self {
        Self {
            key,
            state: Mutex::new(State {
                limits,
                queue: Queue::default(),
            }),
        }
    }

    /// Asks for a turn behind all others; at its old place, if it has failed since it had one.
    pub(super) fn enter(
        self: &Arc<Self>,
        place: Option<Place>,
        ask: Ask<'_>,
        most_waiting: usize,
        now: Instant,
    ) -> Result<Entry, RateLimited> {
        let mut state = self.lock();
        if let Some(until) = state.limits.spent_until(now) {
            return Err(self.error(Reason::Spent, until));
        }
        if state.queue.is_empty() && state.limits.turn(now) == Turn::Go {
            let place = place.unwrap_or_else(|| state.queue.new_place(ask.priority));
            let ticket = state.limits.sent(false, now);
            return Ok(Entry::Go(Some(self.permit(place, ticket))));
        }
        if let Some(place) = place {
            return self
                .line_up_again(state, place.again(), ask, now)
                .map(Entry::Wait);
        }
        let ahead = state.queue.ahead(ask.priority);
        let expected = state.limits.expected(ahead, now);
        if ask.deadline.is_some_and(|deadline| deadline < expected) {
            return Err(self.error(Reason::Deadline, expected));
        }
        if state.queue.len() >= most_waiting {
            return Err(self.error(Reason::QueueFull, expected));
        }
        let place = state.queue.new_place(ask.priority);
        Ok(Entry::Wait(self.line_up(state, place, ask, now)))
    }

    /// Asks for a turn again.
    pub(super) fn enter_again(
        self: &Arc<Self>,
        comeback: Comeback,
        ask: Ask<'_>,
        now: Instant,
    ) -> Result<Box<Waiting>, RateLimited> {
        let mut state = self.lock();
        if let Some(until) = state.limits.spent_until(now) {
            return Err(self.error(Reason::Spent, until));
        }
        let place = match comeback {
            Comeback::First(Some(place)) => place.again(),
            Comeback::First(None) => state.queue.new_place(ask.priority).again(),
            Comeback::Last => state.queue.new_place(ask.priority),
        };
        self.line_up_again(state, place, ask, now)
    }

    fn line_up_again(
        self: &Arc<Self>,
        state: MutexGuard<'_, State>,
        place: Place,
        ask: Ask<'_>,
        now: Instant,
    ) -> Result<Box<Waiting>, RateLimited> {
        let opens = state.limits.expected(0, now);
        if ask.deadline.is_some_and(|deadline| deadline < opens) {
            return Err(self.error(Reason::Deadline, opens));
        }
        Ok(self.line_up(state, place, ask, now))
    }

    fn line_up(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        place: Place,
        ask: Ask<'_>,
        now: Instant,
    ) -> Box<Waiting> {
        let replaced = state.queue.wait(place, ask.waker);
        let woken = state.give_turns(now, Some(place)).woken;
        drop(state);
        drop(replaced);
        wake(woken);
        Box::new(Waiting::new(Arc::clone(self), place, ask.deadline, now))
    }

    /// A waiter looks whether it has its turn, and until when it has not.
    pub(super) fn look(
        self: &Arc<Self>,
        place: Place,
        deadline: Option<Instant>,
        waker: &Waker,
        now: Instant,
    ) -> Look {
        let mut state = self.lock();
        if let Some(ticket) = state.queue.take_granted(place) {
            return Look::Turn(self.permit(place, ticket));
        }
        if let Some(until) = state.limits.spent_until(now) {
            return Look::Never(self.error(Reason::Spent, until));
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            let expected = state.limits.expected(0, now);
            return Look::Never(self.error(Reason::Deadline, expected));
        }
        let replaced = state.queue.wait(place, waker);
        let given = state.give_turns(now, Some(place));
        let look = match state.queue.take_granted(place) {
            Some(ticket) => Look::Turn(self.permit(place, ticket)),
            None => Look::Later(given.next.into_iter().chain(deadline).min()),
        };
        drop(state);
        drop(replaced);
        wake(given.woken);
        look
    }

    /// A waiter gives its place, or the turn that it has not seen yet, to the next.
    pub(super) fn leave(&self, place: Place, now: Instant) {
        let mut state = self.lock();
        let left = state.queue.leave(place);
        if let Some(ticket) = state.queue.take_granted(place) {
            state.limits.lost(ticket);
        }
        let woken = state.give_turns(now, None).woken;
        drop(state);
        drop(left);
        wake(woken);
    }

    /// Whether a turn that was given is one still: the limit may have closed since.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.lock().limits.closed_until(now).is_none()
    }

    pub(super) fn let_through(&self, ticket: Ticket, now: Instant) {
        self.change(now, |limits| limits.let_through(ticket, now));
    }

    pub(super) fn refused(&self, ticket: Ticket, pause: Pause, now: Instant) {
        self.change(now, |limits| limits.refused(Some(ticket), pause, now));
    }

    pub(super) fn lost(&self, ticket: Ticket, now: Instant) {
        self.change(now, |limits| limits.lost(ticket));
    }

    /// The answer to a request says how much is left.
    pub(super) fn told(
        &self,
        ticket: Ticket,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        self.lock().limits.told(Some(ticket), limits, policies, now);
    }

    /// A request was refused that had no permit.
    pub(super) fn refused_unseen(&self, pause: Pause, now: Instant) {
        self.change(now, |limits| limits.refused(None, pause, now));
    }

    /// The server asks for a pause longer than anyone waits.
    pub(super) fn spent(&self, pause: Duration, longest_wait: Duration, now: Instant) {
        self.change(now, |limits| limits.spent(pause, longest_wait, now));
    }

    /// The answer to a request that had no permit says how much is left.
    pub(super) fn told_unseen(
        &self,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        self.lock().limits.told(None, limits, policies, now);
    }

    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let state = self.lock();
        // Those under way have to be counted on, and their places are this queue's.
        let idle = state.queue.is_empty() && !state.limits.is_in_use();
        idle && state.limits.is_forgotten(now)
    }

    /// When a limit last showed itself, of a gate that nobody needs now.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        let idle = state.queue.is_empty() && !state.limits.is_in_use();
        idle.then(|| state.limits.shown())
    }

    pub(super) fn snapshot(&self, now: Instant) -> LimitSnapshot {
        let state = self.lock();
        let estimate = state.limits.estimate();
        LimitSnapshot {
            key: self.key.clone(),
            closed_for: state
                .limits
                .closed_until(now)
                .map(|until| until.saturating_duration_since(now)),
            rate: estimate.map(|(rate, _)| rate),
            burst: estimate.map(|(_, burst)| burst as u64),
            concurrency: state.limits.most_learned(),
            waiting: state.queue.len(),
            under_way: state.limits.under_way(),
            refusals: state.limits.refusals(),
        }
    }

    fn permit(self: &Arc<Self>, place: Place, ticket: Ticket) -> Box<Permit> {
        Box::new(Permit::new(Arc::clone(self), place, ticket))
    }

    fn error(&self, reason: Reason, retry_at: Instant) -> RateLimited {
        RateLimited::new(self.key.clone(), reason, retry_at)
    }

    /// Changes what is known, and gives turns to those whose time has come by that.
    fn change(&self, now: Instant, change: impl FnOnce(&mut Limits)) {
        let mut state = self.lock();
        change(&mut state.limits);
        let woken = state.give_turns(now, None).woken;
        drop(state);
        wake(woken);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of giving turns: whom to wake, once the lock is released.
struct Given {
    woken: Vec<Waker>,
    /// When the one who looks has to look again, if it is the first of those who still wait.
    next: Option<Instant>,
}

impl State {
    /// Gives turns to those whose time has come. `looking` needs no waking: it looks.
    fn give_turns(&mut self, now: Instant, looking: Option<Place>) -> Given {
        if let Some(place) = looking {
            self.queue.clear_alarm(place);
        }
        let mut woken = Vec::new();
        if self.limits.spent_until(now).is_some() {
            // None of them is going to be sent; each finds out by itself.
            woken = self.queue.dismiss();
            return Given { woken, next: None };
        }
        while !self.queue.is_empty() {
            match self.limits.turn(now) {
                Turn::Go => {
                    let ticket = self.limits.sent(true, now);
                    woken.extend(self.queue.grant_first(ticket));
                }
                Turn::At(at) => {
                    let looks = self.queue.first().filter(|first| looking == Some(*first));
                    match looks {
                        Some(first) => self.queue.set_alarm(first, at),
                        None => woken.extend(self.queue.alarm_first(at)),
                    }
                    let next = looks.map(|_| at);
                    return Given { woken, next };
                }
                Turn::AfterAnswer => break,
            }
        }
        Given { woken, next: None }
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
