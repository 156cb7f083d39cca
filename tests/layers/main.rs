//! The layers over inner services that watch them, under paused time.

mod attach;
mod cancellation;
mod contract;
mod copies;
mod extremes;
mod pacer;
mod probe;
mod rate_limit_retry;
mod replay;
mod secrets;
mod stacks;
mod tenants;
mod token_refresh;
