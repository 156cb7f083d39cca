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

pub mod order;
