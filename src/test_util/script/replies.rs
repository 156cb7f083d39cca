//! The replies that the real service, its edge and the network are known for.

use std::{borrow::Borrow, time::Duration};

use bytes::Bytes;
use http::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::reply::{Fate, status};
use crate::test_util::{Reply, answer::Answer, login};

/// Anything.
impl Reply {
    /// The request is handled as if nothing had been scripted; headers, body and the rest may
    /// still be changed.
    pub fn pass() -> Self {
        Self::new(None, Fate::Sent)
    }

    /// An empty body.
    ///
    /// # Panics
    ///
    /// If HTTP has no such status (below 100 or above 999).
    #[track_caller]
    pub fn status(code: u16) -> Self {
        Self::answer(Answer::empty(status(code)))
    }

    /// A JSON body.
    ///
    /// # Panics
    ///
    /// If HTTP has no such status.
    #[track_caller]
    pub fn json(code: u16, body: impl Borrow<Value>) -> Self {
        Self::answer(Answer::json(status(code), body.borrow()))
    }

    /// A page of the proxy in front: `text/html`, without the headers of the service.
    ///
    /// # Panics
    ///
    /// If HTTP has no such status.
    #[track_caller]
    pub fn html(code: u16) -> Self {
        let status = status(code);
        let page = format!(
            "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1>\
             </center>\r\n</body>\r\n</html>\r\n"
        );
        let answer = Answer::bytes(status, page.into());
        let html = HeaderValue::from_static("text/html");
        Self::answer(
            Answer {
                from_edge: true,
                ..answer
            }
            .header(CONTENT_TYPE, html),
        )
    }

    /// The API's error envelope.
    ///
    /// # Panics
    ///
    /// If HTTP has no such status.
    #[track_caller]
    pub fn error(code: u16, error: &str, message: &str) -> Self {
        Self::answer(Answer::error(status(code), error, message))
    }

    /// The flat error of the token endpoint.
    ///
    /// # Panics
    ///
    /// If HTTP has no such status.
    #[track_caller]
    pub fn oauth_error(code: u16, error: &str, description: &str) -> Self {
        Self::answer(Answer::oauth_error(status(code), error, description))
    }

    fn answer(answer: Answer) -> Self {
        Self::new(Some(answer), Fate::Sent)
    }
}

/// Replies of the API.
impl Reply {
    /// 401 `bad.credentials`: the token is expired, revoked or unknown.
    pub fn unauthorized() -> Self {
        Self::error(401, "bad.credentials", "Invalid login credentials.")
    }

    /// 401 `credentials.expired`, which a handful of operations declare.
    pub fn credentials_expired() -> Self {
        Self::error(
            401,
            "credentials.expired",
            "The supplied credentials are expired.",
        )
    }

    /// 401 `ip.not.authorized`: no other token helps.
    pub fn ip_not_authorized() -> Self {
        Self::error(
            401,
            "ip.not.authorized",
            "Requests originating from this IP address are not authorized: [203.0.113.9]",
        )
    }

    /// 403 `missing.any.permissions`.
    pub fn forbidden(permission: &str) -> Self {
        Self::answer(forbidden(permission))
    }

    /// 429 with this `Retry-After`, byte for byte, or with none.
    ///
    /// # Panics
    ///
    /// If HTTP cannot carry the value.
    #[track_caller]
    pub fn too_many_requests(retry_after: Option<&str>) -> Self {
        let seconds = retry_after.unwrap_or("42").trim();
        let message =
            format!("Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds");
        let reply = Self::error(429, "too.many.requests.retry.after", &message);
        match retry_after {
            Some(value) => reply.header("retry-after", value),
            None => reply,
        }
    }

    /// 429 `too.many.requests`, which names the quota, without a `Retry-After`.
    pub fn quota_exceeded(requests: u32, window: Duration) -> Self {
        let seconds = window.as_secs();
        let message = format!(
            "Rate limit exceeded the maximum [{requests}] requests within [{seconds}] seconds"
        );
        Self::error(429, "too.many.requests", &message)
    }

    /// 429 of a daily quota: `Retry-After: 30000`.
    pub fn daily_limit() -> Self {
        Self::too_many_requests(Some("30000"))
    }

    /// 408 `client.timeout`.
    pub fn client_timeout() -> Self {
        Self::error(
            408,
            "client.timeout",
            "The request from the client timed out.",
        )
    }

