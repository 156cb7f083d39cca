use std::time::{Duration, SystemTime};

use ring::hmac;

use super::{
    SigningKey,
    jws::{self, Claims},
};
use crate::token::{Secret, TokenError};

/// What signs an assertion: a key, or a secret that client and server share.
///
/// A secret is not a [`SigningKey`], so that no DPoP proof can be signed with it (RFC 9449, section
/// 4.2, wants an asymmetric key), and nothing tells its hash.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    /// `private_key_jwt`.
    Key(SigningKey),
    /// `client_secret_jwt`: HS256 with the secret's bytes.
    Secret(Secret),
}

/// The claims of a JWT that proves who a client is, or whom it acts for
/// ([RFC 7523, section 3](https://www.rfc-editor.org/rfc/rfc7523#section-3)).
#[derive(Debug)]
pub(crate) struct Assertion<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) lifetime: Duration,
    /// Further claims. They do not replace those above.
    pub(crate) extra: &'a Claims,
}

impl Assertion<'_> {
    /// Long enough for the way to the server, short enough to be worth little when stolen. Nobody
    /// needs a longer one: each attempt has its own.
    pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

    /// The assertion as it is sent. Servers take one only once, so make one for every attempt.
    ///
    /// `nbf` is not set: it would only turn a clock that is ahead into an error.
    pub(crate) fn signed(&self, signer: &Signer, now: SystemTime) -> Result<Secret, TokenError> {
        let issued = jws::unix_seconds(now);
        let mut claims = self.extra.clone();
        claims.extend(
            [
                ("iss", self.issuer.into()),
                ("sub", self.subject.into()),
                ("aud", self.audience.into()),
                ("iat", issued.into()),
                ("exp", issued.saturating_add(self.lifetime.as_secs()).into()),
                ("jti", jws::unique_id()?.into()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut header = Claims::new();
        header.insert("typ".to_owned(), "JWT".into());
        if let Some(kid) = signer.key_id() {
            header.insert("kid".to_owned(), kid.into());
        }
        signer.sign(header, claims)
    }
}

impl Signer {
    fn key_id(&self) -> Option<&str> {
        match self {
            Self::Key(key) => key.kid(),
            Self::Secret(_) => None,
        }
    }

    fn sign(&self, header: Claims, claims: Claims) -> Result<Secret, TokenError> {
        match self {
            Self::Key(key) => key.sign(header, claims),
            Self::Secret(secret) => {
                jws::compact("HS256", header, claims, |input| Ok(hs256(secret, input)))
            }
        }
    }
}

pub(super) fn hs256(secret: &Secret, input: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::sign(&key, input).as_ref().to_vec()
}
