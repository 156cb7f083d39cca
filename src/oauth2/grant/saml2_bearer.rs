use std::future::Future;

use super::{GrantType, Supplied};
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    token::{Secret, TokenError},
};

/// The SAML 2.0 bearer assertion grant
/// ([RFC 7522, section 2.1](https://www.rfc-editor.org/rfc/rfc7522#section-2.1)): what an identity
/// provider says about a user is exchanged for a token.
///
/// ```
/// use tower_outbound::oauth2::{Saml2Bearer, TokenEndpoint, TokenRequest};
///
/// # async fn from_the_identity_provider() -> Result<String, tower_outbound::token::TokenError> {
/// #     Ok(String::new())
/// # }
/// # fn request(endpoint: TokenEndpoint) -> TokenRequest {
/// endpoint.grant(Saml2Bearer::new(|| async {
///     let assertion: String = from_the_identity_provider().await?;
///     Ok(assertion.into())
/// }))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Saml2Bearer(Supplied);

impl Saml2Bearer {
    /// With the assertions that this closure gets, one for every request that is sent: an assertion lives
    /// for minutes, and servers may take each only once. As it goes over the wire: base64url.
    pub fn new<F, Fut>(assertion: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        Self(Supplied::by(assertion))
    }
}

impl GrantType for Saml2Bearer {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        Ok(Parameters::of(GRANT_TYPE).with("assertion", self.0.get().await?))
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
