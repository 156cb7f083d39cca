//! Finish a job at the pace that the server allows: wait as it asks, send again what it refused.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Empty;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use tower_outbound::{outcome::Outcome, rate_limit_retry::RateLimitRetryLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let count = Arc::new(AtomicU32::new(0));
//! let api = ServiceBuilder::new()
//!     .layer(RateLimitRetryLayer::new())
//!     .service(service_fn(move |_: Request<Bytes>| {
//!         // Stands for an HTTP client, and a server that refuses the first two requests.
//!         let response = match count.fetch_add(1, Ordering::Relaxed) {
//!             0 | 1 => Response::builder().status(429).header("retry-after", "30"),
//!             _ => Response::builder(),
//!         };
//!         async { Ok::<_, BoxError>(response.body(Empty::<Bytes>::new())?) }
//!     }));
//!
//! let request = Request::post("https://api.example.com/users").body(Bytes::from("{}"))?;
//! let response = api.oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(Outcome::of(&response).refusals, 2);
//! # Ok(())
//! # }
//! ```
//!
//! | what came back | `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE`, `Idempotency-Key`, [`ReplaySafe`](crate::mark::ReplaySafe) | `POST`, `PATCH` |
//! |---|---|---|
//! | 429 | waits, replays | waits, replays: it was refused before it ran |
//! | 503 with `Retry-After` | waits, replays | returned, unless [`retry_unsafe_on`](RateLimitRetryLayer::retry_unsafe_on) |
//! | 408, 502, 503, 504 | backs off, replays, within the budget | returned |
//! | never sent: connect error, `REFUSED_STREAM`, GOAWAY, `Overloaded` from below | backs off, replays | the same |
//! | 421, 425 | replays once | replays once |
//! | sent and lost: reset, cut before the head, timed out below | backs off, replays, within the budget | error returned |
//! | 500, 501, other 4xx | returned | returned |
//! | body cut after the head was handed over | not seen here | not seen here |
//!
//! Requests that share a limit (a [*limit key*](RateLimitRetryLayer::limit_key), by default the origin)
//! share what is known of it. The [`Pacer`] closes the key when the server asks for a pause (`Retry-After`,
//! or `RateLimit` with nothing remaining), sends nothing before the server's time, and opens in the order
//! of arrival, refused requests first. It learns how much the limit lets through, and sends no more than
//! that. While nothing is known of any limit, all this costs a request one atomic load.
//!
//! What is replayed equals what was sent; only [`ResendCount`](crate::mark::ResendCount) is added to its
//! extensions. A response that is discarded is read to its end, within bounds, while the wait runs, so
//! that its connection can carry the replay.
//!
//! # Order
//!
//! Outermost, above [`TokenRefreshLayer`](crate::token_refresh::TokenRefreshLayer): what is sent again
//! after a long wait gets the token of that time. A `ConcurrencyLimit` or `Buffer` belongs below: a
//! request that waits holds no place there. A `Timeout` below bounds each attempt, one above bounds all.
//!
//! # Defaults
//!
//! | | | why |
//! |---|---|---|
//! | `max_retries` | 3 failures | the usual number of the clouds' own clients |
//! | `max_refusals` | 16 | each is a wait that the server asked for |
//! | `max_wait` | 180 s for one pause | the official Genesys Cloud clients' |
//! | backoff | 200 ms to 20 s, full jitter | few calls under contention, at all sizes of a crowd |
//! | after a first refusal without a hint | 1 s to 20 s, full jitter, at least 100 ms | the AWS clients' base for throttling |
//! | after later ones | the time that the limit takes for one request, doubled while nothing is let through; 100 ms to 20 s, or from 10 ms where it is known when the next one is let through | |
//! | pacer | learns, and holds nothing back before a limit shows itself | [`Pacer`]; long polls must not queue behind each other |
//! | budget | 20 % of the requests, and 10 a second | [`budget`] |
//! | limit key | origin, with the [`Tenant`](crate::mark::Tenant) if there is one | |
//! | limit keys remembered | 1,024, until ten minutes after their limit last showed itself | ten times the usual window |
//!
//! # Clone
//!
//! What is known of limits, and the budget, live in the layer value. Services that one
//! [`RateLimitRetryLayer`] or its clones make share them; two layers made with `new` do not, unless they
//! are given one `Arc<Pacer>`. Make one per process.
//!
//! # Cancellation
//!
//! A dropped future sends nothing more, and gives its place in the queue to the next. What it learned of
//! the limit stays. A future that waits must be polled, or dropped: the first in a queue looks at the clock
//! for all behind it, as the next owner of one of tokio's locks does.
//!
//! # Errors
//!
//! The last response, or the inner service's last error, is returned as it came; why it went no further is
//! in the response's [`Outcome`](crate::outcome::Outcome). The layer's own error is [`RateLimited`]: a
//! request was not sent, since its [`Deadline`](crate::mark::Deadline) comes before its turn, a daily quota
//! is spent, or the queue is full. It says when to come back.

mod attempts;
pub mod budget;
pub mod classify;
mod error;
mod future;
mod idempotency;
mod layer;
mod pacer;
mod service;
mod transport;

pub use self::{
    error::{RateLimited, Reason},
    future::ResponseFuture,
    idempotency::IdempotencyKeys,
    layer::RateLimitRetryLayer,
    pacer::{LimitSnapshot, Pacer, Quota},
    service::RateLimitRetry,
};
