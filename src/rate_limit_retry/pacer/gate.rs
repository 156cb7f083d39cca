//! The limits of one key, and the queue before them.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    LimitSnapshot,
    learned::{Pause, Turn},
    limits::{Limits, Ticket},
    queue::{Place, Queue},
};
use crate::{
    header::{RateLimit, RateLimitPolicy},
    mark::LimitKey,
    rate_limit_retry::error::{RateLimited, Reason},
    time,
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

/// What it is told.
#[derive(Debug)]
pub(crate) enum Entry {
    Go(Option<Box<Permit>>),
    Wait(Box<Waiting>),
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
            return self.line_up_again(state, place, ask, now).map(Entry::Wait);
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

    /// Asks for a turn again, before all those that were never sent.
    pub(super) fn enter_again(
        self: &Arc<Self>,
        place: Option<Place>,
        ask: Ask<'_>,
        now: Instant,
    ) -> Result<Box<Waiting>, RateLimited> {
        let mut state = self.lock();
        if let Some(until) = state.limits.spent_until(now) {
            return Err(self.error(Reason::Spent, until));
        }
        let place = place.unwrap_or_else(|| state.queue.new_place(ask.priority));
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
        Ok(self.line_up(state, place.again(), ask, now))
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
        Box::new(Waiting {
            gate: Arc::clone(self),
            place,
            since: now,
            deadline: ask.deadline,
            alarm: None,
            over: false,
        })
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
            waiting: state.queue.len(),
            under_way: state.limits.under_way(),
            refusals: state.limits.refusals(),
        }
    }

    fn permit(self: &Arc<Self>, place: Place, ticket: Ticket) -> Box<Permit> {
        Box::new(Permit {
            gate: Arc::clone(self),
            place,
            ticket: Some(ticket),
        })
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
                        Some(first) => self.queue.set_alarm(first, Some(at)),
                        None => woken.extend(self.queue.alarm_first(at)),
                    }
                    let next = looks.map(|_| at);
                    return Given { woken, next };
                }
                Turn::AfterAnswer => {
                    if let Some(place) = looking {
                        self.queue.set_alarm(place, None);
                    }
                    break;
                }
            }
        }
        Given { woken, next: None }
    }
}

/// A place in the queue. Dropped, it goes to the next.
///
/// It must be polled to be given up in time: the first in the queue is the one that looks at the
/// clock for all.
#[derive(Debug)]
pub(crate) struct Waiting {
    gate: Arc<Gate>,
    place: Place,
    since: Instant,
    deadline: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Waiting {
    /// How long it has waited.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Box<Permit>, RateLimited>> {
        loop {
            let now = time::now();
            let alarm = match self.look(cx, now) {
                Look::Turn(permit) => {
                    self.over = true;
                    return Poll::Ready(Ok(permit));
                }
                Look::Never(error) => {
                    // Whoever keeps this future must not keep the others waiting.
                    self.leave();
                    return Poll::Ready(Err(error));
                }
                Look::Later(alarm) => alarm,
            };
            let Some(alarm) = alarm else {
                self.alarm = None;
                return Poll::Pending;
            };
            match &mut self.alarm {
                Some(sleep) if sleep.deadline() == alarm => {}
                Some(sleep) => sleep.as_mut().reset(alarm),
                none => *none = Some(Box::pin(sleep_until(alarm))),
            }
            if let Some(sleep) = &mut self.alarm
                && sleep.as_mut().poll(cx).is_pending()
            {
                return Poll::Pending;
            }
        }
    }

    fn look(&self, cx: &Context<'_>, now: Instant) -> Look {
        let mut state = self.gate.lock();
        if let Some(ticket) = state.queue.take_granted(self.place) {
            return Look::Turn(self.gate.permit(self.place, ticket));
        }
        if let Some(until) = state.limits.spent_until(now) {
            return Look::Never(self.gate.error(Reason::Spent, until));
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let expected = state.limits.expected(0, now);
            return Look::Never(self.gate.error(Reason::Deadline, expected));
        }
        let replaced = state.queue.wait(self.place, cx.waker());
        let given = state.give_turns(now, Some(self.place));
        let look = match state.queue.take_granted(self.place) {
            Some(ticket) => Look::Turn(self.gate.permit(self.place, ticket)),
            None => Look::Later(given.next.into_iter().chain(self.deadline).min()),
        };
        drop(state);
        drop(replaced);
        wake(given.woken);
        look
    }

    /// Gives its place, or the turn that it has not seen yet, to the next.
    fn leave(&mut self) {
        if mem::replace(&mut self.over, true) {
            return;
        }
        let now = time::now();
        let mut state = self.gate.lock();
        let left = state.queue.leave(self.place);
        if let Some(ticket) = state.queue.take_granted(self.place) {
            state.limits.lost(ticket);
        }
        let woken = state.give_turns(now, None).woken;
        drop(state);
        drop(left);
        wake(woken);
    }
}

enum Look {
    Turn(Box<Permit>),
    Never(RateLimited),
    Later(Option<Instant>),
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A turn. Dropped without an answer, its request counts as lost.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    place: Place,
    /// `None` once it is accounted for.
    ticket: Option<Ticket>,
}

impl Permit {
    /// Gives the turn back if the limit has closed since. Then it has to be asked for again.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        self.gate.lock().limits.closed_until(now).is_none()
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// An answer came that is no refusal.
    pub(crate) fn let_through(mut self: Box<Self>, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.gate
                .change(now, |limits| limits.let_through(ticket, now));
        }
    }

    pub(crate) fn refused(mut self: Box<Self>, pause: Pause, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.gate
                .change(now, |limits| limits.refused(Some(ticket), pause, now));
        }
    }

    /// The answer says how much is left.
    pub(crate) fn told(&self, limits: &[RateLimit], policies: &[RateLimitPolicy], now: Instant) {
        if let Some(ticket) = self.ticket {
            let mut state = self.gate.lock();
            state.limits.told(Some(ticket), limits, policies, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = time::now();
            self.gate.change(now, |limits| limits.lost(ticket));
        }
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
