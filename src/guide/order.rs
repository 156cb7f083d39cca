//! Which layer goes where, and what happens if it does not.
//!
//! From the caller down to the wire, as `ServiceBuilder` reads it:
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_http::{
//!     decompression::DecompressionLayer, follow_redirect::FollowRedirectLayer,
//!     request_id::{MakeRequestUuid, SetRequestIdLayer}, trace::TraceLayer,
//! };
//! use tower_outbound::{
//!     buffer_body::{BufferBodyLayer, BufferErrorBodyLayer},
//!     rate_limit_retry::RateLimitRetryLayer, token::TokenCache, token_refresh::TokenRefreshLayer,
//! };
//! # use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! # use tower_outbound::{buffer_body::BufferedBody, origin::Origins};
//! # fn stack(tokens: TokenCache) -> Result<(), tower::BoxError> {
//! # let origins = Origins::only(["https://api.example.com"])?;
//! # let http = Client::builder(TokioExecutor::new())
//! #     .build::<_, BufferedBody>(HttpConnector::new());
//!
//! let api = ServiceBuilder::new()
//!     .layer(TraceLayer::new_for_http())                      // 1: one span for each call
//!     .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid)) // 1: one id for all attempts
//!     .layer(FollowRedirectLayer::new())                      // 2
//!     .layer(BufferBodyLayer::new())                          // 3
//!     .layer(RateLimitRetryLayer::new())                      // 4
//!     .layer(TokenRefreshLayer::new(tokens, origins))         // 5
//!     .layer(BufferErrorBodyLayer::new())                     // 6
//!     .layer(DecompressionLayer::new())                       // 7
//!     .timeout(Duration::from_secs(30))                       // 8: for one attempt
//!     .concurrency_limit(64)                                  // 8
//!     .service(http);
//! # drop(api);
//! # Ok(())
//! # }
//! ```
//!
//! | | layer | here, because |
//! |---|---|---|
//! | 1 | what is told about a whole call: traces, request ids | all attempts of a call are one thing to its caller; below 5, each would be a thing of its own |
//! | 2 | redirects | what is sent to another server is a new request, and passes the check of origins |
//! | 3 | [`BufferBodyLayer`](crate::buffer_body::BufferBodyLayer) | whatever is below can send the body again |
//! | 4 | [`RateLimitRetryLayer`](crate::rate_limit_retry::RateLimitRetryLayer) | it holds nothing of what is below while it waits |
//! | 5 | [`TokenRefreshLayer`](crate::token_refresh::TokenRefreshLayer) | a request that was held or sent again gets the token of that time |
//! | 6 | [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) | 4 and 5 can read error codes in bodies |
//! | 7 | decompression | 6 reads text, not gzip |
//! | 8 | timeouts, permits | for what is on the wire, and only while it is |
//!
//! `Buffer` goes on top: what an error is, is found through it. `LoadShed` goes next to 8, where its
//! refusal is known as "not sent" and tried again, or on top, where it is the caller's
//! (`tower::load_shed::error::Overloaded`).
//!
//! # Wrong orders
//!
//! Each is tried in `tests/order/`.
//!
//! | wrong | what happens | instead |
//! |---|---|---|
//! | a timeout above 4 | it cuts waits that the server asked for: the call fails (`tower::timeout::error::Elapsed`), and the next one is refused again | mark the request with a [`Deadline`](crate::mark::Deadline): a wait that cannot end in time is not begun, and the refusal comes back at once |
//! | 5 above 4 | after a long wait a request goes out with the token of before: one more 401 and one more replay | 4 above 5 |
//! | redirects below 5 | a token in a header of its own (`x-api-key`) goes to wherever the server points; layers that follow redirects know only `Authorization` | 2 above 5 |
//! | permits above 4 | whoever waits for one server's limit keeps others, for other servers, from being sent | 8 below 4 |
//! | `Buffer` below 5 | what queues in it has its token already, which may be over when its turn comes: one more 401 and one more replay each | `Buffer` on top, 8 as it is: permits are waited for before the token is attached |
//! | traces and request ids below 4 | each attempt has a span and an id of its own: nobody sees that they are one call | 1 on top |
//! | decompression above 6 | predicates look for error codes in gzip: a 401 about the address leads to a renewal | 7 below 6 |
//! | 6 above 4 and 5 | they do not see error codes: a 401 about the address leads to a renewal | 6 below 5 |
//! | two of 4 | the inner one hands back what it has given up on, and the outer one knows: it does not begin anew | one |
