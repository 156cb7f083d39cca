//! A token endpoint is down for a minute, and ten thousand callers need a token.
//!
//! Each caller tries again with full jitter until its request has been sent. What differs is who asks for
//! tokens: every caller for itself, one at a time behind a lock that remembers a token and no failure, or a
//! `TokenCache` under a `TokenRefreshLayer`.

use std::{
    convert::Infallible,
    future::{Future, ready},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, service_fn};
use tower_outbound::{
    origin::Origins,
    token::{Grant, TokenCache, TokenError, source_fn},
    token_refresh::TokenRefreshLayer,
};

use crate::{
    client::full_jitter,
    model::{
        clock::Clock,
        run::{request, send, virtual_time},
        server::tally::PerSecond,
    },
};

/// What the token endpoint saw.
pub struct Asked {
    pub who: &'static str,
    pub during_outage: u64,
    pub after_it: u64,
    pub worst_second: u32,
    /// How many callers were not served within an hour.
    pub not_served: usize,
    /// When the last one was.
    pub last: Duration,
}

/// All three of them.
///
/// # Errors
/// There is no runtime to be had.
pub fn run_all(seed: u64) -> io::Result<Vec<Asked>> {
    let each = virtual_time(seed, || {
        let endpoint = Endpoint::open();
        let asking = endpoint.clone();
        serve(endpoint, "every caller for itself", move || {
            let endpoint = asking.clone();
            async move { endpoint.token().await.is_ok() }
        })
    })?;
    let locked = virtual_time(seed, || {
        let endpoint = Endpoint::open();
        let (asking, token) = (endpoint.clone(), Arc::new(tokio::sync::Mutex::new(None)));
        serve(endpoint, "one at a time, behind a lock", move || {
            let (endpoint, token) = (asking.clone(), Arc::clone(&token));
            async move {
                let mut token = token.lock().await;
                if token.is_none() {
                    *token = endpoint.token().await.ok();
                }
                token.is_some()
            }
        })
    })?;
    let cached = virtual_time(seed, || {
        let endpoint = Endpoint::open();
        let asking = endpoint.clone();
        let tokens = TokenCache::new(source_fn(move |_| {
            let endpoint = asking.clone();
            async move { endpoint.token().await }
        }));
        let api = service_fn(|_: Request<Bytes>| {
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        });
        let client = TokenRefreshLayer::new(tokens, Origins::any()).layer(api);
        serve(endpoint, "this crate", move || {
            let mut client = client.clone();
            async move { send(&mut client, request()).await }
        })
    })?;
    Ok(vec![each, locked, cached])
}

/// Lets the callers try until they are served.
async fn serve<F>(
    endpoint: Endpoint,
    who: &'static str,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Asked
where
    F: Future<Output = bool> + Send,
{
    let last = Arc::new(Mutex::new((0, Duration::ZERO)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (call, last, clock) = (call.clone(), Arc::clone(&last), endpoint.clock);
        callers.spawn(async move {
            let mut retry = 0;
            while !call().await {
                sleep(full_jitter(retry)).await;
                retry += 1;
            }
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = (last.0 + 1, clock.now());
        });
    }
    let all = async { while callers.join_next().await.is_some() {} };
    let _ = timeout(Duration::from_secs(3600), all).await;
    let (served, last) = *last.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = endpoint
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let up = UP.as_secs() as usize;
    Asked {
        who,
        during_outage: asked.between(0, up),
        after_it: asked.between(up, asked.counts().len()),
        worst_second: asked.counts().iter().copied().max().unwrap_or_default(),
        not_served: CALLERS - served,
        last,
    }
}

/// Answers within 50 ms: 503 for a minute, then a token.
#[derive(Clone)]
struct Endpoint {
    clock: Clock,
    asked: Arc<Mutex<PerSecond>>,
}

impl Endpoint {
    fn open() -> Self {
        Self {
            clock: Clock::start(),
            asked: Arc::default(),
        }
    }

    async fn token(&self) -> Result<Grant, TokenError> {
        let now = self.clock.now();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count(now);
        sleep(Duration::from_millis(50)).await;
        if now < UP {
            return Err(TokenError::transient("the token endpoint is down"));
        }
        Ok(Grant::new("a token").expires_in(Duration::from_secs(3600)))
    }
}

const CALLERS: usize = 10_000;

const UP: Duration = Duration::from_secs(60);
