//! tower-outbound with what other crates have, one a file: copy the one that you need.
//!
//! [`reqwest_client`] puts the layers between reqwest's builders and reqwest's client.
//!
//! The others are sources of tokens. What they have in common: the other crate knows how to log
//! in, and [`TokenCache`] keeps what it gets. Where the other crate has a cache of its own, it may
//! hand out a token once more that a server has refused; `TokenCache` sees that, and says so in
//! place of trying it for ever.
//!
//! [`TokenCache`]: tower_outbound::token::TokenCache

pub mod azure;
pub mod google;
pub mod oauth2_crate;
pub mod reqwest_client;
