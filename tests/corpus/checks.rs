//! What holds for any bytes that a server may send: checked here on the corpus, and by the fuzzer in
//! `fuzz/` on whatever it finds.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tower::{BoxError, service_fn};
use tower_outbound::{
    header::{self, LegacyFields, ResetUnit, challenges, exhausted_for, rate_limit_policy},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    token::{TokenCache, TokenErrorKind},
};

/// A token endpoint answers: the status in the first line, then header lines, a blank line, the body.
pub fn token_reply(data: &[u8]) {
    let (head, body) = split(data, b"\n\n");
    let (status, lines) = split(head, b"\n");
    let status = str::from_utf8(status)
        .ok()
        .and_then(|status| status.parse().ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(body)));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers(lines, None);

    let http = service_fn(move |_: http::Request<Full<Bytes>>| {
        let reply = reply.clone();
        async move { Ok::<_, BoxError>(reply) }
    });
    let url = "https://login.example.com/token";
    let endpoint = TokenEndpoint::new(url, "id", ClientAuth::none(), http).expect("it is a URL");
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    // The pauses between its tries pass at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be had");
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let member = |name| said.as_ref()?.get(name)?.as_str();
    match runtime.block_on(tokens.token()) {
        Ok(token) => {
            assert!(status.is_success());
            assert!(!token.secret().expose().is_empty());
            assert_eq!(Some(token.secret().expose()), member("access_token"));
            assert_eq!(member("error"), None);
            assert!(member("token_type").is_none_or(|name| name.eq_ignore_ascii_case("bearer")));
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains(char::is_control));
            for text in [error.oauth_error(), error.description()]
                .into_iter()
                .flatten()
            {
                assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            }
            assert!(error.retry_after().is_none_or(|wait| !wait.is_zero()));
            // An outage is never a verdict, whatever a gateway writes into its page.
            assert!(!(status.is_server_error() && error.kind() == TokenErrorKind::Rejected));
            assert!(!error.is_login_required());
        }
    }
}

/// Lines of `WWW-Authenticate`.
pub fn challenge(data: &[u8]) {
    let mut alone = HeaderMap::new();
    let mut amid = HeaderMap::new();
    amid.append("www-authenticate", HeaderValue::from_static(BEFORE));
    for value in values(data) {
        let read = challenges(&HeaderMap::from_iter([(
            HeaderName::from_static("www-authenticate"),
            value.clone(),
        )]));
        for challenge in &read {
            assert!(is_token(challenge.scheme()) && challenge.is(challenge.scheme()));
            assert!(challenge.token68().is_none_or(|text| !text.is_empty()));
            for (name, _) in challenge.params() {
                assert!(is_token(name) && challenge.param(name).is_some());
            }
        }
        neighbours_survive(value.as_bytes(), read.len());
        alone.append("www-authenticate", value.clone());
        amid.append("www-authenticate", value);
    }
    amid.append("www-authenticate", HeaderValue::from_static(AFTER));

    // Whatever a line says, the lines around it are read as if it were not there.
    let mut expected = challenges(&line(BEFORE));
    expected.extend(challenges(&alone));
    expected.extend(challenges(&line(AFTER)));
    assert_eq!(challenges(&amid), expected);
}

/// Of one line, too, what is nonsense spoils nothing before it, nor behind the next comma.
fn neighbours_survive(value: &[u8], count: usize) {
    let joined = [BEFORE.as_bytes(), value, AFTER.as_bytes()].join(&b", "[..]);
    let read = challenges(&line(&joined));
    let first = read.first().expect("it was there");
    assert!(first.is("Before") && first.param("realm") == Some("one, two"));
    // A quotation mark that is not closed takes the one that opens the next string for its end.
    if !value.contains(&b'"') {
        let last = read.last().expect("it was there");
        assert!(last.is("After") && last.param("error") == Some("invalid_token"));
        assert_eq!(read.len(), count + 2);
    }
}

