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
//! A [`TokenEndpoint`] is where to ask, as which client, with which proof, through which HTTP client. A
//! grant is what is asked with. The [`TokenRequest`] of the two can be for a scope, a resource, an
//! audience; it is a [`TokenSource`](crate::token::TokenSource).
//!
//! | grant | for | |
//! |---|---|---|
//! | [`ClientCredentials`] | a program that acts for itself | RFC 6749, 4.4 |
//! | [`RefreshToken`] | a refresh token that never changes | RFC 6749, 6 |
//! | `JwtBearer` (feature `jwt`) | service accounts with a key: Google, Salesforce | RFC 7523 |
//! | [`Saml2Bearer`] | a user whom an identity provider vouches for | RFC 7522 |
//! | [`TokenExchange`] | a token got elsewhere, such as a workload's | RFC 8693 |
//! | `AuthorizationCode` (feature `pkce`) | a user who has logged in in a browser | RFC 6749, 4.1 |
//! | [`LogIn`] | nothing: a person has to log in | |
//! | your own [`GrantType`] | a vendor's | RFC 6749, 4.5 |
//!
//! A [`Login`] keeps the refresh token that some of them bring, spends it once, and shares it between
//! processes. `GithubApp` (feature `github`) is a source that is no OAuth.
//!
//! | the client proves itself | by | |
//! |---|---|---|
//! | [`ClientAuth::basic`], [`raw_basic`](ClientAuth::raw_basic), [`body`](ClientAuth::body) | a secret | RFC 6749, 2.3.1 |
//! | `ClientAuth::private_key_jwt`, `client_secret_jwt` (feature `jwt`), [`assertion`](ClientAuth::assertion) | a signed assertion | RFC 7523 |
//! | [`ClientAuth::tls`] | its TLS certificate | RFC 8705 |
//! | [`ClientAuth::none`] | nothing: it is public | RFC 6749, 3.2.1 |
//!
//! Where the server offers it, choose a signed assertion or a certificate: no secret then leaves this
//! machine ([RFC 9700, section 2.5](https://www.rfc-editor.org/rfc/rfc9700#section-2.5)). With `dpop`
//! (feature `jwt`), tokens that leak are worth nothing to who finds them.
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
