//! Spans: what took its time.
//!
//! All are `INTERNAL`, as OpenTelemetry calls them: the client span is the HTTP client's. No query,
//! no path and no header gets in: each may hold a secret.

use http::{Request, Response};
use tracing::{Level, Span, debug_span, field::Empty, level_enabled, span::Entered};

use crate::{mark::ResendCount, token::Cause};

/// The name of a span is a part of its callsite, so it takes a macro to say once what both have.
macro_rules! attempt {
    ($name:literal, $request:expr) => {
        debug_span!(
            $name,
            otel.kind = "internal",
            http.request.method = $request.method().as_str(),
            http.request.resend_count = resend_count($request),
            http.response.status_code = Empty,
            server.address = $request.uri().host(),
            server.port = $request.uri().port_u16(),
        )
    };
}

/// The span of one attempt, if anybody traces: otherwise it costs a pointer and a comparison.
pub(crate) struct Attempt(Option<Box<Span>>);

impl Attempt {
    /// One attempt of [`TokenRefresh`](crate::token_refresh::TokenRefresh).
    pub(crate) fn token_refresh<B>(request: &Request<B>) -> Self {
        Self::if_traced(|| attempt!("token_refresh", request))
    }

    /// One attempt of [`RateLimitRetry`](crate::rate_limit_retry::RateLimitRetry).
    pub(crate) fn rate_limit_retry<B>(request: &Request<B>) -> Self {
        Self::if_traced(|| attempt!("rate_limit_retry", request))
    }

    #[inline]
    fn if_traced(span: impl FnOnce() -> Span) -> Self {
        if level_enabled!(Level::DEBUG) {
            Self::traced(span)
        } else {
            Self(None)
        }
    }

    #[cold]
    fn traced(span: impl FnOnce() -> Span) -> Self {
        let span = span();
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    /// What is done until the guard is dropped belongs to it.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_ref().map(|span| span.enter())
    }

    /// Notes what came of it.
    #[inline]
    pub(crate) fn answered<R>(&self, response: &Response<R>) {
        if let Some(span) = &self.0 {
            span.record("http.response.status_code", response.status().as_u16());
        }
    }
}

/// A renewal. It is nobody's child: it may outlive the request that it was started for, and others
/// wait for it as well.
pub(crate) fn token_renewal(cause: &Cause, generation: u64) -> Span {
    let span = debug_span!(
        parent: None,
        "token_renewal",
        otel.kind = "internal",
        cause = cause.name(),
        generation,
    );
    span.follows_from(Span::current());
    span
}

/// `None` on the first attempt, as the convention has it.
fn resend_count<B>(request: &Request<B>) -> Option<u32> {
    request.extensions().get::<ResendCount>().map(|sent| sent.0)
}