/// Lines of `RateLimit`, and of the older fields.
pub fn rate_limit(data: &[u8]) {
    let headers = headers(data, Some(HeaderName::from_static("ratelimit")));
    let older = [
        LegacyFields::Draft06,
        LegacyFields::Draft07,
        LegacyFields::XRateLimit,
        LegacyFields::Custom {
            remaining: HeaderName::from_static("x-left"),
            reset: HeaderName::from_static("x-back"),
            unit: ResetUnit::Milliseconds,
        },
    ];
    let read = header::rate_limit(&headers);
    let policies = rate_limit_policy(&headers);
    assert!(
        policies
            .iter()
            .all(|policy| i64::try_from(policy.quota).is_ok())
    );
    for limit in &read {
        assert!(i64::try_from(limit.remaining).is_ok());
        assert!(limit.reset.is_none_or(|reset| reset.subsec_nanos() == 0));
    }
    for legacy in &older {
        assert!(
            legacy
                .limit(&headers, now())
                .is_none_or(|limit| limit.reset.is_some())
        );
    }
    let without_older = exhausted_for(&headers, &[], now());
    let spent = read.iter().filter(|limit| limit.remaining == 0);
    let longest = spent.filter_map(|limit| limit.reset).max();
    assert_eq!(without_older, longest.filter(|wait| !wait.is_zero()));
    let wait = exhausted_for(&headers, &older, now());
    assert!(wait.is_none_or(|wait| !wait.is_zero()));
    assert!(wait >= without_older, "more fields make no wait shorter");

    // One line that is malformed, and the field counts as not sent.
    let mut broken = headers;
    broken.append("ratelimit", HeaderValue::from_static("\"open;r=1"));
    assert!(header::rate_limit(&broken).is_empty());
}

/// Lines of `Retry-After`, and of `Date`.
pub fn retry_after(data: &[u8]) {
    let headers = headers(data, Some(HeaderName::from_static("retry-after")));
    let wait = header::retry_after(&headers, now());
    if let Some(wait) = wait {
        assert!(!wait.is_zero());
        assert!(wait == Duration::MAX || wait.subsec_nanos() == 0);
    }
    let a_day_later = header::retry_after(&headers, now() + Duration::from_secs(86_400));
    assert!(a_day_later <= wait, "time goes by and the wait grows");

    // Of several the longest counts.
    let mut more = headers;
    more.append("retry-after", HeaderValue::from_static("17"));
    let expected = wait.max(Some(Duration::from_secs(17)));
    assert_eq!(header::retry_after(&more, now()), expected);
}

/// The lines as header fields. Those that cannot be sent are left out; one without a known name is a
/// value of `unnamed`, if there is such a field.
fn headers(lines: &[u8], unnamed: Option<HeaderName>) -> HeaderMap {
    const NAMES: [&str; 10] = [
        "date",
        "retry-after",
        "www-authenticate",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-remaining",
        "ratelimit-reset",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-left",
    ];
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(MOST_LINES) {
        let (name, value) = split(line, b":");
        let known = NAMES
            .into_iter()
            .chain(["x-back"])
            .find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let (name, value) = match (known, &unnamed) {
            (Some(known), _) => (HeaderName::from_static(known), value),
            (None, Some(unnamed)) => (unnamed.clone(), line),
            (None, None) => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) {
            headers.append(name, value);
        }
    }
    headers
}

fn values(lines: &[u8]) -> impl Iterator<Item = HeaderValue> {
    let lines = lines.split(|&byte| byte == b'\n').take(MOST_LINES);
    lines.filter_map(|line| HeaderValue::from_bytes(line).ok())
}

fn line(value: impl AsRef<[u8]>) -> HeaderMap {
    let value = HeaderValue::from_bytes(value.as_ref()).expect("its parts are header values");
    HeaderMap::from_iter([(HeaderName::from_static("www-authenticate"), value)])
}

/// What is before the first `mark`, and what is after it.
fn split<'a>(data: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    match data.windows(mark.len()).position(|window| window == mark) {
        Some(at) => (&data[..at], &data[at + mark.len()..]),
        None => (data, &[]),
    }
}

/// In November 2023.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn is_token(text: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_char)
}

const BEFORE: &str = r#"Before realm="one, two""#;
const AFTER: &str = r#"After error="invalid_token""#;

/// No server sends more, and HTTP clients take no more either.
const MOST_LINES: usize = 100;
