//! Private keys as PEM text (RFC 7468) and back.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::zeroize::Zeroizing;

use super::{
    der::{self, SecretBytes},
    error::Problem,
    key::contains,
};
use crate::token::Secret;

/// The first private key in the text, in PKCS#8 whatever form it has there.
///
/// What stands before it is passed over: `openssl ecparam` writes the name of the curve there.
pub(super) fn read(text: &str) -> Result<SecretBytes, Problem> {
    let mut other = Problem::NotPem;
    for block in blocks(text) {
        match block.label {
            "PRIVATE KEY" => return block.decode(),
            "RSA PRIVATE KEY" => return Ok(der::pkcs8(der::RSA, &block.decode()?)),
            "EC PRIVATE KEY" => {
                let key = block.decode()?;
                // RFC 5915 keys name their curve themselves; outside PKCS#8 nothing else does.
                return if contains(&key, der::P256_CURVE) {
                    Ok(der::pkcs8(der::P256, &key))
                } else {
                    Err(Problem::Unsupported)
                };
            }
            "ENCRYPTED PRIVATE KEY" => return Err(Problem::Encrypted),
            "OPENSSH PRIVATE KEY" => return Err(Problem::OpenSsh),
            label if label.ends_with("PRIVATE KEY") => return Err(Problem::Unsupported),
            label if label.ends_with("PUBLIC KEY") => other = Problem::NotPrivate("public key"),
            label if label.ends_with("CERTIFICATE") => other = Problem::NotPrivate("certificate"),
            _ => {}
        }
    }
    Err(other)
}

pub(super) fn write(pkcs8: &[u8]) -> Secret {
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(pkcs8));
    let length = encoded.len() + encoded.len() / WIDTH + 64;
    let mut text = String::with_capacity(length);
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    Secret::new(text)
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    text.split("-----BEGIN ").skip(1).filter_map(|rest| {
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        Some(Block { label, body })
    })
}

impl Block<'_> {
    fn decode(&self) -> Result<SecretBytes, Problem> {
        // Before RFC 7468, headers told of a key's encryption (RFC 1421, section 4.6.1.1).
        if self.body.contains("ENCRYPTED") {
            return Err(Problem::Encrypted);
        }
        let mut base64 = Zeroizing::new(String::with_capacity(self.body.len()));
        base64.extend(self.body.split_ascii_whitespace());
        let decoded = BASE64_STANDARD.decode(base64.as_str());
        decoded.map(Zeroizing::new).map_err(|_| Problem::NotBase64)
    }
}

/// RFC 7468, section 2.
const WIDTH: usize = 64;
