use http::StatusCode;

use super::{
    Parameters, TokenEndpoint,
    endpoint::shown,
    response::{Reply, read},
};
use crate::{
    time,
    token::{Secret, TokenError},
};

/// What a token that is to be revoked is
/// ([RFC 7009, section 2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// An access token.
    AccessToken,
    /// A refresh token; servers then revoke the access tokens that came of it, too.
    RefreshToken,
}

impl TokenEndpoint {
    /// Revokes a token ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)) at the
    /// [`revocation_url`](TokenEndpoint::revocation_url).
    ///
    /// A token that the server does not know counts as revoked
    /// ([section 2.2](https://www.rfc-editor.org/rfc/rfc7009#section-2.2)). Whoever still holds it in a
    /// [`TokenCache`](crate::token::TokenCache) should
    /// [`clear`](crate::token::TokenCache::clear) that.
    ///
    /// # Errors
    /// If there is no revocation URL, the server cannot be reached, or it says no. The token may be good
    /// still; a [transient](TokenError::is_transient) or [throttled](TokenError::is_throttled) failure is
    /// worth another try.
    ///
    /// # Cancellation
    /// Dropping the future may leave the token revoked or not.
    pub async fn revoke(&self, token: &Secret, hint: TokenTypeHint) -> Result<(), TokenError> {
        let url = self.revocation().ok_or_else(|| {
            TokenError::rejected("no revocation URL is known; set it with `revocation_url`")
        })?;
        let hint = match hint {
            TokenTypeHint::AccessToken => "access_token",
            TokenTypeHint::RefreshToken => "refresh_token",
        };
        let mut nonce_was_asked_for = false;
        loop {
            let parameters = Parameters::new()
                .with("token", token.clone())
                .with("token_type_hint", hint);
            let reply = self.send(url, parameters).await?;
            if reply.status == StatusCode::OK {
                return Ok(());
            }
            let said = read(reply.status, &reply.headers, &reply.body, time::wall());
            if self.asks_for_nonce(url, &reply, &said) && !nonce_was_asked_for {
                nonce_was_asked_for = true;
                continue;
            }
            return Err(match said {
                Reply::Refused(error) => self.refusal(url, error, &reply.headers),
                _ => TokenError::rejected(format!("{} answered {}", shown(url), reply.status)),
            });
        }
    }
}
