//! Request bodies held in memory so that they can be sent again, and error bodies read ahead so that they
//! can be looked at.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Empty, StreamBody};
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use tower_outbound::{
//!     buffer_body::{BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
//!     rate_limit_retry::RateLimitRetryLayer,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let api = ServiceBuilder::new()
//!     .layer(BufferBodyLayer::new().limit(512_000))
//!     .layer(RateLimitRetryLayer::new())
//!     .layer(BufferErrorBodyLayer::new())
//!     .service(service_fn(|request: Request<BufferedBody>| async move {
//!         // Stands for an HTTP client.
//!         assert_eq!(request.into_body().collect().await?.to_bytes(), "streamed");
//!         Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
//!     }));
//!
//! // Any body will do, such as the one that a server received.
//! let body = http_body_util::Full::new(Bytes::from("streamed"));
//! api.oneshot(Request::put("https://api.example.com/").body(body)?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`BufferBodyLayer`] turns any request body into a [`BufferedBody`], of which the layers below can keep
//! a copy. [`BufferErrorBodyLayer`] puts the start of an error response's body into the response's
//! extensions as an [`ErrorBody`]; the body itself still has all of it.
//!
//! # Order
//!
//! `BufferBodyLayer` outermost: what is below it can replay. `BufferErrorBodyLayer` innermost, next to the
//! client: what is above it can look.
//!
//! # Defaults
//!
//! Requests up to 2 MiB, axum's limit, are buffered and larger ones are refused; up to 64 KiB of an
//! error body are read ahead, for up to a second.
//!
//! # Errors
//!
//! [`BodyTooLarge`] if a body is above the limit and [`AboveLimit::PassOnce`] was not chosen; the body's
//! own error if it cannot be read. Nothing was sent in either case.

mod body;
mod error;
mod request;
mod response;

pub use self::{
    body::BufferedBody,
    error::BodyTooLarge,
    request::{AboveLimit, BufferBody, BufferBodyFuture, BufferBodyLayer},
    response::{
        BufferErrorBody, BufferErrorBodyFuture, BufferErrorBodyLayer, ErrorBody, ReadAhead,
    },
};
