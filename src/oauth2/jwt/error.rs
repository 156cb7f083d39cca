use std::fmt;

use ring::error::KeyRejected;

/// A key that cannot be used to sign.
///
/// The message says what was given, and what to do about it. It holds no part of the key.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct KeyError(Problem);

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the key is not PEM text, which begins with \"-----BEGIN PRIVATE KEY-----\"")]
    NotPem,
    #[error(
        "the key is damaged: between its first and last line is something that is not base64; where a \
         setting has turned line breaks into \"\\n\", turn them back"
    )]
    NotBase64,
    #[error("the key is encrypted: decrypt it with `openssl pkey -in key.pem -out decrypted.pem`")]
    Encrypted,
    #[error("the key is in OpenSSH's format: convert a copy with `ssh-keygen -p -m PKCS8 -f copy`")]
    OpenSsh,
    #[error(
        "the PEM text holds a {0}, not a key to sign with: give the private key that belongs to it"
    )]
    NotPrivate(&'static str),
    #[error(
        "the key is of a kind that is not supported: use EC P-256 (`openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256`), Ed25519, or RSA of 2048 to 4096 bits"
    )]
    Unsupported,
    #[error("the key lacks its public half: `openssl ec -in key.pem -out whole.pem` adds it")]
    NoPublicHalf,
    #[error("the {kind} key cannot be used ({why}): {hint}")]
    Refused {
        kind: &'static str,
        why: String,
        hint: &'static str,
    },
    #[error("the key is not a JWK: it is a JSON object with a member \"kty\"")]
    NotJwk,
    #[error("this is a set of JWKs: give one object of its \"keys\"")]
    JwkSet,
    #[error("the JWK is a public key: the private one has a member \"d\", too")]
    PublicJwk,
    #[error(
        "the JWK is a shared secret (\"kty\":\"oct\"): a signature with it proves no more than the \
         secret itself"
    )]
    SharedSecret,
    #[error(
        "the JWK is for another algorithm (\"alg\") than {0}, the only one for keys of its kind here"
    )]
    OtherAlgorithm(&'static str),
    #[error(
        "the JWK has no usable member \"{0}\": it is base64url without padding, as RFC 7518 says"
    )]
    Member(&'static str),
    #[error("the system gave no random numbers to make a key of")]
    NoRandomness,
}

impl Problem {
    pub(super) const HALVES: &str = "its two halves have to fit each other";

    pub(super) fn refused(kind: &'static str, why: KeyRejected, hint: &'static str) -> Self {
        let why = why.to_string();
        Self::Refused { kind, why, hint }
    }
}

impl From<Problem> for KeyError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// The message: it is what a `main` that returns an error prints.
impl fmt::Debug for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyError({self})")
    }
}
