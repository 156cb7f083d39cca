//! Google Cloud, through `google-cloud-auth`: any of its credentials.

use google_cloud_auth::credentials::AccessTokenCredentials;
use tower_outbound::token::{Cause, Grant, TokenError, TokenSource};

/// Tokens of credentials that `google-cloud-auth` has built.
///
/// It does not tell when they end, and keeps a cache itself that renews them in time.
#[derive(Clone, Debug)]
pub struct GoogleCredentials(pub AccessTokenCredentials);

impl TokenSource for GoogleCredentials {
    async fn token(&self, _: &Cause) -> Result<Grant, TokenError> {
        let token = self.0.access_token().await.map_err(|error| {
            let failure = if error.is_transient() {
                TokenError::transient("google-cloud-auth got no token")
            } else {
                TokenError::rejected("google-cloud-auth got no token")
            };
            failure.caused_by(error)
        })?;
        Ok(Grant::new(token.token))
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_auth::{
        credentials::{
            AccessToken, AccessTokenCredentialsProvider, CacheableResource, CredentialsProvider,
        },
        errors::CredentialsError,
    };
    use http::{Extensions, HeaderMap};
    use tower_outbound::token::TokenCache;

    use super::*;

    /// Credentials that fail first, and then do not.
    #[derive(Debug, Default)]
    struct Fake(std::sync::atomic::AtomicUsize);

    impl CredentialsProvider for Fake {
        async fn headers(
            &self,
            _: Extensions,
        ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
            Err(CredentialsError::from_msg(false, "not asked for"))
        }

        async fn universe_domain(&self) -> Option<String> {
            None
        }
    }

    impl AccessTokenCredentialsProvider for Fake {
        async fn access_token(&self) -> Result<AccessToken, CredentialsError> {
            match self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Err(CredentialsError::from_msg(true, "try again")),
                _ => Ok(AccessToken {
                    token: "ya29.token".into(),
                }),
            }
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let source = GoogleCredentials(Fake::default().into());
        let token = TokenCache::new(source).token().await.unwrap();
        assert_eq!(token.secret().expose(), "ya29.token");
    }
}
