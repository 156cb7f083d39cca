use std::time::Duration;

use serde_json::Value;

use super::GrantType;
use crate::{
    oauth2::{
        Parameters, TokenEndpoint,
        jwt::{Assertion, Claims, Signer, SigningKey},
    },
    time,
    token::TokenError,
};

/// The JWT bearer grant ([RFC 7523, section 2.1](https://www.rfc-editor.org/rfc/rfc7523#section-2.1)): an
/// assertion, signed by a key that the server knows, is exchanged for a token.
///
/// ```
/// use tower_outbound::oauth2::{JwtBearer, TokenEndpoint, TokenRequest, jwt::SigningKey};
///
/// # fn requests(google: TokenEndpoint, salesforce: TokenEndpoint, key: SigningKey) -> [TokenRequest; 2] {
/// // A Google service account. Its endpoint has `ClientAuth::none()` and no id to speak of.
/// let account = JwtBearer::new(key.clone())
///     .issuer("exporter@project.iam.gserviceaccount.com")
///     .claim("scope", "https://www.googleapis.com/auth/devstorage.read_only");
/// // Salesforce, for a user.
/// let user = JwtBearer::new(key).subject("user@example.com").audience("https://login.salesforce.com");
/// [google.grant(account), salesforce.grant(user)]
/// # }
/// ```
///
/// The issuer is the client's id by default, the subject is the issuer, and the audience is that of the
/// [endpoint](TokenEndpoint::audience). Every request that is sent has an assertion of its own, with a new
/// `jti`.
#[derive(Clone, Debug)]
pub struct JwtBearer {
    signer: Signer,
    issuer: Option<String>,
    subject: Option<String>,
    audience: Option<String>,
    lifetime: Duration,
    claims: Claims,
}

impl JwtBearer {
    /// Assertions signed with this key.
    pub fn new(key: SigningKey) -> Self {
        Self {
            signer: Signer::Key(key),
            issuer: None,
            subject: None,
            audience: None,
            lifetime: Assertion::LIFETIME,
            claims: Claims::new(),
        }
    }

    /// Who vouches (`iss`).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// For whom (`sub`).
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// To whom (`aud`).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How long an assertion is good for: 60 s by default, which is long enough for the way to the
    /// server.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// One more claim, such as Google's `scope`. It does not replace those above.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }
}

impl GrantType for JwtBearer {
    async fn parameters(&self, endpoint: &TokenEndpoint) -> Result<Parameters, TokenError> {
        let issuer = self.issuer.as_deref().unwrap_or(endpoint.client_id());
        let assertion = Assertion {
            issuer,
            subject: self.subject.as_deref().unwrap_or(issuer),
            audience: &self.audience.clone().unwrap_or_else(|| endpoint.audience()),
            lifetime: self.lifetime,
            extra: &self.claims,
        };
        let assertion = assertion.signed(&self.signer, time::wall())?;
        Ok(Parameters::of(GRANT_TYPE).with("assertion", assertion))
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
