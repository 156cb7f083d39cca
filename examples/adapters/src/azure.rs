//! Microsoft Entra, through `azure_identity`: any of its credentials.

use std::{sync::Arc, time::SystemTime};

use azure_core::{credentials::TokenCredential, error::ErrorKind};
use tower_outbound::token::{Cause, Grant, TokenError, TokenSource};

/// Tokens of a credential, for these scopes.
#[derive(Debug)]
pub struct AzureCredential {
    credential: Arc<dyn TokenCredential>,
    scopes: Vec<String>,
}

impl AzureCredential {
    pub fn new<I>(credential: Arc<dyn TokenCredential>, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            credential,
            scopes: scopes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TokenSource for AzureCredential {
    async fn token(&self, _: &Cause) -> Result<Grant, TokenError> {
        let scopes: Vec<_> = self.scopes.iter().map(String::as_str).collect();
        let token = self.credential.get_token(&scopes, None).await;
        let token = token.map_err(|error| {
            // A credential that is not accepted does not become right.
            let failure = match error.kind() {
                ErrorKind::Credential => TokenError::rejected("azure_identity got no token"),
                _ => TokenError::transient("azure_identity got no token"),
            };
            failure.caused_by(error)
        })?;
        let end = SystemTime::from(token.expires_on);
        Ok(Grant::new(token.token.secret()).expires_at(end))
    }
}

#[cfg(test)]
mod tests {
    use azure_core::{
        credentials::Secret,
        http::{AsyncRawResponse, ClientOptions, HttpClient, Request, StatusCode, Transport},
    };
    use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
    use tower_outbound::token::{Token, TokenCache};

    use super::*;

    /// An authorization server of one reply.
    #[derive(Debug)]
    struct Entra(StatusCode, &'static str);

    #[async_trait::async_trait]
    impl HttpClient for Entra {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            assert_eq!(request.url().path(), "/tenant/oauth2/v2.0/token");
            let headers = Default::default();
            Ok(AsyncRawResponse::from_bytes(self.0, headers, self.1))
        }
    }

    async fn token(status: StatusCode, reply: &'static str) -> Result<Token, TokenError> {
        let options = ClientSecretCredentialOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(Arc::new(Entra(status, reply)))),
                ..Default::default()
            },
        };
        let secret = Secret::new("secret");
        let credential =
            ClientSecretCredential::new("tenant", "id".into(), secret, Some(options)).unwrap();
        let source = AzureCredential::new(credential, ["https://graph.microsoft.com/.default"]);
        TokenCache::new(source).token().await
    }

    #[tokio::test]
    async fn a_credential_of_azure_identity_gets_the_token() {
        let reply = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,
            "access_token":"a token"}"#;
        let token = token(StatusCode::Ok, reply).await.unwrap();
        assert_eq!(token.secret().expose(), "a token");
    }

    #[tokio::test]
    async fn a_wrong_secret_is_not_tried_again() {
        let reply = r#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#;
        let error = token(StatusCode::Unauthorized, reply).await.unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
    }
}
