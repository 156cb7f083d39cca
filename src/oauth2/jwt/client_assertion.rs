use std::time::Duration;

use super::{Assertion, Claims, Signer, SigningKey};
use crate::{
    oauth2::ClientAuth,
    time,
    token::{Secret, TokenError},
};

/// What a client signs to say who it is
/// ([RFC 7523, section 2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)): a JWT with a `jti` of
/// its own for every request.
///
/// ```
/// use tower_outbound::oauth2::{ClientAuth, jwt::{ClientAssertion, SigningKey}};
///
/// let key = SigningKey::generate_es256()?.key_id("2026-01");
/// // For a server that wants to be called by the URL of its token endpoint.
/// let auth: ClientAuth = ClientAssertion::by_key(key)
///     .audience("https://login.example.com/token")
///     .into();
/// # drop(auth);
/// # Ok::<_, tower_outbound::oauth2::jwt::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientAssertion {
    signer: Signer,
    audience: Option<String>,
    lifetime: Duration,
}

impl ClientAssertion {
    /// Signed with a key of which the server knows the public half: `private_key_jwt`.
    pub fn by_key(key: SigningKey) -> Self {
        Self::new(Signer::Key(key))
    }

    /// Signed with the client's secret, by HS256: `client_secret_jwt`.
    pub fn by_secret(secret: impl Into<Secret>) -> Self {
        Self::new(Signer::Secret(secret.into()))
    }

    fn new(signer: Signer) -> Self {
        Self {
            signer,
            audience: None,
            lifetime: Assertion::LIFETIME,
        }
    }

    /// Whom it is addressed to, where that is neither the issuer nor the URL of the token endpoint:
    /// see [`TokenEndpoint::audience`](crate::oauth2::TokenEndpoint::audience).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How long it is good for: 60 s by default, long enough for the way to the server and short
    /// enough to be worth little when it is stolen.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn signed(&self, client_id: &str, audience: &str) -> Result<Secret, TokenError> {
        let assertion = Assertion {
            issuer: client_id,
            subject: client_id,
            audience: self.audience.as_deref().unwrap_or(audience),
            lifetime: self.lifetime,
            extra: &Claims::new(),
        };
        assertion.signed(&self.signer, time::wall())
    }
}

impl From<ClientAssertion> for ClientAuth {
    fn from(assertion: ClientAssertion) -> Self {
        Self::assertion(move |client_id, audience| {
            let signed = assertion.signed(client_id, audience);
            async { signed }
        })
    }
}

impl ClientAuth {
    /// `private_key_jwt`: a [`ClientAssertion`] signed with this key.
    pub fn private_key_jwt(key: SigningKey) -> Self {
        ClientAssertion::by_key(key).into()
    }

    /// `client_secret_jwt`: a [`ClientAssertion`] signed with this secret.
    pub fn client_secret_jwt(secret: impl Into<Secret>) -> Self {
        ClientAssertion::by_secret(secret).into()
    }
}
