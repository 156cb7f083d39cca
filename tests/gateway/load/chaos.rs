//! An upstream that misbehaves, with its authorization server.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

/// Stops when it is dropped.
pub struct Chaos {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// How it misbehaves. One connection in a hundred is cut in any case.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub refusals: Refusals,
    /// How many of a hundred requests it answers 429, half of them with `Retry-After: 1`.
    pub limited: u8,
}

/// Why it answers 401, which it does to one request in a hundred at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// Tokens die, of an age of two seconds or more; whoever still has one is refused.
    DeadTokens,
    /// For no reason: the token was good, and is.
    AtRandom,
}

struct Shared {
    manners: Manners,
    saw: Mutex<Saw>,
}

/// What came, and how it was answered.
#[derive(Clone, Default)]
pub struct Saw {
    /// When each token was asked for.
    pub mints: Vec<Instant>,
    is_dead: bool,
    pub requests: u64,
    pub answered_401: u64,
    pub answered_429: u64,
    pub cut: u64,
    /// How often the request of each id was carried out, whether its program was told or not.
    pub done: HashMap<u64, u32>,
}

enum Verdict {
    Done,
    Dead,
    Limited,
    /// Done, and nobody is told.
    Cut,
}

impl Chaos {
    pub async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manners,
            saw: Mutex::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(listen(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _server: server,
        }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token_url(&self) -> String {
        format!("{}/token", self.origin())
    }

    pub fn saw(&self) -> Saw {
        self.shared.lock().clone()
    }
}

impl Shared {
    fn mint(&self) -> Response<Full<Bytes>> {
        let mut saw = self.lock();
        saw.mints.push(now());
        saw.is_dead = false;
        let token = json!({"access_token": name(saw.mints.len()), "token_type": "Bearer"});
        Response::new(token.to_string().into())
    }

    fn judge(&self, credential: &str, id: u64) -> Verdict {
        let mut saw = self.lock();
        saw.requests += 1;
        if self.refuses(&mut saw, credential) {
            saw.answered_401 += 1;
            return Verdict::Dead;
        }
        let lot = fastrand::u8(..100);
        if lot < self.manners.limited {
            saw.answered_429 += 1;
            return Verdict::Limited;
        }
        *saw.done.entry(id).or_default() += 1;
        if lot == self.manners.limited {
            saw.cut += 1;
            return Verdict::Cut;
        }
        Verdict::Done
    }

    fn refuses(&self, saw: &mut Saw, credential: &str) -> bool {
        let is_present = credential == format!("Bearer {}", name(saw.mints.len()));
        match self.manners.refusals {
            Refusals::DeadTokens => {
                let is_old = saw.mints.last().is_some_and(|at| at.elapsed() > LEAST_LIFE);
                saw.is_dead |= is_old && saw.answered_401 * 100 < saw.requests;
                saw.is_dead || !is_present
            }
            Refusals::AtRandom => !is_present || fastrand::u8(..100) == 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Saw> {
        self.saw.lock().unwrap()
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // It ends in an error whenever it is cut.
            drop(connection.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if head.uri.path() == "/token" {
        return Ok(shared.mint());
    }
    let id = text(&head.headers, "x-id")
        .parse()
        .expect("every request has a number");
    let verdict = shared.judge(text(&head.headers, "authorization"), id);
    tokio::time::sleep(LATENCY).await;
    let response = Response::builder();
    let response = match verdict {
        Verdict::Done => response.body([id.to_string().into(), body].concat().into()),
        Verdict::Dead => response
            .status(StatusCode::UNAUTHORIZED)
            .body(Full::default()),
        Verdict::Limited => {
            let mut response = response.status(StatusCode::TOO_MANY_REQUESTS);
            if fastrand::bool() {
                response = response.header(header::RETRY_AFTER, 1);
            }
            response.body(Full::default())
        }
        Verdict::Cut => return Err(io::ErrorKind::ConnectionReset.into()),
    };
    Ok(response.expect("it is a response"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn name(mint: usize) -> String {
    format!("token-{mint}")
}

#[allow(clippy::disallowed_methods)] // when a token was minted, for its age
fn now() -> Instant {
    Instant::now()
}

/// A token that died sooner could refuse one request twice.
const LEAST_LIFE: Duration = Duration::from_secs(2);

const LATENCY: Duration = Duration::from_millis(5);
