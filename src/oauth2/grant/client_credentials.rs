use super::GrantType;
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    token::TokenError,
};

/// The client credentials grant
/// ([RFC 6749, section 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)): a program acts for
/// itself, and renews its token by asking again.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCredentials;

impl GrantType for ClientCredentials {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        Ok(Parameters::of("client_credentials"))
    }
}
