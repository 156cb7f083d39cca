#![doc = include_str!("../README.md")]
//!
//! ## Where to look
//!
//! | module | what is there |
//! |---|---|
//! | [`token_refresh`], [`rate_limit_retry`] | the two layers |
//! | [`token`] | sources, the cache that keeps a token fresh, its defaults |
//! | [`oauth2`] | token sources that speak OAuth 2.0 |
//! | [`store`] | one login, shared by processes |
//! | [`buffer_body`], [`replay`] | bodies that can be sent again |
//! | [`mark`], [`outcome`] | what you say about a request, and what the layers say about a response |
//! | [`observe`] | what happened: events, logs, traces, metrics |
//! | [`origin`] | where a token may go |
//! | [`pages`] | listings in pages, as streams |
//! | [`guide`] | which layer goes where, and how to test |
//! | [`backoff`], [`header`] | parts that are of use alone |
//! | [`preset`] | vendors |
#![cfg_attr(
    feature = "test-util",
    doc = "| [`test_util`] | servers to test against |"
)]
#![warn(missing_docs, unreachable_pub, clippy::unwrap_used)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod buffer_body;
pub mod guide;
pub mod header;
pub mod mark;
pub mod oauth2;
pub mod observe;
pub mod origin;
pub mod outcome;
pub mod pages;
pub mod preset;
pub mod rate_limit_retry;
pub mod replay;
pub mod store;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod token;
pub mod token_refresh;

mod causes;
mod drain;
mod ready;
mod time;
