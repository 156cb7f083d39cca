//! Decide: what the API server answers.

mod conversations;
mod echo;
mod jobs;
mod listing;
mod organization;
mod quality;
mod scim;
mod users;

use http::{
    StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::test_util::{
    Knobs, Scope,
    answer::Answer,
    quota::{Admission, seconds_to_wait},
    received::Received,
    script,
    shared::Shared,
    tokens::Session,
};

/// The answer, or the refusal that came instead.
type Outcome = Result<Answer, Answer>;

/// Whose call it is.
struct Caller {
    token: String,
    session: Session,
}

pub(super) fn answer(cloud: &Shared, request: &Received, now: Instant) -> Answer {
    // A token request that was sent to the wrong host is to be seen as just that.
    if request.path() == "/oauth/token" {
        return Answer::not_found();
    }
    let knobs = cloud.knobs();
    let caller = match authenticate(cloud, request, &knobs, now) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    if let Some(caller) = &caller {
        let tokens = cloud.tokens();
        let client = &caller.session.client;
        if let Some(permission) = tokens.denied(client, &request.method, request.path()) {
            return script::forbidden(permission);
        }
    }
    let legacy_headers = match admit(cloud, caller.as_ref(), &knobs, now) {
        Ok(headers) => headers,
        Err(refused) => return refused,
    };
    let outcome = if request.too_large {
        Err(Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.entity.too.large",
            "The request is over the size limit. Content-length: [512000]",
        ))
    } else {
        route(cloud, request, caller.as_ref(), &knobs)
    };
    let mut answer = outcome.unwrap_or_else(|refused| refused);
    answer.headers.extend(legacy_headers);
    answer
}

fn route(cloud: &Shared, request: &Received, caller: Option<&Caller>, knobs: &Knobs) -> Outcome {
    let path: Vec<&str> = request.path().split('/').skip(1).collect();
    let data = &mut *cloud.data();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["api", "v2", "tokens", "me"]) => organization::token(caller),
        ("HEAD", ["api", "v2", "tokens", "me"]) => Ok(Answer::empty(StatusCode::OK)),
        ("DELETE", ["api", "v2", "tokens", "me"]) => Ok(revoke(cloud, caller)),
        (
            "GET",
            [
                "api",
                "v2",
                "organizations",
                "limits",
                "namespaces",
                namespace,
            ],
        ) => organization::limits(namespace),
        ("GET", ["api", "v2", "users"]) => users::list(cloud, data, request, knobs),
        ("POST", ["api", "v2", "users"]) => users::create(data, request),
        ("GET", ["api", "v2", "users", "me"]) => users::me(data, caller),
        ("GET", ["api", "v2", "users", id]) => users::read(data, id),
        ("PATCH", ["api", "v2", "users", id]) => users::update(data, request, id),
        ("DELETE", ["api", "v2", "users", id]) => users::delete(data, id),
        ("GET", ["api", "v2", "routing", "queues"]) => {
            organization::queues(cloud, data, request, knobs)
        }
        (
            "GET",
            [
                "api",
                "v2",
                "analytics",
                "botflows",
                flow,
                "divisions",
                "reportingturns",
            ],
        ) => conversations::turns(cloud, data, request, knobs, flow),
        (
            "POST",
            [
                "api",
                "v2",
                "analytics",
                "conversations",
                "details",
                "query",
            ],
        ) => conversations::query(data, request),
        ("POST", ["api", "v2", "analytics", "conversations", "details", "jobs"]) => {
            jobs::create(data, request, knobs)
        }
        (
            method,
            [
                "api",
                "v2",
                "analytics",
                "conversations",
                "details",
                "jobs",
                id,
                rest @ ..,
            ],
        ) => match (method, rest) {
            ("GET", []) => jobs::status(data, id),
            ("DELETE", []) => jobs::delete(data, id),
            ("GET", ["results"]) => jobs::results(data, request, id),
            _ => Err(Answer::not_found()),
        },
        ("GET", ["api", "v2", "analytics", "conversations", id, "details"]) => {
            conversations::read(data, id)
        }
        ("GET", ["api", "v2", "scim", "v2", "users"]) => scim::list(data, request),
        ("GET", ["api", "v2", "scim", "v2", "users", id]) => scim::read(data, id),
        ("POST", ["api", "v2", "quality", "conversations", id, "evaluations"]) => {
            quality::evaluate(data, request, id)
        }
        ("PUT", ["echo"]) => Ok(echo::echo(request)),
        _ => Err(Answer::not_found()),
    }
}

/// `None` is a call that needs no token.
fn authenticate(
    cloud: &Shared,
    request: &Received,
    knobs: &Knobs,
    now: Instant,
) -> Result<Option<Caller>, Answer> {
    if !knobs.require_token {
        return Ok(None);
    }
    let header = request
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = bearer else {
        return Err(Answer::error(
            StatusCode::UNAUTHORIZED,
            "authentication.required",
            "No authentication bearer token specified in authorization header.",
        ));
    };
    let token = token.trim().to_owned();
    match cloud.tokens().caller(&token, knobs, now) {
        Some(session) => Ok(Some(Caller { token, session })),
        None => Err(Answer::error(
            StatusCode::UNAUTHORIZED,
            "bad.credentials",
            "Invalid login credentials.",
        )),
    }
}

/// Counts the call. What it yields are the headers of before 2021, if they are wanted.
fn admit(
    cloud: &Shared,
    caller: Option<&Caller>,
    knobs: &Knobs,
    now: Instant,
) -> Result<Vec<(HeaderName, HeaderValue)>, Answer> {
    let Some(quota) = knobs.quota else {
        return Ok(Vec::new());
    };
    let key = match (caller, quota.per) {
        (None, _) => "",
        (Some(caller), Scope::Token) => &caller.token,
        (Some(caller), Scope::Client) => &caller.session.client,
    };
    let admission = cloud.api_windows().admit(key, quota, knobs.penalise, now);
    let (Admission::Admitted { count, reset } | Admission::Refused { count, reset }) = admission;
    let seconds = seconds_to_wait(reset);
    let mut headers = Vec::new();
    if knobs.legacy_headers {
        headers.extend([
            (
                HeaderName::from_static("inin-ratelimit-count"),
                count.into(),
            ),
            (
                HeaderName::from_static("inin-ratelimit-allowed"),
                quota.requests.into(),
            ),
            (
                HeaderName::from_static("inin-ratelimit-reset"),
                seconds.into(),
            ),
        ]);
    }
    if matches!(admission, Admission::Admitted { .. }) {
        return Ok(headers);
    }
    let mut refused = Answer::too_many_requests(seconds);
    refused.headers.extend(headers);
    if knobs.limit_body {
        refused = refused.field("limit", limit(quota.per, quota.requests));
    }
    Err(refused)
}

fn limit(per: Scope, requests: u32) -> Value {
    let key = match per {
        Scope::Token => "client.credentials.token.rate.per.minute",
        Scope::Client => "org.app.user.rate.per.minute",
    };
    json!({"key": key, "namespace": "platform.api", "value": requests})
}

fn revoke(cloud: &Shared, caller: Option<&Caller>) -> Answer {
    if let Some(caller) = caller {
        cloud.tokens().revoke(&caller.token);
    }
    Answer::empty(StatusCode::OK)
}
