//! Why there is no answer of an upstream, as JSON for programs and for people.

use std::{error::Error, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper_util::client::legacy;
use serde_json::json;
use tower::{BoxError, timeout::error::Elapsed};
use tower_outbound::{rate_limit_retry::RateLimited, token::TokenError};

/// An answer of this gateway itself. The header `Outbound-Error`, which no upstream can send through
/// it, tells it from an answer of the upstream.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn no_upstream(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_upstream", message)
    }

    pub(crate) fn misdirected(message: &str) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message)
    }

    pub(crate) fn deadline() -> Self {
        let message = "the time that `outbound-timeout` gives is over";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message)
    }

    /// Why the layers, or the client below them, have no response.
    pub(crate) fn of(error: &BoxError) -> Self {
        let error: &(dyn Error + 'static) = &**error;
        if let Some(error) = TokenError::find(error) {
            return Self::no_token(error);
        }
        if let Some(limited) = RateLimited::find(error) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "rate_limited", told(error))
                .retry_after(limited.retry_after());
        }
        if find::<axum::Error>(error).is_some() {
            return Self::bad_request(format!("the body did not arrive: {}", told(error)));
        }
        if find::<Elapsed>(error).is_some() {
            let message =
                "the upstream did not begin to answer in time; it may have acted on the request";
            return Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message);
        }
        let unreachable = find::<legacy::Error>(error).is_some_and(legacy::Error::is_connect);
        let (code, what) = if unreachable {
            ("upstream_unreachable", "no connection, nothing was sent")
        } else {
            (
                "upstream_lost",
                "the connection was lost; the upstream may have acted on the request",
            )
        };
        Self::new(
            StatusCode::BAD_GATEWAY,
            code,
            format!("{what}: {}", told(error)),
        )
    }

    /// Why there is no token, or none to take the place of one that was refused.
    pub(crate) fn no_token(error: &TokenError) -> Self {
        let message = format!("no token for the upstream: {}", told(error));
        if error.is_deadline() {
            return Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message);
        }
        if error.is_rejected() {
            return Self::new(StatusCode::BAD_GATEWAY, "token_rejected", message);
        }
        let failure = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "token_unavailable",
            message,
        );
        #[allow(clippy::disallowed_methods)] // `Retry-After` counts from now
        let now = tokio::time::Instant::now();
        let next = error.next_attempt();
        let wait = next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        failure.retry_after(wait)
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(OUTBOUND_ERROR, HeaderValue::from_static(self.code));
        if let Some(wait) = self.retry_after {
            // In whole seconds, and never "at once".
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

/// An error and its causes, on one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let told: Vec<_> = causes.map(ToString::to_string).collect();
    told.join(": ")
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.find_map(|error| error.downcast_ref())
}

const OUTBOUND_ERROR: HeaderName = HeaderName::from_static("outbound-error");
