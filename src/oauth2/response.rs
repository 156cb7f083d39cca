//! Replies of token endpoints: bytes in, values out.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::{
    header::retry_after,
    token::{Grant, OAuthError, Rotation, TokenErrorKind},
};

/// What a token endpoint's reply says.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The token, and its `token_type`, which the standard requires and many leave out.
    Granted(Grant, Option<String>),
    /// It says what is wrong, in the standard's way or by its status.
    Refused(ErrorReply),
    /// It says yes, but not what: a page of a proxy, an empty body, half of an object.
    Unreadable(&'static str),
    /// It grants a token, but one that must not or cannot be used. Asking again would only mint more.
    Unusable(&'static str, Rotation),
}

/// An error reply of a token endpoint, for a function that decides what it means.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorReply {
    /// The HTTP status. Some servers send errors with 200.
    pub status: StatusCode,
    /// The `error` code of [RFC 6749, section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2).
    pub error: Option<String>,
    /// The `error_description`, without control characters.
    pub description: Option<String>,
    /// The wait that a `Retry-After` header asks for.
    pub retry_after: Option<Duration>,
}

impl ErrorReply {
    /// What the standards make of it.
    ///
    /// | reply | kind |
    /// |---|---|
    /// | 429, 503 with `Retry-After`, `slow_down` | throttled |
    /// | any other 5xx, 408, `temporarily_unavailable`, `server_error` | transient |
    /// | any other error code, 3xx, 4xx | rejected |
    ///
    /// A code that comes with a 5xx is not believed: gateways have been seen to add
    /// `invalid_grant` to an outage.
    pub fn kind(&self) -> TokenErrorKind {
        let asks_for_a_pause = self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::SERVICE_UNAVAILABLE && self.retry_after.is_some();
        match self.error.as_deref() {
            _ if asks_for_a_pause => TokenErrorKind::Throttled,
            _ if self.status.is_server_error() => TokenErrorKind::Transient,
            _ if self.status == StatusCode::REQUEST_TIMEOUT => TokenErrorKind::Transient,
            Some("slow_down") => TokenErrorKind::Throttled,
            Some("temporarily_unavailable" | "server_error") => TokenErrorKind::Transient,
            _ => TokenErrorKind::Rejected,
        }
    }

    pub(crate) fn oauth_error(&self) -> Option<OAuthError> {
        let code = self.error.clone()?;
        Some(OAuthError {
            code,
            description: self.description.clone(),
        })
    }
}

/// Reads a reply. `now` is the wall-clock time, for a date in `Retry-After`.
pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Reply {
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    let error = object.as_ref().and_then(|object| text(object, "error"));
    if error.is_some() || !status.is_success() {
        let description = object
            .as_ref()
            .and_then(|object| text(object, "error_description"));
        return Reply::Refused(ErrorReply {
            status,
            error: error.map(printable),
            description: description.map(printable),
            retry_after: retry_after(headers, now),
        });
    }
    match object {
        Some(object) => granted(&object),
        None if body.is_empty() => Reply::Unreadable("an empty body"),
        None => Reply::Unreadable("something that is not a JSON object, as a proxy's page is not"),
    }
}

fn granted(object: &Map<String, Value>) -> Reply {
    let Some(access_token) = text(object, "access_token").filter(|token| !token.is_empty()) else {
        return Reply::Unreadable("a JSON object without `access_token`");
    };
    let mut grant = Grant::new(access_token);
    // An empty one is none: the old one is kept then.
    if let Some(refresh_token) = text(object, "refresh_token").filter(|token| !token.is_empty()) {
        grant = grant.refresh_token(refresh_token);
    }
    match expires_in(object.get("expires_in")) {
        ExpiresIn::Untold => {}
        ExpiresIn::Over => {
            let what = "a token whose `expires_in` is not above zero";
            return Reply::Unusable(what, Rotation::by(grant));
        }
        ExpiresIn::In(lifetime) => grant = grant.expires_in(lifetime),
    }
    if let Some(scope) = text(object, "scope") {
        grant = grant.scope(scope);
    }
    Reply::Granted(grant, text(object, "token_type").map(str::to_owned))
}

#[derive(Debug, PartialEq, Eq)]
enum ExpiresIn {
    Untold,
    Over,
    In(Duration),
}

