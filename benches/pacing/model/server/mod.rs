//! Quota servers as tower services.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::time::sleep;
use tower::Service;

use self::{
    hint::{Fields, Hint, NotBefore},
    tally::{PerSecond, Tally},
    weather::{Fate, Weather},
};
use super::{clock::Clock, latency::Latency};

pub mod hint;
pub mod quota;
pub mod tally;
pub mod weather;

/// A quota server as one process sees it. Clones, and the views of all processes, are one server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Mutex<Shared>>,
    process: usize,
}

/// How a server answers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub weather: Weather,
    pub hint: Hint,
    pub fields: Fields,
    pub latency: Latency,
}

struct Shared {
    settings: Settings,
    clock: Clock,
    rng: fastrand::Rng,
    accepted: PerSecond,
    tallies: Vec<Tally>,
}

pub type Answer = Result<Response<Empty<Bytes>>, Infallible>;

impl Server {
    pub fn new(settings: Settings, clock: Clock, processes: usize, seed: u64) -> Self {
        let shared = Shared {
            settings,
            clock,
            rng: fastrand::Rng::with_seed(seed),
            accepted: PerSecond::default(),
            tallies: vec![Tally::default(); processes],
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            process: 0,
        }
    }

    /// The same server for another process.
    pub fn seen_by(&self, process: usize) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            process,
        }
    }

    /// What it has counted for each process.
    pub fn tallies(&self) -> Vec<Tally> {
        self.lock().tallies.clone()
    }

    /// Requests that were processed and did not fail, by the second in which they arrived.
    pub fn accepted(&self) -> PerSecond {
        self.lock().accepted.clone()
    }

    async fn answer(self) -> Answer {
        let (sent, there, back) = {
            let shared = &mut *self.lock();
            let sent = shared.clock.now();
            shared.tallies[self.process].sending(sent);
            let (there, back) = shared.settings.latency.draw(&mut shared.rng);
            (sent, there, back)
        };
        sleep(there).await;

        let verdict = self.lock().decide();
        // Given back when the answer has come, or nobody waits for it any more.
        let place = verdict.processed.then(|| Place(Arc::clone(&self.shared)));
        sleep(verdict.after + back).await;
        drop(place);

        self.lock().delivered(self.process, sent, &verdict);
        let mut response = Response::new(Empty::new());
        *response.status_mut() = verdict.status;
        *response.headers_mut() = verdict.headers;
        Ok(response)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Service<Request<Bytes>> for Server {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        Box::pin(self.clone().answer())
    }
}

struct Verdict {
    status: StatusCode,
    headers: HeaderMap,
    processed: bool,
    after: Duration,
    hint: Option<NotBefore>,
}

impl Shared {
    fn decide(&mut self) -> Verdict {
        let now = self.clock.now();
        let Settings {
            weather,
            hint,
            fields,
            ..
        } = &mut self.settings;
        let mut headers = HeaderMap::new();
        let fate = weather.fate(now, &mut self.rng);
        if *fields != Fields::None && fate != Fate::Unavailable {
            fields.write(&weather.quota().remaining(now), &mut headers);
        }
        let refusal = |status| Verdict {
            status,
            headers,
            processed: false,
            after: Duration::ZERO,
            hint: None,
        };
        match fate {
            Fate::Processed { after, fails } => {
                let status = if fails {
                    StatusCode::BAD_GATEWAY
                } else {
                    StatusCode::OK
                };
                if !fails {
                    self.accepted.count(now);
                }
                Verdict {
                    processed: true,
                    after,
                    ..refusal(status)
                }
            }
            Fate::Refused { opens_in } => {
                let mut verdict = refusal(StatusCode::TOO_MANY_REQUESTS);
                verdict.hint = hint.write(opens_in, now, &mut verdict.headers);
                verdict
            }
            Fate::Unavailable => {
                let mut verdict = refusal(StatusCode::SERVICE_UNAVAILABLE);
                // It cannot know when it will be well again.
                if let Hint::Constant { .. } = hint {
                    verdict.hint = hint.write(Duration::ZERO, now, &mut verdict.headers);
                }
                verdict
            }
        }
    }

    fn delivered(&mut self, process: usize, sent: Duration, verdict: &Verdict) {
        let (now, tally) = (self.clock.now(), &mut self.tallies[process]);
        match verdict.status {
            StatusCode::TOO_MANY_REQUESTS => tally.refusal(sent, now),
            StatusCode::OK => {}
            _ => tally.unavailable += 1,
        }
        if let Some(hint) = verdict.hint {
            tally.hinted(hint, now);
        }
    }
}

/// A place among the requests that are being processed.
struct Place(Arc<Mutex<Shared>>);

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.0).settings.weather.quota().release();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A run that has panicked is over.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
