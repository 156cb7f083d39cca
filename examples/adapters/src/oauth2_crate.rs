//! Any authorization server, through the `oauth2` crate.

use http::{Request, Response};
use oauth2::{
    ClientId, ClientSecret, EndpointNotSet, EndpointSet, RequestTokenError, Scope, TokenResponse,
    TokenUrl, basic::BasicClient,
};
use tower::{BoxError, Service, ServiceExt};
use tower_outbound::token::{Cause, Grant, TokenError, TokenSource};

/// The client credentials grant of a `BasicClient`, over an HTTP client that is a tower service.
#[derive(Clone, Debug)]
pub struct OAuth2Crate<S> {
    client: Client,
    scopes: Vec<Scope>,
    http: S,
}

type Client =
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl<S> OAuth2Crate<S> {
    pub fn new(
        token_url: &str,
        id: &str,
        secret: &str,
        http: S,
    ) -> Result<Self, oauth2::url::ParseError> {
        let client = BasicClient::new(ClientId::new(id.into()))
            .set_client_secret(ClientSecret::new(secret.into()))
            .set_token_uri(TokenUrl::new(token_url.into())?);
        Ok(Self {
            client,
            scopes: Vec::new(),
            http,
        })
    }

    pub fn scope(mut self, scope: &str) -> Self {
        self.scopes.push(Scope::new(scope.into()));
        self
    }
}

impl<S> TokenSource for OAuth2Crate<S>
where
    S: Service<Request<Vec<u8>>, Response = Response<Vec<u8>>, Error = BoxError>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn token(&self, _: &Cause) -> Result<Grant, TokenError> {
        let http = |request| {
            let response = self.http.clone().oneshot(request);
            async move { response.await.map_err(Failed) }
        };
        let scopes = self.scopes.iter().cloned();
        let request = self.client.exchange_client_credentials().add_scopes(scopes);
        let reply = request.request_async(&http).await.map_err(meaning)?;
        let grant = Grant::new(reply.access_token().secret().as_str());
        Ok(match reply.expires_in() {
            Some(lifetime) => grant.expires_in(lifetime),
            None => grant,
        })
    }
}

/// What the server refused does not become right; anything else may pass.
fn meaning<T>(error: RequestTokenError<Failed, T>) -> TokenError
where
    T: oauth2::ErrorResponse + Send + Sync + 'static,
{
    let failure = match error {
        RequestTokenError::ServerResponse(_) => TokenError::rejected("the server said no"),
        _ => TokenError::transient("no usable reply from the token endpoint"),
    };
    failure.caused_by(error)
}

/// `oauth2` wants an error type, and a boxed error is none.
#[derive(Debug)]
pub struct Failed(BoxError);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use tower_outbound::{
        test_util::{CLIENT_ID, CLIENT_SECRET, LoopbackCloud},
        token::TokenCache,
    };

    use super::*;

    async fn token(secret: &str) -> Result<usize, TokenError> {
        let cloud = LoopbackCloud::builder().start().await.unwrap();
        let client = cloud.client::<Full<Bytes>>();
        let http = tower::service_fn(move |request: Request<Vec<u8>>| {
            let client = client.clone();
            async move {
                let (parts, body) = client.oneshot(request.map(Full::from)).await?.into_parts();
                let body = body.collect().await?.to_bytes().to_vec();
                Ok::<_, BoxError>(Response::from_parts(parts, body))
            }
        });
        let source = OAuth2Crate::new(&cloud.token_url(), CLIENT_ID, secret, http).unwrap();
        let tokens = TokenCache::new(source);
        tokens.token().await?;
        tokens.token().await?;
        Ok(cloud.mints())
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once() {
        assert_eq!(token(CLIENT_SECRET).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_wrong_secret_is_not_tried_again() {
        assert!(token("wrong").await.unwrap_err().is_rejected());
    }
}
