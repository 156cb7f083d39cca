//! What observers are told, and what metrics count.

#![cfg(feature = "metrics")]

mod counted;
mod told;
mod world;
