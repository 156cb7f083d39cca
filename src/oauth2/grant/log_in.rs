use super::GrantType;
use crate::{
    oauth2::{Parameters, TokenEndpoint},
    token::TokenError,
};

/// No grant: without a session, somebody has to log in.
///
/// For a [`Login`](crate::oauth2::Login) that a person began: when its refresh token is at an end,
/// nothing but that person can help.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogIn;

impl GrantType for LogIn {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        Err(TokenError::login_required("there is no session"))
    }
}
