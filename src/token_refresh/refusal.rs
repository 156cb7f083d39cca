//! Whether a response means that the token is no good.

use http::{HeaderMap, StatusCode, response};

use crate::header::challenges;

/// The default predicate: 401, unless its challenge names another reason.
///
/// `insufficient_scope` and `invalid_request` are told about a token that is good
/// ([RFC 6750, section 3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)), and so are
/// the demands that a plain renewal cannot meet, `insufficient_user_authentication`
/// ([RFC 9470](https://www.rfc-editor.org/rfc/rfc9470)) and `use_dpop_nonce`
/// ([RFC 9449, section 9](https://www.rfc-editor.org/rfc/rfc9449#section-9)). A 401 without any challenge, which
/// the standard does not allow and many servers send, counts as a refusal.
pub(crate) fn is_refusal(parts: &response::Parts) -> bool {
    parts.status == StatusCode::UNAUTHORIZED && !names_another_reason(&parts.headers)
}

fn names_another_reason(headers: &HeaderMap) -> bool {
    challenges(headers)
        .iter()
        .filter_map(|challenge| challenge.param("error"))
        .any(|error| OTHER_REASONS.contains(&error))
}

const OTHER_REASONS: [&str; 4] = [
    "insufficient_scope",
    "invalid_request",
    "insufficient_user_authentication",
    "use_dpop_nonce",
];

#[cfg(test)]
mod tests {
    use http::{Response, header};

    use super::*;

    fn refused(status: u16, challenge: Option<&str>) -> bool {
        let mut response = Response::builder().status(status);
        if let Some(challenge) = challenge {
            response = response.header(header::WWW_AUTHENTICATE, challenge);
        }
        is_refusal(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_401_refuses_the_token_with_or_without_a_challenge() {
        assert!(refused(401, None));
        assert!(refused(401, Some("Bearer")));
        assert!(refused(
            401,
            Some(r#"Bearer realm="api", error="invalid_token""#)
        ));
        assert!(refused(401, Some(", =,,")));
    }

    #[test]
    fn a_challenge_that_names_another_reason_does_not() {
        assert!(!refused(
            401,
            Some(r#"Bearer error="insufficient_scope", scope="write""#)
        ));
        assert!(!refused(
            401,
            Some(r#"Basic realm="x", Bearer error="invalid_request""#)
        ));
        assert!(!refused(
            401,
            Some("Bearer error=insufficient_user_authentication")
        ));
    }

    #[test]
    fn no_other_status_does() {
        for status in [200, 400, 403, 407, 429, 500, 503] {
            assert!(
                !refused(status, Some(r#"Bearer error="invalid_token""#)),
                "{status}"
            );
        }
    }
}
