//! Quota servers, the least time that a job can take against them, and a run of a client in virtual time.
//!
//! Nothing here knows `tower-outbound`: another package may include this folder with `#[path]` and put any
//! client in front of a [`Server`](server::Server). Names inside are relative, so it may sit anywhere.

pub mod clock;
pub mod figures;
pub mod ideal;
pub mod latency;
pub mod run;
pub mod scenario;
pub mod server;
