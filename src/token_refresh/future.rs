use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::layer::Settings;
use crate::{
    drain::Drain,
    mark::{Deadline, NoToken, ResendCount},
    observe::{self, Event},
    origin::{MissingOrigin, Verdict},
    outcome::{Outcome, Stopped},
    ready,
    replay::{self, ReplayBody},
    time,
    token::{Held, Need, Refusal, TokenCache, TokenError},
};

pin_project! {
    /// The future of [`TokenRefresh`](super::TokenRefresh).
    ///
    /// Dropped at any time, it leaves nothing behind but a renewal that it may have started, which
    /// goes on for others.
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
    #[project_replace = StateOwned]
    enum State<F, R> {
        // Not polled yet.
        Starting,
        // There is no token: nothing is sent until there is.
        Obtaining { token: Obtain, since: Instant },
        // With a token in hand, waiting for the inner service.
        Readying { token: Arc<Held> },
        // Sent as it came: its credential is not ours.
        Passing { #[pin] response: F },
        // Sent with the token of this generation.
        Calling { #[pin] response: F, generation: u64 },
        // Refused: the response is kept until it is known that there is a token to try instead.
        Renewing { token: Obtain, since: Instant, refused: Response<R> },
        // There is: the refused response makes room for the replay.
        Draining { #[pin] drain: Drain<R>, token: Arc<Held> },
        Done,
    }
}

/// A wait for a token. It knows nothing of the inner service, so boxing it asks nothing of that.
type Obtain = Pin<Box<dyn Future<Output = Result<Arc<Held>, TokenError>> + Send>>;

/// What has been done for one request so far.
#[derive(Default)]
struct Progress {
    /// The one renewal that a request may ask for has been had.
    renewed: bool,
    /// Pauses made for a token that was too new.
    lags: u32,
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
        let tokens = &this.settings.tokens;
        loop {
            let next = match this.state.as_mut().project() {
                // Starting => Passing | Calling | Obtaining | done
                StateProj::Starting => {
                    let mut request = take(this.request);
                    match passage(&request, this.settings)? {
                        Passage::AsItCame => State::Passing {
                            response: this.service.call(request),
                        },
                        Passage::WithToken => match tokens.with_ready(|held| {
                            *this.request = replay::copy(&request);
                            attach(held, &mut request, tokens)
                        }) {
                            Some(generation) => State::Calling {
                                response: this.service.call(request),
                                generation,
                            },
                            None => {
                                ready::release(this.service);
                                let token = obtain(tokens, Need::Good, deadline(&request));
                                *this.request = Some(request);
                                State::Obtaining {
                                    token,
                                    since: time::now(),
                                }
                            }
                        },
                    }
                }

                // Obtaining => Readying | done
                StateProj::Obtaining { token, since } => {
                    let token = ready!(token.as_mut().poll(cx))?;
                    this.progress.outcome.waited += time::now() - *since;
                    State::Readying { token }
                }

                // Readying => Calling | done
                StateProj::Readying { token } => {
                    ready!(this.service.poll_ready(cx)).map_err(Into::into)?;
                    let mut request = take(this.request);
                    if this.progress.may_go_on(this.settings) {
                        *this.request = replay::copy(&request);
                    }
                    // Becoming ready may have taken long: send the token that is right by now.
                    let generation = tokens
                        .with_ready(|held| attach(held, &mut request, tokens))
                        .unwrap_or_else(|| attach(token, &mut request, tokens));
                    State::Calling {
                        response: this.service.call(request),
                        generation,
                    }
                }

                // Passing => done
                StateProj::Passing { response } => {
                    return response.poll(cx).map_err(Into::into);
                }

                // Calling => Renewing | done
                StateProj::Calling {
                    response,
                    generation,
                } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let generation = *generation;
                    // The call is over: let go of what its future holds, a permit perhaps.
                    this.state.set(State::Done);

                    let (parts, body) = response.into_parts();
                    let refusal =
                        (this.settings.is_refusal)(&parts).then(|| Refusal::from_parts(&parts));
                    let response = Response::from_parts(parts, body);
                    let Some(refusal) = refusal else {
                        if this.progress.outcome.token_replays > 0 {
                            tokens.accepted(generation);
                        }
                        return Poll::Ready(Ok(this.progress.finish(response)));
                    };

                    observe::emit(&Event::TokenRefused { generation });
                    let next = this.progress.after_refusal(
                        this.settings,
                        generation,
                        refusal,
                        this.request.as_ref(),
                    );
                    match next {
                        Ok(token) => State::Renewing {
                            token,
                            since: time::now(),
                            refused: response,
                        },
                        Err(reason) => {
                            return Poll::Ready(Ok(this.progress.stop(reason, response)));
                        }
                    }
                }

                // Renewing => Draining | done
                StateProj::Renewing { token, since, .. } => {
                    let renewed = ready!(token.as_mut().poll(cx));
                    this.progress.outcome.waited += time::now() - *since;
                    let StateOwned::Renewing {
                        refused: mut response,
                        ..
                    } = this.state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("it was Renewing in the line that led here")
                    };
                    match renewed {
                        Ok(token) => State::Draining {
                            drain: Drain::new(response.into_body()),
                            token,
                        },
                        Err(error) => {
                            response.extensions_mut().insert(error);
                            let reason = Stopped::RenewalFailed;
                            return Poll::Ready(Ok(this.progress.stop(reason, response)));
                        }
                    }
                }

                // Draining => Readying
                StateProj::Draining { drain, token } => {
                    ready!(drain.poll(cx));
                    let token = Arc::clone(token);
                    let generation = token.token.generation();
                    observe::emit(&Event::TokenReplay { generation });
                    this.progress.outcome.token_replays += 1;
                    this.progress.outcome.resends += 1;
                    if let Some(request) = this.request {
                        count_resend(request);
                    }
                    State::Readying { token }
                }

                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            };
            this.state.set(next);
        }
    }
}

