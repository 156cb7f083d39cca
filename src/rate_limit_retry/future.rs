use std::{
    error::Error,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{BoxError, Service};

use super::{
    attempts::{Attempts, Traits},
    classify::Class,
    error::{RateLimited, Reason},
    layer::Settings,
    pacer::{Ask, Comeback, Entry, Pause, Permit, Place, Waiting},
};
use crate::{
    drain::Drain,
    header::rate_limit_policy,
    mark::{Deadline, LimitKey, NoRetry, Priority, ResendCount},
    observe::{Event, span::Attempt},
    outcome::{Outcome, Stopped},
    ready,
    replay::{Outgoing, ReplayBody},
    time,
};

pin_project! {
    /// The future of [`RateLimitRetry`](super::RateLimitRetry).
    ///
    /// Dropped at any time, it leaves nothing behind but what it has learned of the limits, and its place
    /// to the next.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        settings: Arc<Settings>,
        // Ready at first; after a call, or once released, it has to become so again.
        service: S,
        // What to send next: the original, then the spare of it that was made before it was sent.
        request: Outgoing<B>,
        progress: Progress,
        #[pin]
        state: State<S::Future, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        // Not polled yet.
        Starting,
        // The inner service is ready: the request is sent if it is its turn.
        Sending,
        // In the queue of its limit. What came back before is read to its end meanwhile.
        Holding { waiting: Box<Waiting>, #[pin] drain: Option<Drain<R>> },
        // Waiting for the inner service.
        Readying,
        // Sent.
        Calling { #[pin] response: F, attempt: Attempt },
        // To be sent again later. What came back is read to its end meanwhile.
        Pausing { until: Pin<Box<Sleep>>, since: Instant, #[pin] drain: Option<Drain<R>> },
        Done,
    }
}

/// What has happened to one request so far.
#[derive(Default)]
struct Progress {
    /// What counts towards giving up; made when the first attempt fails.
    attempts: Option<Box<Attempts>>,
    /// The limit key, once it has been needed.
    key: Option<LimitKey>,
    /// Its turn, while it has one.
    permit: Option<Box<Permit>>,
    /// Where it stood in the queue.
    place: Option<Place>,
    /// Why no spare was kept, if there could have been one.
    sent_once: Option<Stopped>,
    outcome: Outcome,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(crate) fn new(service: S, request: Request<B>, settings: Arc<Settings>) -> Self {
        Self {
            settings,
            service,
            request: Outgoing::Whole(request),
            progress: Progress::default(),
            state: State::Starting,
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: ReplayBody,
    R: Body,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Starting => Sending
                StateProj::Starting => {
                    this.settings.budget.deposit();
                    // Before the first spare is made: every replay has the same.
                    if let Some(keys) = &this.settings.idempotency_keys
                        && let Some(request) = this.request.request()
                    {
                        keys.add(request);
                    }
                    this.state.set(State::Sending);
                }

                // Sending => Calling | Holding | done
                StateProj::Sending => {
                    match this.progress.enter(this.settings, this.request, cx)? {
                        None => {
                            let request = this.progress.take(this.settings, this.request);
                            let attempt = Attempt::rate_limit_retry(&request);
                            let entered = attempt.enter();
                            let response = this.service.call(request);
                            drop(entered);
                            this.state.set(State::Calling { response, attempt });
                        }
                        Some(waiting) => {
                            ready::release(this.service);
                            let drain = None;
                            this.state.set(State::Holding { waiting, drain });
                        }
                    }
                }

                // Holding => Readying | done
                StateProj::Holding { waiting, mut drain } => {
                    if let Some(reading) = drain.as_mut().as_pin_mut()
                        && reading.poll(cx).is_ready()
                    {
                        drain.set(None);
                    }
                    if drain.is_some() {
                        return Poll::Pending;
                    }
                    let turn = ready!(waiting.poll_turn(cx));
                    let waited = waiting.waited(time::now());
                    this.progress.released(turn, waited, this.settings)?;
                    this.state.set(State::Readying);
                }

                // Readying => Sending | done
                StateProj::Readying => {
                    if let Err(error) = ready!(this.service.poll_ready(cx)) {
                        this.progress.permit = None;
                        return Poll::Ready(Err(error.into()));
                    }
                    // Becoming ready may have taken long: the limit may have closed meanwhile.
                    this.state.set(State::Sending);
                }

                // Calling => Pausing | Holding | done
                StateProj::Calling { response, attempt } => {
                    let entered = attempt.enter();
                    let result = ready!(response.poll(cx)).map_err(Into::into);
                    drop(entered);
                    if let Ok(answer) = &result {
                        attempt.answered(answer);
                    }
                    // The call is over: let go of what its future holds, a permit perhaps.
                    this.state.set(State::Done);
                    let next = match result {
                        Ok(response) => {
                            let (parts, body) = response.into_parts();
                            let now = time::wall();
                            let answer = Answer::read(&parts, this.settings, now);
                            this.progress
                                .listen(&parts, this.settings, this.request, now);
                            match this.progress.after(answer, this.settings, this.request, cx) {
                                Next::Pause(pause) => State::pausing(pause, Some(Drain::new(body))),
                                Next::Hold(waiting) => State::Holding {
                                    waiting,
                                    drain: Some(Drain::new(body)),
                                },
                                Next::Return => {
                                    let mut response = Response::from_parts(parts, body);
                                    mem::take(&mut this.progress.outcome).tell(&mut response);
                                    return Poll::Ready(Ok(response));
                                }
                            }
                        }
                        Err(error) => {
                            let answer = Answer::lost(&*error, this.settings);
                            match this.progress.after(answer, this.settings, this.request, cx) {
                                Next::Pause(pause) => State::pausing(pause, None),
                                Next::Hold(waiting) => State::Holding {
                                    waiting,
                                    drain: None,
                                },
                                Next::Return => return Poll::Ready(Err(error)),
                            }
                        }
                    };
                    this.state.set(next);
                }

                // Pausing => Readying
                StateProj::Pausing {
                    until,
                    since,
                    mut drain,
                } => {
                    if let Some(reading) = drain.as_mut().as_pin_mut()
                        && reading.poll(cx).is_ready()
                    {
                        drain.set(None);
                    }
                    let paused = until.as_mut().poll(cx);
                    if drain.is_some() {
                        return Poll::Pending;
                    }
                    ready!(paused);
                    this.progress.outcome.waited += time::now() - *since;
                    this.state.set(State::Readying);
                }

                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            }
        }
    }
}

impl<F, R> State<F, R> {
    fn pausing(pause: Duration, drain: Option<Drain<R>>) -> Self {
        let since = time::now();
        State::Pausing {
            until: Box::pin(sleep_until(time::after(since, pause))),
            since,
            drain,
        }
    }
}

/// What came back, as far as the next step depends on it.
struct Answer {
    class: Class,
    /// It is of a status on which even requests are replayed that are not replay-safe.
    surely_did_not_run: bool,
    /// What the layers below did for it.
    below: Outcome,
}

impl Answer {
    fn read(parts: &response::Parts, settings: &Settings, now: SystemTime) -> Self {
        let below = parts
            .extensions
            .get::<Outcome>()
            .cloned()
            .unwrap_or_default();
        // A layer like this one has given up on it already: trying on would multiply the attempts.
        let given_up = below.stopped.is_some();
        let class = if given_up {
            Class::Done
        } else {
            settings.classify.response(parts, now)
        };
        let surely_did_not_run = settings.retry_unsafe_on.contains(&parts.status);
        Self {
            class,
            surely_did_not_run,
            below,
        }
    }

    fn lost(error: &(dyn Error + 'static), settings: &Settings) -> Self {
        let class = settings.classify.error(error);
        Self {
            class,
            surely_did_not_run: false,
            below: Outcome::default(),
        }
    }
}

enum Next {
    Pause(Duration),
    Hold(Box<Waiting>),
    Return,
}

impl Progress {
    /// Asks for a turn, if there is anything to ask and it has none yet.
    fn enter<B>(
        &mut self,
        settings: &Settings,
        request: &mut Outgoing<B>,
        cx: &Context<'_>,
    ) -> Result<Option<Box<Waiting>>, RateLimited> {
        if settings.pacer.is_open() {
            return Ok(None);
        }
        let Some(request) = request.request() else {
            return Ok(None);
        };
        let now = time::now();
        let key = self.key.get_or_insert_with(|| settings.key_of(request));
        let ask = ask(request, cx);
        let entry = match self.permit.take() {
            Some(permit) if permit.is_good(now) => Ok(Entry::Go(Some(permit))),
            // Its limit has closed since: back to where it was.
            Some(permit) => {
                let place = permit.place();
                drop(permit);
                let comeback = Comeback::First(Some(place));
                let waiting = settings.pacer.enter_again(key, comeback, ask, now);
                waiting.map(Entry::Wait)
            }
            None => settings.pacer.enter(key, self.place, ask, now),
        };
        match entry {
            Ok(Entry::Go(permit)) => {
                self.permit = permit;
                Ok(None)
            }
            Ok(Entry::Wait(waiting)) => {
                settings.observers.tell(&Event::Held { key });
                Ok(Some(waiting))
            }
            Err(error) => {
                settings
                    .observers
                    .tell(&Event::TurnedAway { error: &error });
                Err(error)
            }
        }
    }

    /// Its wait is over: it has a permit now, or will have none.
    fn released(
        &mut self,
        turn: Result<Box<Permit>, RateLimited>,
        waited: Duration,
        settings: &Settings,
    ) -> Result<(), RateLimited> {
        self.outcome.waited += waited;
        match turn {
            Ok(permit) => {
                if let Some(key) = &self.key {
                    settings.observers.tell(&Event::Released { key, waited });
                }
                self.permit = Some(permit);
                Ok(())
            }
            Err(error) => {
                settings
                    .observers
                    .tell(&Event::TurnedAway { error: &error });
                Err(error)
            }
        }
    }

    /// Takes the request to send it, and leaves a spare if it may have to be sent again.
    fn take<B: ReplayBody>(&mut self, settings: &Settings, slot: &mut Outgoing<B>) -> Request<B> {
        let request = slot.take();
        if request.extensions().get::<NoRetry>().is_some() {
            self.sent_once = Some(Stopped::MarkedNoRetry);
        } else if self
            .attempts
            .as_ref()
            .is_none_or(|past| past.may_go_on(&settings.limits))
        {
            *slot = Outgoing::spare(&request);
            self.sent_once = slot.is_nothing().then_some(Stopped::BodyNotReplayable);
        }
        if slot.is_nothing() {
            // What comes back may close the key, and then there is nothing left to read it from.
            self.key.get_or_insert_with(|| settings.key_of(&request));
        }
        request
    }

    /// Tells the pacer what the answer says of what is left of a limit.
    fn listen<B>(
        &mut self,
        parts: &response::Parts,
        settings: &Settings,
        spare: &mut Outgoing<B>,
        wall: SystemTime,
    ) {
        if settings.pacer.is_off() {
            return;
        }
        let limits = settings.classify.limits(parts, wall);
        if limits.is_empty() {
            return;
        }
        let (policies, now) = (rate_limit_policy(&parts.headers), time::now());
        match &self.permit {
            Some(permit) => permit.told(&limits, &policies, now),
            // It was sent unseen; those that follow will not be.
            None => {
                let key = self.key.take();
                let key = key.or_else(|| Some(settings.key_of(spare.request()?)));
                if let Some(key) = &key {
                    settings.pacer.told_unseen(key, &limits, &policies, now);
                }
                self.key = key;
            }
        }
    }

    /// Decides, on what came back, between sending the request again and returning the answer.
    fn after<B>(
        &mut self,
        answer: Answer,
        settings: &Settings,
        spare: &mut Outgoing<B>,
        cx: &Context<'_>,
    ) -> Next {
        let Answer {
            class,
            surely_did_not_run,
            below,
        } = answer;
        let permit = self.permit.take();
        if class == Class::Done {
            if let Some(permit) = permit {
                permit.let_through(time::now());
            }
            return Next::Return;
        }
        if matches!(class, Class::Refused { .. }) {
            self.outcome.refusals += 1;
        }
        let now = time::now();
        let spare = spare.request();
        let verdict = match &spare {
            Some(spare) => {
                let mut traits = Traits::of(spare);
                traits.replay_safe |= surely_did_not_run;
                self.key.get_or_insert_with(|| settings.key_of(spare));
                let limits = &settings.limits;
                self.attempts
                    .get_or_insert_with(|| Box::new(Attempts::new(limits)))
                    .next(class, &traits, limits, &*settings.budget, now)
            }
            None => Err(self.sent_once.unwrap_or(match class {
                Class::Refused { .. } => Stopped::MaxRefusals,
                _ => Stopped::MaxRetries,
            })),
        };
        self.report(permit, class, verdict.as_ref().ok().copied(), settings, now);

        let next = verdict.and_then(|pause| match (class, spare.as_deref()) {
            // Its limit is closed: it waits not by itself, but in the order of all.
            (Class::Refused { .. } | Class::Transient { wait: Some(_) }, Some(spare))
                if !settings.pacer.is_off() =>
            {
                let key = self.key.get_or_insert_with(|| settings.key_of(spare));
                let attempts = self.attempts.as_deref();
                let comeback = if attempts.is_some_and(Attempts::have_been_many) {
                    Comeback::Last
                } else {
                    Comeback::First(self.place)
                };
                let waiting = settings
                    .pacer
                    .enter_again(key, comeback, ask(spare, cx), now);
                match waiting {
                    Ok(waiting) => Ok(Next::Hold(waiting)),
                    Err(error) if error.reason() == Reason::Spent => Err(Stopped::MaxWait {
                        hint: error.retry_after(),
                    }),
                    Err(_) => Err(Stopped::Deadline),
                }
            }
            _ => Ok(Next::Pause(pause)),
        });
        match (next, spare) {
            (Ok(next), Some(spare)) => {
                let resends = below.resends.saturating_add(1);
                count_resends(spare, resends);
                self.outcome.add(below);
                self.outcome.resends += 1;
                self.tell_retry(&next, settings);
                next
            }
            (Ok(_), None) => Next::Return,
            (Err(reason), _) => {
                self.outcome.stopped = Some(reason);
                if let Some(key) = &self.key {
                    settings.observers.tell(&Event::NotRetried { key, reason });
                }
                Next::Return
            }
        }
    }

    fn tell_retry(&self, next: &Next, settings: &Settings) {
        let Some(key) = &self.key else { return };
        let pause = match next {
            Next::Pause(pause) => Some(*pause),
            _ => None,
        };
        settings.observers.tell(&Event::Retrying {
            key,
            resends: self.outcome.resends,
            pause,
        });
        if let Next::Hold(_) = next {
            settings.observers.tell(&Event::Held { key });
        }
    }

    /// Tells the pacer what came of the request.
    fn report(
        &mut self,
        permit: Option<Box<Permit>>,
        class: Class,
        own_pause: Option<Duration>,
        settings: &Settings,
        now: Instant,
    ) {
        self.place = permit.as_ref().map(|permit| permit.place());
        let Some(key) = &self.key else { return };
        let (pacer, longest_wait) = (&settings.pacer, settings.limits.max_wait);
        let pause = match class {
            Class::Refused { wait: Some(hint) } if !hint.is_zero() => Pause::Hint(hint),
            // A server that is down, and says for how long, holds back everybody.
            Class::Transient { wait: Some(hint) } => Pause::Outage(hint),
            Class::Refused { .. } => Pause::Guess(own_pause.unwrap_or_default()),
            Class::Done | Class::Transient { wait: None } => {
                if let Some(permit) = permit {
                    permit.let_through(now);
                }
                return;
            }
            // What was not processed tells nothing of a limit: its permit is dropped.
            Class::NotProcessed | Class::Misdirected => return,
        };
        settings.observers.tell(&match pause {
            Pause::Hint(hint) => Event::Refused {
                key,
                retry_after: Some(hint),
            },
            Pause::Guess(_) => Event::Refused {
                key,
                retry_after: None,
            },
            Pause::Outage(retry_after) => Event::Overloaded { key, retry_after },
        });
        match permit {
            Some(permit) => permit.refused(pause, now),
            None => pacer.refused_unseen(key, pause, now),
        }
        if let Pause::Hint(hint) | Pause::Outage(hint) = pause
            && hint > longest_wait
        {
            pacer.spent(key, hint, longest_wait, now);
        }
    }
}

fn ask<'a, B>(request: &Request<B>, cx: &'a Context<'_>) -> Ask<'a> {
    let marks = request.extensions();
    Ask {
        priority: marks.get::<Priority>().map_or(0, |priority| priority.0),
        deadline: marks.get::<Deadline>().map(|deadline| deadline.instant()),
        waker: cx.waker(),
    }
}

fn count_resends<B>(request: &mut Request<B>, resends: u32) {
    let sent = request
        .extensions()
        .get::<ResendCount>()
        .copied()
        .unwrap_or_default();
    request
        .extensions_mut()
        .insert(ResendCount(sent.0.saturating_add(resends)));
}
