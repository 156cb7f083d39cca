//! tower-outbound with tokens that other crates get, one a file: copy the one that you need.
//!
//! What they have in common: the other crate knows how to log in, and [`TokenCache`] keeps what it
//! gets. Where the other crate has a cache of its own, it may hand out a token once more that a server
//! has refused; `TokenCache` sees that, and says so in place of trying it for ever.
//!
//! [`TokenCache`]: tower_outbound::token::TokenCache

pub mod azure;
pub mod google;
pub mod oauth2_crate;
