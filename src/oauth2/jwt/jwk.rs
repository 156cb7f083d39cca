//! Private keys as JWK (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::Ed25519KeyPair;
use secrecy::zeroize::Zeroizing;
use serde_json::{Map, Value};

use super::{
    der::{self, SecretBytes},
    error::Problem,
    key::Algorithm,
};

/// A private key and its name.
pub(super) struct PrivateJwk {
    pub(super) pkcs8: SecretBytes,
    pub(super) key_id: Option<String>,
}

pub(super) fn read(json: &str) -> Result<PrivateJwk, Problem> {
    let Ok(Value::Object(members)) = serde_json::from_str(json) else {
        return Err(Problem::NotJwk);
    };
    if members.contains_key("keys") {
        return Err(Problem::JwkSet);
    }
    let jwk = Jwk(&members);
    let (algorithm, pkcs8) = match (jwk.text("kty"), jwk.text("crv")) {
        (None, _) => return Err(Problem::NotJwk),
        (Some("oct"), _) => return Err(Problem::SharedSecret),
        _ if !members.contains_key("d") => return Err(Problem::PublicJwk),
        (Some("EC"), Some("P-256")) => (Algorithm::Es256, jwk.p256()?),
        (Some("OKP"), Some("Ed25519")) => (Algorithm::EdDsa, jwk.ed25519()?),
        (Some("RSA"), _) => (Algorithm::Rs256, jwk.rsa()?),
        _ => return Err(Problem::Unsupported),
    };
    // A key serves one algorithm (RFC 7517, section 4.4): RS256 with a key for PS256 is refused.
    match jwk.text("alg") {
        Some(named) if named != algorithm.as_str() => {
            Err(Problem::OtherAlgorithm(algorithm.as_str()))
        }
        _ => Ok(PrivateJwk {
            pkcs8,
            key_id: jwk.text("kid").map(str::to_owned),
        }),
    }
}

struct Jwk<'a>(&'a Map<String, Value>);

impl Jwk<'_> {
    fn p256(&self) -> Result<SecretBytes, Problem> {
        let (x, y) = (self.coordinate("x")?, self.coordinate("y")?);
        let mut point = vec![UNCOMPRESSED];
        point.extend_from_slice(&x);
        point.extend_from_slice(&y);
        Ok(der::p256(&self.coordinate("d")?, &point))
    }

    fn ed25519(&self) -> Result<SecretBytes, Problem> {
        let (seed, x) = (self.coordinate("d")?, self.coordinate("x")?);
        // The public half is not written down, so this is where it is compared.
        Ed25519KeyPair::from_seed_and_public_key(&seed, &x)
            .map_err(|why| Problem::refused("Ed25519", why, Problem::HALVES))?;
        Ok(der::ed25519(&seed))
    }

    fn rsa(&self) -> Result<SecretBytes, Problem> {
        let numbers = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
        let numbers = numbers.into_iter().map(|name| self.bytes(name));
        Ok(der::rsa(&numbers.collect::<Result<Vec<_>, _>>()?))
    }

    /// 32 bytes on both curves, leading zeros among them (RFC 7518, section 6.2.1.2).
    fn coordinate(&self, name: &'static str) -> Result<SecretBytes, Problem> {
        let bytes = self.bytes(name)?;
        if bytes.len() == 32 {
            Ok(bytes)
        } else {
            Err(Problem::Member(name))
        }
    }

    fn bytes(&self, name: &'static str) -> Result<SecretBytes, Problem> {
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode::<&str>(text).ok();
        let bytes = self.text(name).and_then(decode);
        bytes.map(Zeroizing::new).ok_or(Problem::Member(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// What stands before the two coordinates of a point (SEC 1, section 2.3.3).
pub(super) const UNCOMPRESSED: u8 = 4;
