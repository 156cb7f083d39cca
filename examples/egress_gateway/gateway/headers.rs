//! Headers that end at this gateway.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Drops what is about one connection (RFC 9110, section 7.6.1), and what is this gateway's own.
pub(crate) fn end_here(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    let is_over =
        |name: &HeaderName| named.contains(name) || HOP_BY_HOP.contains(name) || begins_ours(name);
    let over: Vec<_> = headers
        .keys()
        .filter(|name| is_over(name))
        .cloned()
        .collect();
    for name in over {
        headers.remove(name);
    }
}

/// As [`end_here`], and what is about this gateway rather than about the upstream.
pub(crate) fn prepare_request(headers: &mut HeaderMap) {
    end_here(headers);
    // The client writes the upstream's.
    headers.remove(header::HOST);
    // Met already: the body is here, or on its way.
    headers.remove(header::EXPECT);
    if !has_own_credential(headers) {
        headers.remove(header::AUTHORIZATION);
    }
}

/// Whether the program brought a credential. Clients without one send an empty `Bearer`, and some a word
/// that their language has for nothing.
fn has_own_credential(headers: &HeaderMap) -> bool {
    let says_something = |value: &HeaderValue| match value.to_str() {
        Ok(value) => match value.trim().split_once(' ') {
            Some((_scheme, credential)) => !NOTHING.contains(&credential.trim()),
            // Some vendors know no schemes: what stands there is the key itself.
            None => !is_empty_scheme(value.trim()),
        },
        Err(_) => true,
    };
    let values = headers.get_all(header::AUTHORIZATION);
    values.iter().any(says_something)
}

fn is_empty_scheme(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("Bearer") || value.eq_ignore_ascii_case("Basic")
}

fn begins_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with(OURS)
}

/// The headers by which programs speak to this gateway, and it to them.
pub(crate) const OURS: &str = "outbound-";

const NOTHING: [&str; 4] = ["None", "null", "undefined", "nil"];

const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
