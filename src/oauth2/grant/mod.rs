//! The grants, one a file.

#[cfg(feature = "pkce")]
mod authorization_code;
mod client_credentials;
#[cfg(feature = "jwt")]
mod jwt_bearer;
mod log_in;
mod refresh_token;
mod saml2_bearer;
mod supplied;
mod token_exchange;

use std::{future::Future, pin::Pin};

#[cfg(feature = "pkce")]
pub use self::authorization_code::{AuthorizationCode, AuthorizationRequest, CallbackError};
#[cfg(feature = "jwt")]
pub use self::jwt_bearer::JwtBearer;
pub(crate) use self::supplied::Supplied;
pub use self::{
    client_credentials::ClientCredentials, log_in::LogIn, refresh_token::RefreshToken,
    saml2_bearer::Saml2Bearer, token_exchange::TokenExchange,
};
use super::{Parameters, TokenEndpoint};
use crate::token::TokenError;

/// A way of being granted a token: what it puts into the form of a token request.
///
/// Those of the standards are in this module. A vendor's own is a few lines:
///
/// ```
/// use tower_outbound::{oauth2::{GrantType, Parameters, TokenEndpoint}, token::TokenError};
///
/// struct AccountCredentials {
///     account_id: String,
/// }
///
/// impl GrantType for AccountCredentials {
///     async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
///         Ok(Parameters::of("account_credentials").with("account_id", self.account_id.clone()))
///     }
/// }
/// ```
pub trait GrantType: Send + Sync + 'static {
    /// The parameters, `grant_type` among them; without the client's, and without scope, resource
    /// and audience, which the request adds.
    ///
    /// Asked anew for every request that is sent: what is good only once, such as an assertion, is
    /// made here.
    ///
    /// # Errors
    /// If there is nothing to ask with.
    fn parameters(
        &self,
        endpoint: &TokenEndpoint,
    ) -> impl Future<Output = Result<Parameters, TokenError>> + Send;
}

/// `GrantType` behind a pointer: what a request holds.
pub(crate) trait AnyGrantType: Send + Sync {
    fn ask_parameters<'a>(
        &'a self,
        endpoint: &'a TokenEndpoint,
    ) -> Pin<Box<dyn Future<Output = Result<Parameters, TokenError>> + Send + 'a>>;
}

impl<T: GrantType> AnyGrantType for T {
    fn ask_parameters<'a>(
        &'a self,
        endpoint: &'a TokenEndpoint,
    ) -> Pin<Box<dyn Future<Output = Result<Parameters, TokenError>> + Send + 'a>> {
        Box::pin(self.parameters(endpoint))
    }
}