impl Progress {
    /// Whether a refusal of what is sent next could lead to another replay.
    fn may_go_on(&self, settings: &Settings) -> bool {
        !self.renewed || !settings.fresh_token_lag.is_zero()
    }

    /// Decides between waiting for a token to replay with, and returning the refusal.
    fn after_refusal<B>(
        &mut self,
        settings: &Settings,
        generation: u64,
        refusal: Refusal,
        copy: Option<&Request<B>>,
    ) -> Result<Obtain, Stopped> {
        let tokens = &settings.tokens;
        if let (Some(copy), Some(pause)) = (copy, self.lag(settings, generation)) {
            let tokens = tokens.clone();
            let deadline = deadline(copy);
            self.lags += 1;
            return Ok(Box::pin(async move {
                before(deadline, async {
                    tokio::time::sleep(pause).await;
                    tokens.obtain(Need::Good).await
                })
                .await
            }));
        }
        let worth_renewing = tokens.refused(generation);
        if self.renewed {
            return Err(Stopped::RefusedAgain);
        }
        if !worth_renewing {
            return Err(Stopped::RenewalWithheld);
        }
        let Some(copy) = copy else {
            // Too late for this request, but not for the next.
            tokens.renew_refused(generation, refusal);
            return Err(Stopped::BodyNotReplayable);
        };
        self.renewed = true;
        Ok(obtain(
            tokens,
            Need::NewerThan(generation, refusal),
            deadline(copy),
        ))
    }

    /// How long to wait before the same token is tried again, if it is new enough for that.
    fn lag(&self, settings: &Settings, generation: u64) -> Option<Duration> {
        if settings.fresh_token_lag.is_zero() {
            return None;
        }
        let age = settings.tokens.age(generation)?;
        (age < settings.fresh_token_lag).then(|| FIRST_LAG.saturating_mul(1 << self.lags.min(31)))
    }

    fn stop<R>(&mut self, reason: Stopped, response: Response<R>) -> Response<R> {
        observe::emit(&Event::Stopped { reason });
        self.outcome.stopped = Some(reason);
        self.finish(response)
    }

    fn finish<R>(&mut self, mut response: Response<R>) -> Response<R> {
        std::mem::take(&mut self.outcome).tell(&mut response);
        response
    }
}

/// Whether a request is to carry our token.
enum Passage {
    WithToken,
    AsItCame,
}

fn passage<B>(request: &Request<B>, settings: &Settings) -> Result<Passage, MissingOrigin> {
    let credential = settings.tokens.credential_header().name();
    if request.headers().contains_key(credential) || request.extensions().get::<NoToken>().is_some()
    {
        return Ok(Passage::AsItCame);
    }
    match settings.origins.allows(request.uri()) {
        Verdict::Allowed => Ok(Passage::WithToken),
        Verdict::Elsewhere => {
            let host = request.uri().host().unwrap_or_default();
            observe::emit(&Event::TokenLeftOut { host });
            Ok(Passage::AsItCame)
        }
        Verdict::Unknown => Err(MissingOrigin::new(request.uri())),
    }
}

/// Returns the generation of the token that the request now carries.
fn attach<B>(held: &Held, request: &mut Request<B>, tokens: &TokenCache) -> u64 {
    let name = tokens.credential_header().name().clone();
    request
        .headers_mut()
        .insert(name, held.token.header_value().clone());
    held.token.generation()
}

fn count_resend<B>(request: &mut Request<B>) {
    let sent = request
        .extensions()
        .get::<ResendCount>()
        .copied()
        .unwrap_or_default();
    request
        .extensions_mut()
        .insert(ResendCount(sent.0.saturating_add(1)));
}

fn deadline<B>(request: &Request<B>) -> Option<Instant> {
    request
        .extensions()
        .get::<Deadline>()
        .map(|deadline| deadline.instant())
}

fn obtain(tokens: &TokenCache, need: Need, deadline: Option<Instant>) -> Obtain {
    let tokens = tokens.clone();
    Box::pin(async move { before(deadline, tokens.obtain(need)).await })
}

/// A wait for a token that ends at the request's deadline, if it has one.
async fn before(
    deadline: Option<Instant>,
    wait: impl Future<Output = Result<Arc<Held>, TokenError>>,
) -> Result<Arc<Held>, TokenError> {
    match deadline {
        None => wait.await,
        Some(deadline) => tokio::time::timeout_at(deadline, wait)
            .await
            .unwrap_or_else(|_| Err(TokenError::deadline())),
    }
}

/// Takes what a state leaves for the next one; only a future that has ended has nothing left.
fn take<T>(slot: &mut Option<T>) -> T {
    slot.take()
        .expect("`ResponseFuture` polled after completion")
}

/// GitHub's own client waits 1 s, 2 s, 4 s for a new installation token to be known everywhere.
const FIRST_LAG: Duration = Duration::from_secs(1);
