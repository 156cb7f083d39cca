//! Stores: one login, shared by processes.
//!
//! ```
//! use tower_outbound::store::{FileStore, Session, Swap, TokenStore, Version};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("store-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let store = FileStore::new(directory.join("login.json"));
//!
//! // Once, after the user has logged in in a browser:
//! let login = Session::new("the refresh token");
//! let present = store.load().await?.version;
//! assert!(matches!(store.swap(present, &login).await?, Swap::Written(_)));
//!
//! // Any program on this machine, from then on:
//! let stored = store.load().await?;
//! assert!(stored.version > Version::NONE);
//! assert!(stored.session.is_some_and(|session| session.refresh_token().is_some()));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! A refresh token that rotates can be spent once. Two processes that hold the same one end the
//! login: the server takes the second for a thief. So they share what they hold in a
//! [`TokenStore`]: whoever renews takes the lease, reads again, and writes what the server granted
//! before it is used.
//!
//! Two token sources do so: a [`Login`](crate::oauth2::Login), and [`Shared`] for tokens of any other
//! source.
//!
//! | store | for | shared by |
//! |---|---|---|
//! | [`FileStore`] | command-line tools, daemons, jobs | processes of one machine |
//! | [`MemoryStore`] | tests, several caches with one login | clones |
//!
//! For anything else, implement [`TokenStore`]; with the feature `test-util`, `store::conformance`
//! tells whether it keeps its promises.
//!
//! # Clone
//!
//! Clones of a store share what is stored. So do two [`FileStore`]s of one path, in one process or
//! in two.
//!
//! # Cancellation
//!
//! A write that has begun goes on when its future is dropped. A lease that comes after its future
//! was dropped is released.
//!
//! # Errors
//!
//! A [`StoreError`] is transient, unless what is stored is [damaged](StoreError::is_damaged): then
//! somebody has to restore it, or to delete it and log in again. Nothing that is damaged is ever
//! overwritten.

mod contract;
mod error;
mod file;
mod keeper;
mod memory;
mod session;
mod shared;

#[cfg(feature = "test-util")]
mod conformance;

#[cfg(feature = "test-util")]
pub use self::conformance::conformance;
pub(crate) use self::keeper::{Asking, Keeper, Mint};
pub use self::{
    contract::{Lease, Stored, Swap, TokenStore, Version},
    error::StoreError,
    file::FileStore,
    memory::MemoryStore,
    session::Session,
    shared::Shared,
};
