//! Stores: one login, shared by processes.

mod contract;
mod error;
mod keeper;
mod memory;
mod session;

pub(crate) use self::keeper::{Asking, Keeper, Mint};
pub use self::{
    contract::{Lease, Stored, Swap, TokenStore, Version},
    error::StoreError,
    memory::MemoryStore,
    session::Session,
};

#[expect(unused_imports, reason = "no source holds one yet")]
pub(crate) use self::contract::AnyStore;
