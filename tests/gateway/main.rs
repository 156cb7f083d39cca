//! The egress gateway of `examples/egress_gateway/`, over sockets, as programs and upstreams see it.

#[path = "../../examples/egress_gateway/gateway/mod.rs"]
mod gateway;

#[path = "../../examples/egress_gateway/account.rs"]
mod account;
#[path = "../../examples/egress_gateway/recorder.rs"]
mod recorder;
#[path = "../../examples/egress_gateway/stop.rs"]
mod stop;

mod admin;
mod bodies;
mod confinement;
mod credentials;
mod failures;
mod headers;
mod load;
mod process;
mod raw;
mod replays;
mod setup;
mod shutdown;
