use std::future::Future;

use super::{GrantType, Supplied};
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    token::{Secret, TokenError},
};

/// Token exchange ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)): a token that somebody has is
/// exchanged for one that is good elsewhere, as workload identities do.
///
/// ```
/// use tower_outbound::oauth2::{TokenEndpoint, TokenExchange, TokenRequest};
///
/// # fn request(endpoint: TokenEndpoint) -> TokenRequest {
/// // What Kubernetes mounts changes; it is read for every request.
/// let exchange = TokenExchange::new(TokenExchange::JWT, || async {
///     let text = std::fs::read_to_string("/var/run/secrets/tokens/workload").unwrap_or_default();
///     Ok(text.trim().into())
/// });
/// endpoint.grant(exchange).audience("https://api.example.com")
/// # }
/// ```
///
/// A reply whose `token_type` is `N_A` brings something that is no access token
/// ([section 2.2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.2.1)), and is an error.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    subject: Given,
    actor: Option<Given>,
    requested: Option<String>,
}

/// A token to exchange, and what it is.
#[derive(Clone, Debug)]
struct Given {
    token_type: String,
    token: Supplied,
}

impl TokenExchange {
    /// `subject_token_type`: an OAuth 2.0 access token.
    pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    /// `subject_token_type`: an OpenID Connect ID token.
    pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
    /// `subject_token_type`: a JWT.
    pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    /// `subject_token_type`: a SAML 2.0 assertion, in base64url.
    pub const SAML2: &str = "urn:ietf:params:oauth:token-type:saml2";

    /// Exchanges a token of this type for whoever it is about, with the closure asked for it each
    /// time.
    pub fn new<F, Fut>(subject_token_type: impl Into<String>, subject_token: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        Self {
            subject: Given::new(subject_token_type, subject_token),
            actor: None,
            requested: None,
        }
    }

    /// Who acts on the subject's behalf, where that is somebody else.
    pub fn actor<F, Fut>(mut self, actor_token_type: impl Into<String>, actor_token: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        self.actor = Some(Given::new(actor_token_type, actor_token));
        self
    }

    /// The type of token that is wanted; by default the server decides.
    pub fn requested_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.requested = Some(token_type.into());
        self
    }
}

impl Given {
    fn new<F, Fut>(token_type: impl Into<String>, token: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        Self {
            token_type: token_type.into(),
            token: Supplied::by(token),
        }
    }
}

impl GrantType for TokenExchange {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        let mut parameters = Parameters::of(GRANT_TYPE)
            .with("subject_token", self.subject.token.get().await?)
            .with("subject_token_type", self.subject.token_type.clone());
        if let Some(actor) = &self.actor {
            parameters = parameters
                .with("actor_token", actor.token.get().await?)
                .with("actor_token_type", actor.token_type.clone());
        }
        if let Some(requested) = &self.requested {
            parameters = parameters.with("requested_token_type", requested.clone());
        }
        Ok(parameters)
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