/// Seconds, as an integer, a fraction or a string with either; whatever else says nothing.
fn expires_in(value: Option<&Value>) -> ExpiresIn {
    let text = match value {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        _ => return ExpiresIn::Untold,
    };
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_nan() => ExpiresIn::Untold,
        Ok(seconds) if seconds <= 0.0 => ExpiresIn::Over,
        // A number too large for a duration is a token that outlives us all.
        Ok(seconds) => ExpiresIn::In(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        Err(_) => ExpiresIn::Untold,
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// What may go into a log: the characters that RFC 6749, section 5.2, allows, and not too many.
pub(crate) fn printable(text: &str) -> String {
    let is_allowed = |c: &char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    text.chars()
        .filter(is_allowed)
        .take(MAX_DESCRIPTION)
        .collect()
}

const MAX_DESCRIPTION: usize = 500;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        read(
            status,
            &HeaderMap::new(),
            body.as_bytes(),
            SystemTime::UNIX_EPOCH,
        )
    }

    fn error(status: u16, body: &str) -> ErrorReply {
        match reply(status, body) {
            Reply::Refused(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn lifetime(value: Value) -> ExpiresIn {
        expires_in(Some(&value))
    }

    #[test]
    fn lifetimes_are_read_in_every_form_that_servers_send() {
        let hour = ExpiresIn::In(Duration::from_secs(3600));
        assert_eq!(lifetime(json!(3600)), hour);
        assert_eq!(lifetime(json!("3600")), hour);
        assert_eq!(lifetime(json!(" 3600 ")), hour);
        assert_eq!(lifetime(json!(3600.0)), hour);
        assert_eq!(
            lifetime(json!("0.5")),
            ExpiresIn::In(Duration::from_millis(500))
        );
        assert_eq!(lifetime(json!(1e300)), ExpiresIn::In(Duration::MAX));
        assert_eq!(lifetime(json!(u64::MAX)), ExpiresIn::In(Duration::MAX));
        for over in [
            json!(0),
            json!(-1),
            json!("0"),
            json!("-3600"),
            json!(-1e300),
        ] {
            assert_eq!(lifetime(over), ExpiresIn::Over);
        }
        for untold in [
            json!(null),
            json!("never"),
            json!("NaN"),
            json!([3600]),
            json!(""),
        ] {
            assert_eq!(lifetime(untold), ExpiresIn::Untold);
        }
        assert_eq!(expires_in(None), ExpiresIn::Untold);
    }

    #[test]
    fn a_grant_says_what_type_its_token_is_of_as_it_was_written() {
        for (member, expected) in [
            (json!("bearer"), Some("bearer")),
            (json!("DPoP"), Some("DPoP")),
            (json!("N_A"), Some("N_A")),
            (json!(""), Some("")),
            (json!(7), None),
        ] {
            let body = json!({"access_token": "t", "token_type": member}).to_string();
            let Reply::Granted(_, token_type) = reply(200, &body) else {
                panic!("{body}")
            };
            assert_eq!(token_type.as_deref(), expected);
        }
    }

    #[test]
    fn a_refresh_token_is_read_where_there_is_one() {
        let refresh_token = |body: &str| match reply(200, body) {
            Reply::Granted(grant, _) => grant.refresh_token.map(|token| token.expose().to_owned()),
            other => panic!("{other:?}"),
        };
        let both = r#"{"access_token":"t","refresh_token":"r"}"#;
        assert_eq!(refresh_token(both).as_deref(), Some("r"));
        for none in [
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","refresh_token":null}"#,
            r#"{"access_token":"t","refresh_token":""}"#,
        ] {
            assert_eq!(refresh_token(none), None, "{none}");
        }
    }

    #[test]
    fn a_success_without_a_token_is_no_grant() {
        for body in [
            "",
            "<html>",
            "null",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
        ] {
            assert!(matches!(reply(200, body), Reply::Unreadable(_)), "{body}");
        }
    }

    #[test]
    fn an_error_is_an_error_whatever_its_status() {
        let body = r#"{"error":"invalid_client","error_description":"who?"}"#;
        for status in [200, 400, 401] {
            let error = error(status, body);
            assert_eq!(error.kind(), TokenErrorKind::Rejected, "{status}");
            assert_eq!(error.error.as_deref(), Some("invalid_client"));
            assert_eq!(error.description.as_deref(), Some("who?"));
        }
    }

    #[test]
    fn an_error_code_on_a_server_error_is_not_believed() {
        for status in [500, 502, 503, 504] {
            let error = error(status, r#"{"error":"invalid_grant"}"#);
            assert_eq!(error.kind(), TokenErrorKind::Transient, "{status}");
        }
    }

    #[test]
    fn what_asks_for_a_pause_is_throttled() {
        assert_eq!(error(429, "").kind(), TokenErrorKind::Throttled);
        assert_eq!(
            error(400, r#"{"error":"slow_down"}"#).kind(),
            TokenErrorKind::Throttled
        );
        assert_eq!(error(503, "").kind(), TokenErrorKind::Transient);
    }

    #[test]
    fn descriptions_are_fit_for_a_log() {
        let body = json!({"error": "e\n", "error_description": format!("a\r\nb\u{1b}[31m\"\\é{}", "x".repeat(9999))});
        let error = error(400, &body.to_string());
        assert_eq!(error.error.as_deref(), Some("e"));
        let description = error.description.unwrap();
        assert!(description.starts_with("ab[31mx"), "{description}");
        assert_eq!(description.len(), MAX_DESCRIPTION);
    }

    #[test]
    fn the_access_token_prints_nowhere() {
        let reply = reply(
            200,
            r#"{"access_token":"hunter2","refresh_token":"hunter2"}"#,
        );
        assert!(!format!("{reply:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_reply_panics(status in 100..600_u16, body: Vec<u8>) {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, &HeaderMap::new(), &body, SystemTime::UNIX_EPOCH);
        }

        #[test]
        fn no_json_panics(text in r#"\{("(access_token|token_type|expires_in|error|scope)":("[a-z0-9.eE+-]*"|[0-9]{1,30}(\.[0-9]+)?|null|\[\]|\{\}),?)*\}"#) {
            reply(200, &text);
            reply(400, &text);
        }
    }
}
