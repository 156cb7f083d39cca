//! Token sources that speak OAuth 2.0, over an HTTP client of yours.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{BoxError, service_fn};
//! use tower_outbound::{
//!     oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
//!     token::TokenCache,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Stands for an HTTP client, and a server that grants.
//! let http = service_fn(|request: Request<Full<Bytes>>| async move {
//!     assert_eq!(request.headers()["authorization"], "Basic aWQ6c2VjcmV0");
//!     let reply = r#"{"access_token":"a token","token_type":"bearer","expires_in":3600}"#;
//!     Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(reply))))
//! });
//!
//! let url = "https://login.example.com/oauth/token";
//! let login = TokenEndpoint::new(url, "id", ClientAuth::basic("secret"), http)?;
//! let tokens = TokenCache::new(login.grant(ClientCredentials).scope("users:read"));
//! assert_eq!(tokens.token().await?.secret().expose(), "a token");
//! # Ok(())
//! # }
//! ```
//!
//! Requests are form-encoded, and replies are read tolerantly, up to 1 MiB: `expires_in` may be absent, a
//! string or a fraction, `token_type` may be written in any case. A redirect is an error: the request
//! carries a secret.
//!
//! # Errors
//!
//! A [`TokenError`](crate::token::TokenError) whose message names the endpoint, the status and what the
//! server said, never a secret. What it means, [`ErrorReply::kind`] says, or a function in its place.

mod client_auth;
mod discovery;
#[cfg(feature = "jwt")]
pub mod dpop;
mod endpoint;
#[cfg(feature = "github")]
mod github_app;
mod grant;
mod http_client;
#[cfg(feature = "jwt")]
pub mod jwt;
mod login;
mod parameters;
mod request;
mod response;
mod revocation;

#[cfg(feature = "github")]
pub use self::github_app::GithubApp;
#[cfg(feature = "jwt")]
pub use self::grant::JwtBearer;
#[cfg(feature = "pkce")]
pub use self::grant::{AuthorizationCode, AuthorizationRequest, CallbackError};
pub use self::{
    client_auth::ClientAuth,
    discovery::Metadata,
    endpoint::TokenEndpoint,
    grant::{ClientCredentials, GrantType, LogIn, RefreshToken, Saml2Bearer, TokenExchange},
    login::Login,
    parameters::Parameters,
    request::TokenRequest,
    response::ErrorReply,
    revocation::TokenTypeHint,
};
