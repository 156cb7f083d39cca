use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use secrecy::zeroize::Zeroizing;
use serde_json::{Map, Value};

use super::{
    der::{self, SecretBytes},
    error::{KeyError, Problem},
    jwk, jws, pem,
};
use crate::token::{Secret, TokenError};

/// A private key that signs, with its public half.
///
/// Clones share it. It never prints; [`to_pem`](Self::to_pem) alone gives it out.
#[derive(Clone)]
pub struct SigningKey {
    key: Arc<Key>,
    key_id: Option<Arc<str>>,
}

struct Key {
    pair: Pair,
    pkcs8: SecretBytes,
    public: PublicJwk,
    thumbprint: String,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// What a key signs with ([RFC 7518, section 3.1](https://www.rfc-editor.org/rfc/rfc7518#section-3.1),
/// [RFC 8037, section 3.1](https://www.rfc-editor.org/rfc/rfc8037#section-3.1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SigningKey {
    /// Reads PEM text: PKCS#8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`) or PKCS#1
    /// (`RSA PRIVATE KEY`), not encrypted, with a P-256, Ed25519 or RSA key.
    ///
    /// # Errors
    /// If there is no such key in it. The message says what was found in its place.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Ok(Self::from_pkcs8(pem::read(pem)?, None)?)
    }

    /// Reads a private JWK ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)) of `kty` `EC`
    /// (P-256), `OKP` (Ed25519) or `RSA` (with `p`, `q`, `dp`, `dq` and `qi`). Its `kid` is taken over.
    ///
    /// # Errors
    /// If it is something else. The message names the member that is missing or makes no sense.
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        let jwk::PrivateJwk { pkcs8, key_id } = jwk::read(json)?;
        Ok(Self::from_pkcs8(pkcs8, key_id)?)
    }

    /// Makes a new P-256 key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate_es256() -> Result<Self, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random());
        let pkcs8 = pkcs8.map_err(|Unspecified| Problem::NoRandomness)?;
        Ok(Self::from_pkcs8(
            Zeroizing::new(pkcs8.as_ref().to_vec()),
            None,
        )?)
    }

    /// Makes a new Ed25519 key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate_ed25519() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        let filled = random().fill(&mut *seed);
        filled.map_err(|Unspecified| Problem::NoRandomness)?;
        Ok(Self::from_pkcs8(der::ed25519(&*seed), None)?)
    }

    /// The name by which the server knows it: `kid` in the header of client assertions. DPoP proofs
    /// carry the public key itself.
    pub fn key_id(mut self, kid: impl Into<String>) -> Self {
        self.key_id = Some(kid.into().into());
        self
    }

    fn from_pkcs8(pkcs8: SecretBytes, key_id: Option<String>) -> Result<Self, Problem> {
        let pair = Pair::read(&pkcs8)?;
        let public = pair.public();
        Ok(Self {
            key: Arc::new(Key {
                thumbprint: public.thumbprint(),
                pair,
                pkcs8,
                public,
            }),
            key_id: key_id.map(Arc::from),
        })
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match &self.key.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::EdDsa(_) => Algorithm::EdDsa,
            Pair::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// The public half as JWK, with the required members only: to register it at a server, add
    /// what that asks for (`kid`, `use`, `alg`).
    pub fn public_jwk(&self) -> Value {
        self.key.public.to_value()
    }

    /// The thumbprint of the public half: base64url of SHA-256
    /// ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)). It is the `jkt` that a server puts into
    /// tokens that are bound to the key.
    pub fn thumbprint(&self) -> &str {
        &self.key.thumbprint
    }

    /// The private key as PKCS#8 PEM, as [`from_pem`](Self::from_pem) reads it; the key id is not in it.
    pub fn to_pem(&self) -> Secret {
        pem::write(&self.key.pkcs8)
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// A compact JWS (RFC 7515, section 7.1) of these, with `alg` added to the header.
    pub(crate) fn sign(
        &self,
        header: jws::Claims,
        claims: jws::Claims,
    ) -> Result<Secret, TokenError> {
        jws::compact(self.algorithm().as_str(), header, claims, |input| {
            self.signature(input)
        })
    }

    pub(super) fn signature(&self, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let signature = self.key.pair.sign(input);
        signature.map_err(|Unspecified| {
            TokenError::transient(
                "nothing could be signed: the system gave no random numbers, or the numbers of an RSA \
                 key do not fit each other",
            )
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("key_id", &self.key_id)
            .field("thumbprint", &self.key.thumbprint)
            .finish_non_exhaustive()
    }
}

impl Algorithm {
    /// Its name in the header of a JWT.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Pair {
    fn read(pkcs8: &[u8]) -> Result<Self, Problem> {
        if contains(pkcs8, der::P256) {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random())
                .map(Self::Es256)
                .map_err(|why| {
                    if contains(pkcs8, POINT_FOLLOWS) {
                        Problem::refused("EC P-256", why, Problem::HALVES)
                    } else {
                        Problem::NoPublicHalf
                    }
                })
        } else if contains(pkcs8, der::ED25519) {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                .map(Self::EdDsa)
                .map_err(|why| Problem::refused("Ed25519", why, Problem::HALVES))
        } else if contains(pkcs8, der::RSA) {
            RsaKeyPair::from_pkcs8(pkcs8)
                .map(Self::Rs256)
                .map_err(|why| {
                    Problem::refused("RSA", why, "it needs 2048 to 4096 bits and two primes")
                })
        } else {
            Err(Problem::Unsupported)
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Es256(pair) => Ok(pair.sign(&random(), input)?.as_ref().to_vec()),
            Self::EdDsa(pair) => Ok(pair.sign(input).as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random(), input, &mut signature)?;
                Ok(signature)
            }
        }
    }

    fn public(&self) -> PublicJwk {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        PublicJwk(match self {
            Self::Es256(pair) => {
                // The point, uncompressed (SEC 1, section 2.3.3): 4, then two halves of 32 bytes.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let (kty, crv) = ("EC".to_owned(), "P-256".to_owned());
                vec![
                    ("crv", crv),
                    ("kty", kty),
                    ("x", encode(x)),
                    ("y", encode(y)),
                ]
            }
            Self::EdDsa(pair) => {
                let (kty, crv) = ("OKP".to_owned(), "Ed25519".to_owned());
                let x = encode(pair.public_key().as_ref());
                vec![("crv", crv), ("kty", kty), ("x", x)]
            }
            Self::Rs256(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (encode(&public.n), encode(&public.e));
                vec![("e", e), ("kty", "RSA".to_owned()), ("n", n)]
            }
        })
    }
}

/// The required members of a public JWK in the order of RFC 7638, section 3.2: by name.
pub(super) struct PublicJwk(pub(super) Vec<(&'static str, String)>);

impl PublicJwk {
    /// Written by hand: the order of a `serde_json::Map` depends on a feature that any crate can set.
    /// Nothing needs an escape in base64url.
    pub(super) fn thumbprint(&self) -> String {
        let members = self.0.iter();
        let members = members.map(|(name, value)| format!(r#""{name}":"{value}""#));
        jws::sha256(format!("{{{}}}", members.collect::<Vec<_>>().join(",")).as_bytes())
    }

    fn to_value(&self) -> Value {
        let members = self.0.iter();
        let members = members.map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

pub(super) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn random() -> SystemRandom {
    SystemRandom::new()
}

/// `[1]` with a bit string of 65 bytes, the first of which says "uncompressed".
const POINT_FOLLOWS: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00, jwk::UNCOMPRESSED];
