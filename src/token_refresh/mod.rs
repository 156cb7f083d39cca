//! Attach a token; when the server refuses it, renew it once for everybody and replay the request.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode, header};
//! use http_body_util::Empty;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use tower_outbound::{
//!     origin::Origins,
//!     token::{Grant, TokenCache, source_fn},
//!     token_refresh::TokenRefreshLayer,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let tokens = TokenCache::new(source_fn(|_cause| async { Ok(Grant::new("secret")) }));
//! let api = ServiceBuilder::new()
//!     .layer(TokenRefreshLayer::new(tokens, Origins::only(["https://api.example.com"])?))
//!     .service(service_fn(|request: Request<Bytes>| async move {
//!         // Stands for an HTTP client.
//!         assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer secret");
//!         Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
//!     }));
//!
//! let request = Request::get("https://api.example.com/users").body(Bytes::new())?;
//! assert_eq!(api.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! A refused request leads to one renewal and one replay. If others were refused with the same token,
//! they share the renewal; if the token has been renewed in the meantime, there is none, only the replay.
//! What is replayed equals what was sent, header order and all; only the credential differs (and
//! [`ResendCount`](crate::mark::ResendCount) among the extensions). A response that
//! refuses the replay too is the caller's.
//!
//! A request passes as it is, without a token, if it goes to an origin that is not in
//! [`Origins`](crate::origin::Origins), if it has the credential header already, or if it is
//! marked [`NoToken`](crate::mark::NoToken).
//!
//! # Order
//!
//! Below [`RateLimitRetryLayer`](crate::rate_limit_retry::RateLimitRetryLayer), so that a request that
//! is sent again after a long wait gets the token of that time. Below a layer that follows redirects too:
//! above it, the token would be carried to wherever a server points. The token source has a client of its
//! own; through this layer it would wait for itself.
//!
//! # Defaults
//!
//! `authorization: Bearer …`; 401 refuses the token, unless the challenge says otherwise; refused responses
//! are read up to 64 KiB and for 100 ms before the replay, so that their connection can carry it.
//!
//! # Tenants
//!
//! One stack serves many: with [`TokenRefreshLayer::keyed`] each request carries the token of the
//! [`Tenant`](crate::mark::Tenant) that it is marked with.
//!
//! # Clone
//!
//! Services made by one layer share its [`TokenCache`](crate::token::TokenCache), and so do layers made
//! with clones of one cache.
//!
//! # Cancellation
//!
//! Dropping a response future never cuts a renewal; it goes on for those who wait, and for the next.
//!
//! # Errors
//!
//! - [`TokenError`](crate::token::TokenError) if there is no token; nothing was sent then. If a token was
//!   refused and could not be renewed, the caller gets the response that refused it, with the error in its
//!   extensions: [`TokenError::of`](crate::token::TokenError::of).
//! - [`MissingOrigin`](crate::origin::MissingOrigin) if the request's URI is relative; nothing was sent.
//! - The inner service's errors, as they are.

mod future;
mod layer;
mod refusal;
mod service;
mod tenants;

pub use self::{future::ResponseFuture, layer::TokenRefreshLayer, service::TokenRefresh};
