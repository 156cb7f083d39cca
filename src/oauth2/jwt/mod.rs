//! Keys that sign: for client assertions (RFC 7523) and for DPoP proofs (RFC 9449).
//!
//! ```
//! use tower_outbound::oauth2::jwt::{Algorithm, SigningKey};
//!
//! let key = SigningKey::generate_es256()?.key_id("2026-01");
//! assert_eq!(key.algorithm(), Algorithm::Es256);
//! assert_eq!(key.public_jwk()["crv"], "P-256"); // register this at the server
//!
//! // What is kept in a safe place is read back after a restart.
//! let again = SigningKey::from_pem(key.to_pem().expose())?;
//! assert_eq!(again.thumbprint(), key.thumbprint());
//! # Ok::<_, tower_outbound::oauth2::jwt::KeyError>(())
//! ```
//!
//! | algorithm | key | one signature takes | |
//! |---|---|---|---|
//! | `ES256` | EC P-256 | 14 µs | what most servers take, and what to choose |
//! | `EdDSA` | Ed25519 | 19 µs | not every server knows it; some know it as `Ed25519` alone (RFC 9864), and refuse this |
//! | `RS256` | RSA, 2048 to 4096 bits | 0.5 to 3.5 ms | for keys that exist already |
//!
//! Measured on one core of a server of 2026. A signature is made where its request is polled.
//!
//! # Errors
//!
//! A [`KeyError`] says what was given in place of a usable private key, and which command makes one
//! of it. It never holds a part of the key.

mod assertion;
mod client_assertion;
mod der;
mod error;
mod jwk;
mod jws;
mod key;
mod pem;

pub(crate) use self::assertion::{Assertion, Signer};
pub(crate) use self::jws::{Claims, sha256, unique_id, unix_seconds};
pub use self::{
    client_assertion::ClientAssertion,
    error::KeyError,
    key::{Algorithm, SigningKey},
};

#[cfg(test)]
pub(crate) mod tests;
