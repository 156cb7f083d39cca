//! Both layers against the loopback Genesys Cloud: what servers, networks and crowds do to them, and
//! exactly how many requests that costs.
//!
//! Over sockets where only counts and bytes matter, in memory under paused time where time does.

#![allow(clippy::disallowed_methods)] // tests read tokio's clock, paused

mod lifetimes;
mod origins;
mod refusals;
mod replays;
mod sharing;
mod stack;
mod token_endpoint;
mod waits;
