//! Pages to read: how the parts are put together.
//!
//! ```
//! use tower_outbound::rate_limit_retry::RateLimitRetryLayer; // outermost; `order` says why
//! # let _ = RateLimitRetryLayer::new();
//! ```
//!
//! | page | answers |
//! |---|---|
//! | [`order`] | which layer goes where, and what happens if it does not |
//! | [`testing`] | how to test what is built on them |

pub mod order;
pub mod testing;
