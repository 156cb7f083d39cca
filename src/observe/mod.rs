//! What happened, told as it happens: for logs, traces, metrics, and whatever you do with it.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//! use tower_outbound::{
//!     observe::Event,
//!     rate_limit_retry::RateLimitRetryLayer,
//!     token::{Grant, TokenCache, source_fn},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_outbound::token::TokenError> {
//! let renewals = Arc::new(AtomicU32::new(0));
//! let counter = Arc::clone(&renewals);
//! let observer = move |event: &Event<'_>| match event {
//!     Event::Renewed { .. } => drop(counter.fetch_add(1, Ordering::Relaxed)),
//!     Event::NotRetried { key, reason, .. } => eprintln!("{key:?}: not sent again: {reason:?}"),
//!     _ => {}
//! };
//! let tokens = TokenCache::builder()
//!     .observer(observer.clone())
//!     .build(source_fn(|_cause| async { Ok(Grant::new("a token")) }));
//! let layer = RateLimitRetryLayer::new().observer(observer);
//!
//! tokens.token().await?;
//! assert_eq!(renewals.load(Ordering::Relaxed), 1);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! An [`Observer`] is set where the state is: on a
//! [`TokenCache`](crate::token::TokenCacheBuilder::observer), which also tells what the token layer
//! does with its tokens, on a
//! [`RateLimitRetryLayer`](crate::rate_limit_retry::RateLimitRetryLayer::observer), and on a
//! [`Login`](crate::oauth2::Login::observer).
#![cfg_attr(
    feature = "metrics",
    doc = "[`Metrics`] is one that counts, for Prometheus and others."
)]
//!
//! # Logs and traces
//!
//! Every event is logged with [`tracing`], whether there is an observer or not: at `warn` what
//! somebody should look at, at `info` that a token was renewed, at `debug` decisions, at `trace`
//! waits. No token, no secret, no path and no query is ever among it.
//!
//! At `debug` there is a span for each attempt of each layer, `token_refresh` and
//! `rate_limit_retry`, around what the layers below do; and one for each renewal, `token_renewal`,
//! which *follows from* the request that started it. Their fields have the names of OpenTelemetry's
//! conventions where there are such: `http.request.method`, `http.request.resend_count` from the
//! second attempt on, `http.response.status_code`, `server.address` and `server.port`, and
//! `otel.kind`, which is `internal`.

use std::{fmt, sync::Arc};

pub use self::event::Event;
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;

mod event;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
pub(crate) mod span;

/// Is told every [`Event`], as it happens. A closure `Fn(&Event<'_>)` is one.
///
/// It is called by whoever does what it tells of, in the middle of it: it must not block or panic.
/// No lock of this crate is held meanwhile.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

impl<F> Observer for F
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// All who want to be told, the log among them.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.0.push(Arc::new(observer));
    }

    /// Whether nobody is there but the log.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        log::log(event);
        for observer in &self.0 {
            observer.event(event);
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observers", self.0.len())
    }
}
