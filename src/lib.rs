#![doc = "tower-outbound"]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod buffer_body;
pub mod header;
pub mod mark;
pub mod oauth2;
pub mod origin;
pub mod outcome;
pub mod preset;
pub mod rate_limit_retry;
pub mod replay;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod token;
pub mod token_refresh;

mod causes;
mod drain;
mod observe;
mod ready;
mod time;
