use std::{fmt, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Lease, Session, StoreError, Stored, Swap, TokenStore, Version, contract::poll_pause};
use crate::time;

/// A store that ends with the process: for tests, and for caches of one process that share a login.
///
/// Clones share what is stored.
#[derive(Clone)]
pub struct MemoryStore(watch::Sender<State>);

struct State {
    stored: Stored,
    lease: Option<Held>,
    leases: u64,
}

/// A lease that was given out.
#[derive(Clone, Copy)]
struct Held {
    number: u64,
    until: Instant,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self(watch::Sender::new(State {
            stored: Stored::NOTHING,
            lease: None,
            leases: 0,
        }))
    }

    fn write(&self, expected: Version, session: &Session) -> Swap {
        let version = expected.next();
        let written = self.0.send_if_modified(|state| {
            let is_expected = state.stored.version == expected;
            if is_expected {
                state.stored = Stored {
                    version,
                    session: Some(session.clone()),
                };
            }
            is_expected
        });
        if written {
            Swap::Written(version)
        } else {
            Swap::Moved
        }
    }

    fn take(&self, bound: Duration, now: Instant) -> Option<Lease> {
        let mut taken = None;
        self.0.send_if_modified(|state| {
            if state.lease.is_none_or(|held| held.until <= now) {
                state.leases += 1;
                state.lease = Some(Held {
                    number: state.leases,
                    until: time::after(now, bound),
                });
                taken = Some(state.leases);
            }
            false // nobody waits for a lease to be taken
        });
        let number = taken?;
        let store = self.clone();
        Some(Lease::new(move || store.release(number)))
    }

    fn release(&self, number: u64) {
        self.0.send_if_modified(|state| {
            let is_ours = state.lease.is_some_and(|held| held.number == number);
            if is_ours {
                state.lease = None;
            }
            is_ours
        });
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenStore for MemoryStore {
    async fn load(&self) -> Result<Stored, StoreError> {
        Ok(self.0.borrow().stored.clone())
    }

    async fn swap(&self, expected: Version, session: &Session) -> Result<Swap, StoreError> {
        Ok(self.write(expected, session))
    }

    async fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
        Ok(self.take(bound, time::now()))
    }

    /// Waits for a write, and for the end of the lease. While nobody has one, it looks again after
    /// a pause: the lease may have been released just before.
    async fn changed(&self, seen: Version) {
        let mut state = self.0.subscribe();
        let held = state.borrow().lease;
        let latest = held.map_or_else(|| time::after(time::now(), poll_pause()), |held| held.until);
        let number = held.map(|held| held.number);
        let change = state.wait_for(|state| {
            state.stored.version != seen
                || number.is_some() && state.lease.map(|held| held.number) != number
        });
        let _ = timeout_at(latest, change).await;
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("stored", &self.0.borrow().stored)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    fn session() -> Session {
        Session::new("refresh")
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_learns_of_a_write_at_once() {
        let store = MemoryStore::new();
        let _lease = store.lease(BOUND).await.unwrap().unwrap();
        let other = store.clone();
        let start = time::now();
        let waiter = tokio::spawn(async move { other.changed(Version::NONE).await });
        tokio::task::yield_now().await;
        assert_eq!(
            store.swap(Version::NONE, &session()).await.unwrap(),
            Swap::Written(Version::new(1))
        );
        waiter.await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_learns_at_once_that_the_lease_was_released() {
        let store = MemoryStore::new();
        let lease = store.lease(BOUND).await.unwrap().unwrap();
        let other = store.clone();
        let start = time::now();
        let waiter = tokio::spawn(async move { other.changed(Version::NONE).await });
        tokio::task::yield_now().await;
        drop(lease);
        waiter.await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_wakes_when_the_lease_is_overdue_and_gets_it() {
        let store = MemoryStore::new();
        let _hung = store.lease(BOUND).await.unwrap().unwrap();
        let start = time::now();
        store.changed(Version::NONE).await;
        assert_eq!(start.elapsed(), BOUND);
        assert!(store.lease(BOUND).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_released_before_the_waiter_waits_is_not_missed() {
        let store = MemoryStore::new();
        drop(store.lease(BOUND).await.unwrap());
        timeout(Duration::from_secs(1), store.changed(Version::NONE))
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_happened_before_is_seen_at_once() {
        let store = MemoryStore::new();
        let _lease = store.lease(BOUND).await.unwrap().unwrap();
        let _ = store.swap(Version::NONE, &session()).await.unwrap();
        let start = time::now();
        store.changed(Version::NONE).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdue_holder_does_not_release_the_lease_of_the_next() {
        let store = MemoryStore::new();
        let overdue = store.lease(BOUND).await.unwrap().unwrap();
        advance(BOUND).await;
        let next = store.lease(BOUND).await.unwrap().unwrap();
        drop(overdue);
        assert!(store.lease(BOUND).await.unwrap().is_none());
        drop(next);
        assert!(store.lease(BOUND).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_beyond_all_clocks_is_a_century() {
        let store = MemoryStore::new();
        let _lease = store.lease(Duration::MAX).await.unwrap().unwrap();
        assert!(store.lease(BOUND).await.unwrap().is_none());
    }
}
