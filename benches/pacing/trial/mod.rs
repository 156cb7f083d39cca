//! Runs that are no jobs: a storm after an outage, a token endpoint that is down, one request among many.

pub mod interactive;
pub mod storm;
pub mod token_endpoint;
