use super::GrantType;
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    token::{Secret, TokenError},
};

/// The refresh token grant ([RFC 6749, section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)),
/// with one token that stays the same.
///
/// Only for servers that never rotate refresh tokens: a new one that comes with a reply is not kept.
/// Where they do, or may one day, a [`Login`](crate::oauth2::Login) keeps them.
#[derive(Clone, Debug)]
pub struct RefreshToken(Secret);

impl RefreshToken {
    /// With this refresh token.
    pub fn new(refresh_token: impl Into<Secret>) -> Self {
        Self(refresh_token.into())
    }
}

impl GrantType for RefreshToken {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        Ok(Parameters::of("refresh_token").with("refresh_token", self.0.clone()))
    }
}
