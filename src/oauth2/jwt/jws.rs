//! The compact form of a signed JWT (RFC 7515, section 7.1), and what goes into one.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use serde_json::{Map, Value};

use crate::token::{Secret, TokenError};

/// The members of a header, or the claims of a JWT.
pub(crate) type Claims = Map<String, Value>;

/// Header, claims and signature, joined by dots. The result is a secret: it opens doors while it lives.
pub(super) fn compact(
    algorithm: &str,
    mut header: Claims,
    claims: Claims,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, TokenError>,
) -> Result<Secret, TokenError> {
    header.insert("alg".to_owned(), algorithm.into());
    let [header, claims] = [header, claims].map(|part| encode(Value::Object(part).to_string()));
    let input = format!("{header}.{claims}");
    let signature = encode(sign(input.as_bytes())?);
    Ok(Secret::new(format!("{input}.{signature}")))
}

/// A `jti` that nobody had before and nobody can guess: 128 random bits.
///
/// RFC 9449, section 4.2, asks for 96 at least.
pub(crate) fn unique_id() -> Result<String, TokenError> {
    let mut bits = [0; 16];
    let filled = SystemRandom::new().fill(&mut bits);
    filled.map_err(|Unspecified| {
        TokenError::transient("the system gave no random numbers to name a signed request with")
    })?;
    Ok(encode(bits))
}

/// Base64url of SHA-256.
pub(crate) fn sha256(text: &[u8]) -> String {
    encode(digest(&SHA256, text))
}

/// A `NumericDate` (RFC 7519, section 2) in whole seconds: servers there are that read no fractions.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    // A clock before 1970 is refused by the server, whatever it is told.
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
