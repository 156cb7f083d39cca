use std::{
    error::Error,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{BoxError, Service};

use super::{
    attempts::{Attempts, Traits},
    classify::Class,
    error::RateLimited,
    layer::Settings,
    pacer::Admission,
};
use crate::{
    drain::Drain,
    mark::{Deadline, LimitKey, NoRetry, ResendCount},
    observe::{self, Event},
    outcome::{Outcome, Stopped},
    ready,
    replay::{self, ReplayBody},
    time,
};

pin_project! {
    /// The future of [`RateLimitRetry`](super::RateLimitRetry).
    ///
    /// Dropped at any time, it leaves nothing behind but the cool-downs that it has learned of.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        settings: Arc<Settings>,
        // Ready at first; after a call, or once released, it has to become so again.
        service: S,
        // What to send next: the original, then the copy of it that was made before it was sent.
        request: Option<Request<B>>,
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
        // The limit key is closed: nothing is sent before the server's time.
        Holding { until: Pin<Box<Sleep>>, since: Instant },
        // Waiting for the inner service.
        Readying,
        // Sent.
        Calling { #[pin] response: F },
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
    /// Why no copy was kept, if there could have been one.
    sent_once: Option<Stopped>,
    outcome: Outcome,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(crate) fn new(service: S, request: Request<B>, settings: Arc<Settings>) -> Self {
        let request = Some(request);
        Self {
            settings,
            service,
            request,
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
            let next = match this.state.as_mut().project() {
                // Starting => Calling | Holding | done
                StateProj::Starting => {
                    this.settings.budget.deposit();
                    this.progress
                        .send_or_hold(this.settings, this.request, this.service)?
                }

                // Holding => Holding | Readying | done
                StateProj::Holding { until, since } => {
                    ready!(until.as_mut().poll(cx));
                    this.progress.outcome.waited += time::now() - *since;
                    this.progress.hold_or_ready(this.settings, this.request)?
                }

                // Readying => Calling | Holding | done
                StateProj::Readying => {
                    ready!(this.service.poll_ready(cx)).map_err(Into::into)?;
                    // Becoming ready may have taken long: the limit may have closed meanwhile.
                    this.progress
                        .send_or_hold(this.settings, this.request, this.service)?
                }

                // Calling => Pausing | done
                StateProj::Calling { response } => {
                    let result = ready!(response.poll(cx)).map_err(Into::into);
                    // The call is over: let go of what its future holds, a permit perhaps.
                    this.state.set(State::Done);
                    match result {
                        Ok(response) => {
                            let (parts, body) = response.into_parts();
                            let answer = Answer::read(&parts, this.settings);
                            match this.progress.after(answer, this.settings, this.request) {
                                Next::Pause(pause) => State::pausing(pause, Some(Drain::new(body))),
                                Next::Return => {
                                    let mut response = Response::from_parts(parts, body);
                                    mem::take(&mut this.progress.outcome).tell(&mut response);
                                    return Poll::Ready(Ok(response));
                                }
                            }
                        }
                        Err(error) => {
                            let answer = Answer::lost(&*error, this.settings);
                            match this.progress.after(answer, this.settings, this.request) {
                                Next::Pause(pause) => State::pausing(pause, None),
                                Next::Return => return Poll::Ready(Err(error)),
                            }
                        }
                    }
                }

                // Pausing => Holding | Readying | done
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
                    this.progress.hold_or_ready(this.settings, this.request)?
                }

                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            };
            this.state.set(next);
        }
    }
}

impl<F, R> State<F, R> {
    fn holding(until: Instant) -> Self {
        State::Holding {
            until: Box::pin(sleep_until(until)),
            since: time::now(),
        }
    }

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
    fn read(parts: &response::Parts, settings: &Settings) -> Self {
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
            settings.classify.response(parts, time::wall())
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
    Return,
}

impl Progress {
    /// Until when a closed limit holds the request back, if one does.
    fn held_until<B>(
        &mut self,
        settings: &Settings,
        request: &Option<Request<B>>,
    ) -> Result<Option<Instant>, RateLimited> {
        if settings.pacer.is_open() {
            return Ok(None);
        }
        let Some(request) = request else {
            return Ok(None);
        };
        let key = self.key.get_or_insert_with(|| settings.key_of(request));
        let now = time::now();
        let Admission::Wait(until) = settings.pacer.admit(key, now) else {
            return Ok(None);
        };
        let deadline = request
            .extensions()
            .get::<Deadline>()
            .map(|deadline| deadline.instant());
        if let Some(deadline) = deadline.filter(|deadline| *deadline < until) {
            return Err(RateLimited::new(key.clone(), until, deadline));
        }
        observe::emit(&Event::Held {
            key,
            pause: until - now,
        });
        Ok(Some(until))
    }

    /// Calls a service that is ready, unless the limit is closed; then readiness is given back.
    fn send_or_hold<S, B, R>(
        &mut self,
        settings: &Settings,
        request: &mut Option<Request<B>>,
        service: &mut S,
    ) -> Result<State<S::Future, R>, RateLimited>
    where
        S: Service<Request<B>> + Clone,
        B: ReplayBody,
    {
        Ok(match self.held_until(settings, request)? {
            None => State::Calling {
                response: service.call(self.take(settings, request)),
            },
            Some(until) => {
                ready::release(service);
                State::holding(until)
            }
        })
    }

    fn hold_or_ready<B, F, R>(
        &mut self,
        settings: &Settings,
        request: &Option<Request<B>>,
    ) -> Result<State<F, R>, RateLimited> {
        Ok(match self.held_until(settings, request)? {
            None => State::Readying,
            Some(until) => State::holding(until),
        })
    }

    /// Takes the request to send it, and leaves a copy if it may have to be sent again.
    fn take<B: ReplayBody>(
        &mut self,
        settings: &Settings,
        slot: &mut Option<Request<B>>,
    ) -> Request<B> {
        let request = slot
            .take()
            .expect("`ResponseFuture` polled after completion");
        if request.extensions().get::<NoRetry>().is_some() {
            self.sent_once = Some(Stopped::MarkedNoRetry);
        } else if self
            .attempts
            .as_ref()
            .is_none_or(|past| past.may_go_on(&settings.limits))
        {
            *slot = replay::copy(&request);
            self.sent_once = slot.is_none().then_some(Stopped::BodyNotReplayable);
        }
        if slot.is_none() {
            // What comes back may close the key, and then there is nothing left to read it from.
            self.key.get_or_insert_with(|| settings.key_of(&request));
        }
        request
    }

    /// Decides, on what came back, between sending the request again and returning the answer.
    fn after<B>(
        &mut self,
        answer: Answer,
        settings: &Settings,
        copy: &mut Option<Request<B>>,
    ) -> Next {
        let Answer {
            class,
            surely_did_not_run,
            below,
        } = answer;
        if class == Class::Done {
            return Next::Return;
        }
        if matches!(class, Class::Refused { .. }) {
            self.outcome.refusals += 1;
        }
        let now = time::now();
        let verdict = match copy {
            Some(copy) => {
                let mut traits = Traits::of(copy);
                traits.replay_safe |= surely_did_not_run;
                self.key.get_or_insert_with(|| settings.key_of(copy));
                let limits = &settings.limits;
                self.attempts
                    .get_or_insert_with(|| Box::new(Attempts::new(limits)))
                    .next(class, &traits, limits, &*settings.budget, now)
                    .map(|pause| (copy, pause))
            }
            None => Err(self.sent_once.unwrap_or(match class {
                Class::Refused { .. } => Stopped::MaxRefusals,
                _ => Stopped::MaxRetries,
            })),
        };
        let pause = verdict.as_ref().ok().map(|(_, pause)| *pause);
        self.close(settings, pause_for_all(class, pause), now);

        match verdict {
            Ok((copy, pause)) => {
                let resends = below.resends.saturating_add(1);
                count_resends(copy, resends);
                self.outcome.add(below);
                self.outcome.resends += 1;
                observe::emit(&Event::Retrying {
                    resends: self.outcome.resends,
                    pause,
                });
                Next::Pause(pause)
            }
            Err(reason) => {
                observe::emit(&Event::Stopped { reason });
                self.outcome.stopped = Some(reason);
                Next::Return
            }
        }
    }

    /// Holds back everybody with this key, as the server asked.
    fn close(&self, settings: &Settings, pause: Option<Duration>, now: Instant) {
        if let (Some(key), Some(pause)) = (&self.key, pause)
            && pause <= settings.limits.max_wait
        {
            observe::emit(&Event::Closed { key, pause });
            settings.pacer.close(key.clone(), pause, now);
        }
    }
}

/// The pause that an answer asks of everybody with this key, and not of this request alone.
fn pause_for_all(class: Class, own: Option<Duration>) -> Option<Duration> {
    match class {
        Class::Refused { wait: Some(hint) } | Class::Transient { wait: Some(hint) } => Some(hint),
        Class::Refused { wait: None } => own,
        _ => None,
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
