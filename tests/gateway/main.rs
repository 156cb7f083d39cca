//! The egress gateway of `examples/egress_gateway/`, over sockets, as programs and upstreams see it.

#[path = "../../examples/egress_gateway/gateway/mod.rs"]
mod gateway;

mod bodies;
mod confinement;
mod credentials;
mod failures;
mod headers;
mod raw;
mod replays;
mod setup;
mod shutdown;
