//! How to test what you build on this, without a server and without waiting.
//!
//! A stack is a `Service`, so `tower-test` stands in for the HTTP client: the test sees each request that
//! would go out, and answers it. Time is tokio's; paused, an hour's wait takes none.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::{Request, Response, header};
//! use http_body_util::Full;
//! use tokio::time::Instant;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_outbound::{
//!     origin::Origins, rate_limit_retry::RateLimitRetryLayer,
//!     token::{Grant, TokenCache, source_fn}, token_refresh::TokenRefreshLayer,
//! };
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)] // in a test: #[tokio::test(…)]
//! async fn main() {
//!     let (http, mut sent) = tower_test::mock::pair::<Request<Bytes>, Response<Full<Bytes>>>();
//!     let tokens = TokenCache::new(source_fn(|_| async { Ok(Grant::new("a token")) }));
//!     let api = ServiceBuilder::new()
//!         .layer(RateLimitRetryLayer::new())
//!         .layer(TokenRefreshLayer::new(tokens, Origins::any()))
//!         .service(http);
//!
//!     let began = Instant::now();
//!     let request = Request::get("https://api.example.com/users").body(Bytes::new()).unwrap();
//!     let call = tokio::spawn(api.oneshot(request));
//!
//!     let (request, answer) = sent.next_request().await.unwrap();
//!     assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer a token");
//!     let refusal = Response::builder().status(429).header(header::RETRY_AFTER, "3600");
//!     answer.send_response(refusal.body(Full::default()).unwrap());
//!     // Above `max_wait`: the caller gets it at once.
//!     assert_eq!(call.await.unwrap().unwrap().status(), 429);
//!     assert_eq!(began.elapsed(), Duration::ZERO);
//! }
//! ```
//!
//! For whole exchanges over HTTP, the feature `test-util` has a loopback authorization server and API,
//! over sockets or in memory, with scripts of what goes wrong: `test_util`.
//!
//! Three things to remember:
//! - A paused clock jumps ahead whenever nothing else is left to do, sockets included: over real
//!   sockets leave it running, and assert counts, never durations.
//! - A layer value holds what is known of limits. A test that shall begin with nothing makes a new one.
//! - Renewals run in a task of their own. [`TokenCache::settle`](crate::token::TokenCache::settle) waits for
//!   one that is under way.
