use std::{fmt, future::Future, pin::Pin, time::Duration};

use super::{Session, StoreError};
use crate::token::Secret;

/// What processes share: one login.
///
/// A store holds one [`Session`] and counts its [`Version`]s. Writing is compare and swap, so that
/// nobody overwrites what he has not read; a [lease](Self::lease) keeps others from spending the
/// same refresh token meanwhile.
///
/// The lease saves work and refresh tokens, the swap saves what is stored: nothing is lost where a
/// lease ends too early.
///
/// `store::conformance` (feature `test-util`) tests an implementation against this contract.
///
/// # Cancellation
///
/// A future that is dropped may do its work all the same, or not: a lease that nobody got is
/// released, a write may have happened.
pub trait TokenStore: Send + Sync + 'static {
    /// What is stored now, and its version.
    ///
    /// # Errors
    /// The store is out of reach, or what it holds is unreadable. A store in which nothing was ever
    /// put is no error.
    fn load(&self) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Writes `session` if the version is still `expected`, all of it or nothing. It is durable
    /// when this returns.
    ///
    /// The new version is greater than `expected`, and was never seen before: not even if what was
    /// stored has been deleted since.
    ///
    /// # Errors
    /// It may or may not have been written; [`load`](Self::load) tells. What is unreadable is never
    /// overwritten.
    fn swap(
        &self,
        expected: Version,
        session: &Session,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// Takes the lease; `None` if somebody has it.
    ///
    /// Nobody else gets it before `bound` is over or the [`Lease`] is dropped. After `bound` others
    /// may take it, so that a holder that hangs blocks nobody for longer. A holder that dies
    /// without dropping it may block others until then, but no longer.
    ///
    /// # Errors
    /// The store is out of reach. Nobody holds a lease because of it.
    fn lease(
        &self,
        bound: Duration,
    ) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Returns when the version may no longer be `seen`, or the lease may be free: what one waits
    /// for who was not given the lease.
    ///
    /// It may return early, and must not return late by more than a moment. The default sleeps for
    /// about 50 ms: less than a person notices or a token request takes, and twenty small reads a
    /// second cost nothing. Jitter keeps a crowd from looking at the same time.
    fn changed(&self, seen: Version) -> impl Future<Output = ()> + Send {
        let _ = seen;
        tokio::time::sleep(poll_pause())
    }
}

/// What a store holds.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// The login; `None` if nothing was ever stored.
    pub session: Option<Session>,
}

impl Stored {
    pub(crate) fn refresh_token(&self) -> Option<&Secret> {
        self.session.as_ref()?.refresh_token()
    }

    /// What a store holds in which nothing was ever put.
    pub const NOTHING: Self = Self {
        version: Version::NONE,
        session: None,
    };
}

/// Tells one state of a store from another. Versions grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Nothing was ever stored.
    pub const NONE: Self = Self(0);

    /// The version of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1)) // nobody counts that far
    }
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swap {
    /// It is stored, as this version.
    Written(Version),
    /// Somebody else wrote meanwhile, and nothing was changed: load again.
    Moved,
}

/// Keeps others from renewing what a store holds, until it is dropped.
#[must_use = "a lease is released when it is dropped"]
pub struct Lease {
    release: Option<Box<dyn FnOnce() + Send>>,
}

impl Lease {
    /// A lease that is released by calling this when it is dropped.
    ///
    /// The function must not block, and must not release a lease that somebody else has taken
    /// since.
    pub fn new(on_drop: impl FnOnce() + Send + 'static) -> Self {
        Self {
            release: Some(Box::new(on_drop)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// `TokenStore` behind a pointer: what a source holds.
pub(crate) trait AnyStore: Send + Sync {
    fn load(&self) -> Answer<'_, Stored>;
    fn swap<'a>(&'a self, expected: Version, session: &'a Session) -> Answer<'a, Swap>;
    fn lease(&self, bound: Duration) -> Answer<'_, Option<Lease>>;
    fn changed(&self, seen: Version) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

impl<S: TokenStore> AnyStore for S {
    fn load(&self) -> Answer<'_, Stored> {
        Box::pin(TokenStore::load(self))
    }

    fn swap<'a>(&'a self, expected: Version, session: &'a Session) -> Answer<'a, Swap> {
        Box::pin(TokenStore::swap(self, expected, session))
    }

    fn lease(&self, bound: Duration) -> Answer<'_, Option<Lease>> {
        Box::pin(TokenStore::lease(self, bound))
    }

    fn changed(&self, seen: Version) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(TokenStore::changed(self, seen))
    }
}

/// From three to five quarters of [`POLL`].
pub(crate) fn poll_pause() -> Duration {
    POLL * fastrand::u32(75..=125) / 100
}

/// Less than a person notices, and less than a token request usually takes.
const POLL: Duration = Duration::from_millis(50);
