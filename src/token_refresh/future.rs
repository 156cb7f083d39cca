use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, StatusCode, Uri, response, uri::Authority};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::layer::Settings;
use crate::{
    drain::Drain,
    mark::{Deadline, NoToken, ResendCount},
    observe::{Event, Observers, span::Attempt},
    origin::{MissingOrigin, Verdict},
    outcome::{Outcome, Stopped},
    ready,
    replay::{Outgoing, ReplayBody},
    time,
    token::{Answered, Held, Need, Refusal, TokenCache, TokenError},
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
        // What to send next: the original, then the spare of it that was made before it was sent.
        request: Outgoing<B>,
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
        // Sent with a token of ours.
        Calling { #[pin] response: F, sent: Sent },
        // Refused: the response is kept until it is known that there is a token to try instead.
        Renewing { token: Obtain, since: Instant, refused: Response<R> },
        // There is: the refused response makes room for the replay.
        Draining { #[pin] drain: Drain<R>, token: Arc<Held>, why: Replay },
        Done,
    }
}

/// A wait for a token. It knows nothing of the inner service, so boxing it asks nothing of that.
type Obtain = Pin<Box<dyn Future<Output = Result<Arc<Held>, TokenError>> + Send>>;

/// The token that a request was sent with.
struct Sent {
    generation: u64,
    attached: Option<Box<Attached>>,
    /// Where it went, if anybody wants to know.
    authority: Option<Box<Authority>>,
    attempt: Attempt,
}

/// Whom to tell about the response to a request that had more than a header.
struct Attached {
    token: Arc<Held>,
    uri: Uri,
}

/// Why a request is replayed.
#[derive(Clone, Copy)]
enum Replay {
    /// With a token that it was not refused with.
    Token,
    /// With the same token, attached in another way.
    Attachment,
}

/// What has been done for one request so far.
#[derive(Default)]
struct Progress {
    /// The one renewal that a request may ask for has been had.
    renewed: bool,
    /// Times that the token it had waited for was over before it could be sent.
    obtained_again: u32,
    /// The one replay with another attachment has been had.
    attached_again: bool,
    /// Pauses made for a token that was too new.
    lags: u32,
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
        let tokens = &this.settings.tokens;
        loop {
            let next = match this.state.as_mut().project() {
                // Starting => Passing | Calling | Obtaining | done
                StateProj::Starting => {
                    let mut request = this.request.take();
                    match passage(&request, this.settings)? {
                        Passage::AsItCame => State::Passing {
                            response: this.service.call(request),
                        },
                        Passage::WithToken => match tokens.with_ready(|held| {
                            *this.request = Outgoing::spare(&request);
                            attach(held, &mut request, tokens)
                        }) {
                            Some(sent) => State::calling(this.service, request, sent?),
                            None => {
                                ready::release(this.service);
                                let token = obtain(tokens, Need::Good, deadline(&request));
                                *this.request = Outgoing::Whole(request);
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

                // Readying => Calling | Obtaining | done
                StateProj::Readying { token } => {
                    ready!(this.service.poll_ready(cx)).map_err(Into::into)?;
                    let mut request = this.request.take();
                    if this.progress.may_go_on(this.settings, token) {
                        *this.request = Outgoing::spare(&request);
                    }
                    // Becoming ready may have taken long: send the token that is right by now.
                    let ready = tokens.with_ready(|held| attach(held, &mut request, tokens));
                    if ready.is_none() && this.progress.obtained_again < MOST_OBTAINED_AGAIN {
                        this.progress.obtained_again += 1;
                        ready::release(this.service);
                        let token = obtain(tokens, Need::Good, deadline(&request));
                        *this.request = Outgoing::Whole(request);
                        State::Obtaining {
                            token,
                            since: time::now(),
                        }
                    } else {
                        let sent = ready.unwrap_or_else(|| attach(token, &mut request, tokens))?;
                        State::calling(this.service, request, sent)
                    }
                }

                // Passing => done
                StateProj::Passing { response } => {
                    return response.poll(cx).map_err(Into::into);
                }

                // Calling => Renewing | Draining | done
                StateProj::Calling { response, sent } => {
                    let entered = sent.attempt.enter();
                    let answer = ready!(response.poll(cx)).map_err(Into::into)?;
                    drop(entered);
                    sent.attempt.answered(&answer);
                    let generation = sent.generation;
                    let (attached, authority) = (sent.attached.take(), sent.authority.take());
                    // The call is over: let go of what its future holds, a permit perhaps.
                    this.state.set(State::Done);

                    let (parts, body) = answer.into_parts();
                    let again = attached.filter(|attached| attached.asks_again(&parts));
                    let refusal = refusal(&parts, this.settings);
                    let response = Response::from_parts(parts, body);
                    if let Some(attached) = again {
                        match this.progress.attach_again(this.request) {
                            Ok(()) => {
                                this.state.set(State::Draining {
                                    drain: Drain::new(response.into_body()),
                                    token: attached.token,
                                    why: Replay::Attachment,
                                });
                                continue;
                            }
                            Err(reason) => {
                                let response = this.progress.stop(
                                    reason,
                                    response,
                                    tokens,
                                    authority.as_deref(),
                                );
                                return Poll::Ready(Ok(response));
                            }
                        }
                    }
                    let Some(refusal) = refusal else {
                        if this.progress.outcome.token_replays > 0 {
                            tokens.accepted(generation);
                        }
                        return Poll::Ready(Ok(this.progress.finish(response)));
                    };

                    tokens.observers().tell(&Event::TokenRefused {
                        authority: authority.as_deref(),
                        generation,
                    });
                    let next = this.progress.after_refusal(
                        this.settings,
                        generation,
                        refusal,
                        this.request.request().as_deref(),
                    );
                    match next {
                        Ok(token) => State::Renewing {
                            token,
                            since: time::now(),
                            refused: response,
                        },
                        Err(reason) => {
                            let response =
                                this.progress
                                    .stop(reason, response, tokens, authority.as_deref());
                            return Poll::Ready(Ok(response));
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
                            why: Replay::Token,
                        },
                        Err(error) => {
                            response.extensions_mut().insert(error);
                            let spare = this.request.request();
                            let authority = spare.and_then(|request| request.uri().authority());
                            let reason = Stopped::RenewalFailed;
                            let response = this.progress.stop(reason, response, tokens, authority);
                            return Poll::Ready(Ok(response));
                        }
                    }
                }

                // Draining => Readying
                StateProj::Draining { drain, token, why } => {
                    ready!(drain.poll(cx));
                    let (token, why) = (Arc::clone(token), *why);
                    this.progress.replaying(why);
                    if let Some(request) = this.request.request() {
                        count_resend(request);
                        tokens.observers().tell(&Event::TokenReplay {
                            authority: request.uri().authority(),
                            generation: token.token.generation(),
                            attached_again: matches!(why, Replay::Attachment),
                        });
                    }
                    State::Readying { token }
                }

                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            };
            this.state.set(next);
        }
    }
}

impl<F, R> State<F, R> {
    /// Calls a service that is ready.
    #[inline]
    fn calling<S, B>(service: &mut S, request: Request<B>, sent: Sent) -> Self
    where
        S: Service<Request<B>, Future = F>,
    {
        let entered = sent.attempt.enter();
        let response = service.call(request);
        drop(entered);
        Self::Calling { response, sent }
    }
}

impl Progress {
    /// Whether a refusal of what is sent next could lead to another replay.
    fn may_go_on(&self, settings: &Settings, token: &Held) -> bool {
        !self.renewed
            || !settings.fresh_token_lag.is_zero()
            || (token.token.attach().is_some() && !self.attached_again)
    }

    /// Decides whether the same token is tried once more: counted apart from renewals, and once.
    fn attach_again<B>(&mut self, spare: &Outgoing<B>) -> Result<(), Stopped> {
        if self.attached_again {
            return Err(Stopped::RefusedAgain);
        }
        if spare.is_nothing() {
            return Err(Stopped::BodyNotReplayable);
        }
        self.attached_again = true;
        Ok(())
    }

    fn replaying(&mut self, why: Replay) {
        self.outcome.resends += 1;
        if let Replay::Token = why {
            self.outcome.token_replays += 1;
        }
    }

    /// Decides between waiting for a token to replay with, and returning the refusal.
    fn after_refusal<B>(
        &mut self,
        settings: &Settings,
        generation: u64,
        refusal: Refusal,
        spare: Option<&Request<B>>,
    ) -> Result<Obtain, Stopped> {
        let tokens = &settings.tokens;
        if let (Some(spare), Some(pause)) = (spare, self.lag(settings, generation)) {
            let tokens = tokens.clone();
            let deadline = deadline(spare);
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
        let Some(spare) = spare else {
            // Too late for this request, but not for the next.
            tokens.renew_refused(generation, refusal);
            return Err(Stopped::BodyNotReplayable);
        };
        self.renewed = true;
        Ok(obtain(
            tokens,
            Need::NewerThan(generation, refusal),
            deadline(spare),
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

    fn stop<R>(
        &mut self,
        reason: Stopped,
        response: Response<R>,
        tokens: &TokenCache,
        authority: Option<&Authority>,
    ) -> Response<R> {
        tokens
            .observers()
            .tell(&Event::TokenNotReplayed { authority, reason });
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
            let authority = request.uri().authority();
            settings
                .tokens
                .observers()
                .tell(&Event::TokenLeftOut { authority });
            Ok(Passage::AsItCame)
        }
        Verdict::Unknown => Err(MissingOrigin::new(request.uri())),
    }
}

/// Puts the token on the request.
fn attach<B>(
    held: &Arc<Held>,
    request: &mut Request<B>,
    tokens: &TokenCache,
) -> Result<Sent, TokenError> {
    let token = &held.token;
    let name = tokens.credential_header().name().clone();
    request
        .headers_mut()
        .insert(name, token.header_value().clone());
    let mut sent = Sent {
        generation: token.generation(),
        attached: None,
        authority: authority_of(request, tokens.observers()),
        attempt: Attempt::token_refresh(request),
    };
    if let Some(attach) = token.attach() {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        attach.attach(token, &method, &uri, request.headers_mut())?;
        sent.attached = Some(Box::new(Attached {
            token: Arc::clone(held),
            uri,
        }));
    }
    Ok(sent)
}

/// Where a request goes. Only if somebody wants to know: on the common road nobody pays for it.
fn authority_of<B>(request: &Request<B>, observers: &Observers) -> Option<Box<Authority>> {
    if observers.is_empty() {
        None
    } else {
        request.uri().authority().cloned().map(Box::new)
    }
}

impl Attached {
    fn asks_again(&self, parts: &response::Parts) -> bool {
        let answered = self
            .token
            .token
            .attach()
            .map(|attach| attach.answered(&self.uri, parts.status, &parts.headers));
        answered == Some(Answered::SendAgain)
    }
}

/// What a response says against the token, if it does.
fn refusal(parts: &response::Parts, settings: &Settings) -> Option<Refusal> {
    if (settings.is_refusal)(parts) {
        return Some(Refusal::from_parts(parts));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        let refusal = Refusal::from_parts(parts);
        return settings.tokens.can_answer(&refusal).then_some(refusal);
    }
    None
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

/// So often a request goes back for a token when its own was over at the moment of sending. Not for ever:
/// where tokens live shorter than it takes to become ready, it is sent with one that will be refused.
const MOST_OBTAINED_AGAIN: u32 = 8;

/// GitHub's own client waits 1 s, 2 s, 4 s for a new installation token to be known everywhere.
const FIRST_LAG: Duration = Duration::from_secs(1);
