//! A request in the queue.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    gate::{Gate, Look},
    permit::Permit,
    queue::Place,
};
use crate::{rate_limit_retry::error::RateLimited, time};

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
    pub(super) fn new(
        gate: Arc<Gate>,
        place: Place,
        deadline: Option<Instant>,
        since: Instant,
    ) -> Self {
        Self {
            gate,
            place,
            since,
            deadline,
            alarm: None,
            over: false,
        }
    }

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
            let alarm = match self.gate.look(self.place, self.deadline, cx.waker(), now) {
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

    fn leave(&mut self) {
        if !mem::replace(&mut self.over, true) {
            self.gate.leave(self.place, time::now());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}
