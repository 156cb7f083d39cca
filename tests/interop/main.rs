//! Tokens from authorization servers that others wrote: the standards as somebody else reads them.
//!
//! ```sh
//! cargo test --test interop -- --ignored
//! ```
//!
//! They need what `.ci/run` puts below `target/interop/`: oidc-provider with the Node that it asks
//! for, Authlib, and the SDK of Genesys Cloud. Every test starts a server of its own, on ports that the system picks, and
//! stops it. Where tokens have to end, they live for three seconds of real time; counts are
//! asserted, times are not.

#[path = "../../examples/egress_gateway/gateway/mod.rs"]
mod gateway;

mod authlib;
mod calls;
mod clients;
mod dpop;
mod genesys_sdk;
mod logins;
mod oidc_provider;
mod process;
mod tokens;