    /// 409 `request.conflict`.
    pub fn conflict() -> Self {
        Self::error(
            409,
            "request.conflict",
            "The request conflicts with the state of the entity.",
        )
    }

    /// 500 `internal.server.error`.
    pub fn internal_server_error() -> Self {
        Self::error(
            500,
            "internal.server.error",
            "The server encountered an unexpected condition.",
        )
    }

    /// 503 `service.unavailable` with this `Retry-After`, or with none.
    ///
    /// # Panics
    ///
    /// If HTTP cannot carry the value.
    #[track_caller]
    pub fn service_unavailable(retry_after: Option<&str>) -> Self {
        let reply = Self::error(503, "service.unavailable", "The service is unavailable.");
        match retry_after {
            Some(value) => reply.header("retry-after", value),
            None => reply,
        }
    }

    /// 504 `request.timeout`: the request may have been carried out.
    pub fn request_timeout() -> Self {
        Self::error(504, "request.timeout", "The request timed out.")
    }

    /// 504 `authentication.request.timeout`: the service behind the tokens is slow; the request
    /// was not carried out and the token is not to blame.
    pub fn authentication_timeout() -> Self {
        Self::error(
            504,
            "authentication.request.timeout",
            "Authentication request timeout.",
        )
    }
}

/// Replies of the token endpoint.
impl Reply {
    /// 200 with this body, whatever it holds. An `access_token` in it is taken by the API from
    /// then on, as one of [`CLIENT_ID`](crate::test_util::CLIENT_ID), for the usual lifetime.
    pub fn token(body: impl Borrow<Value>) -> Self {
        Self::json(200, body)
    }

    /// A normal token reply with fields set or, by `null`, taken out: a real token with a wrong
    /// `expires_in`, for example.
    pub fn token_with(fields: Value) -> Self {
        Self::pass().merge(fields)
    }

    /// 400 `invalid_request` "rate limit exceeded; …": how the real one throttles.
    pub fn token_throttled() -> Self {
        Self::answer(login::throttled(StatusCode::BAD_REQUEST))
    }

    /// 400 `invalid_client`.
    pub fn invalid_client() -> Self {
        Self::oauth_error(400, "invalid_client", "authentication failed")
    }

    /// 400 `invalid_grant`.
    pub fn invalid_grant() -> Self {
        Self::answer(login::invalid_grant("the grant is invalid"))
    }

    /// 200 with a body that breaks off in the middle of its JSON.
    pub fn invalid_json() -> Self {
        Self::answer(Answer::bytes(
            StatusCode::OK,
            Bytes::from_static(br#"{"access_token":"abc","expires_"#),
        ))
    }
}

/// What networks do.
impl Reply {
    /// Nothing is done and nothing is answered: the connection is closed.
    pub fn cut_before_head() -> Self {
        Self::new(Some(Answer::empty(StatusCode::OK)), Fate::CutBeforeHead)
    }

    /// The request is handled normally, with all its effects, and then the connection is closed
    /// without an answer.
    pub fn cut_after_processing() -> Self {
        Self::new(None, Fate::CutBeforeHead)
    }

    /// The request is handled normally; the answer goes out with its full `Content-Length`, but
    /// the connection is closed after half of the body (at most 16 KiB). Set a [`body`](Self::body) if the normal
    /// one is empty.
    pub fn cut_mid_body() -> Self {
        Self::new(None, Fate::CutMidBody)
    }

    /// The request is not handled and never answered; the connection stays open.
    pub fn hang() -> Self {
        Self::new(Some(Answer::empty(StatusCode::OK)), Fate::Never)
    }

    /// A 200 whose body is one blank each `interval`, without an end. The request is not handled.
    pub fn trickle(interval: Duration) -> Self {
        Self::new(
            Some(Answer::empty(StatusCode::OK)),
            Fate::Trickled(interval),
        )
    }
}

/// 403 for want of a permission.
pub(in crate::test_util) fn forbidden(permission: &str) -> Answer {
    let any = "Unable to perform the requested action. You must have at least one of the following \
               permissions assigned";
    Answer::error(
        StatusCode::FORBIDDEN,
        "missing.any.permissions",
        &format!("{any}: [{permission}]"),
    )
    .field(
        "messageWithParams",
        format!("{any}: {{permissions}}").into(),
    )
    .field(
        "messageParams",
        json!({"permissions": format!("[{permission}]")}),
    )
}
