use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;

use super::TokenCache;
use crate::{mark::Tenant, time};

/// A [`TokenCache`] for each tenant, made when it is first asked for.
///
/// Tenants share nothing: no token, no renewal, no cool-down. Whose turn it is, the token layer sees by the
/// [`Tenant`] on a request: [`TokenRefreshLayer::keyed`](crate::token_refresh::TokenRefreshLayer::keyed).
///
/// ```
/// use tower_outbound::{
///     mark::Tenant,
///     token::{Grant, KeyedTokenCache, TokenCache, source_fn},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_outbound::token::TokenError> {
/// let tokens = KeyedTokenCache::new(|tenant: &Tenant| {
///     let name = tenant.as_str().to_owned();
///     TokenCache::new(source_fn(move |_cause| {
///         let token = format!("a token of {name}");
///         async { Ok(Grant::new(token)) }
///     }))
/// });
///
/// let token = tokens.of(&Tenant::new("acme")).token().await?;
/// assert_eq!(token.secret().expose(), "a token of acme");
/// # Ok(())
/// # }
/// ```
///
/// # Defaults
///
/// | | | why |
/// |---|---|---|
/// | tenants remembered | 10,000 | a few megabytes; beyond, the one that was idle the longest goes |
/// | forgotten when idle for | an hour | as long as many tokens live |
///
/// A tenant that is forgotten and comes back has a token minted anew. Requests that are under way
/// keep the cache that they have. No task runs: who is idle is forgotten when somebody else is asked for.
///
/// # Clone
///
/// Clones share all caches.
#[derive(Clone)]
pub struct KeyedTokenCache(Arc<Shared>);

struct Shared {
    make: Box<Make>,
    idle: Duration,
    caches: Mutex<LruCache<Tenant, Entry>>,
}

type Make = dyn Fn(&Tenant) -> TokenCache + Send + Sync;

struct Entry {
    tokens: TokenCache,
    used: Instant,
}

impl KeyedTokenCache {
    /// Caches that this function makes, one for each tenant. It must not block; it is called without a
    /// lock, and may be called twice for a tenant whom two requests meet first at the same moment: one of
    /// the two caches is then dropped unused.
    pub fn new(make: impl Fn(&Tenant) -> TokenCache + Send + Sync + 'static) -> Self {
        Self::bounded(make, MAX_TENANTS, IDLE)
    }

    /// With other bounds: how many tenants are remembered, and for how long when they are idle.
    pub fn bounded(
        make: impl Fn(&Tenant) -> TokenCache + Send + Sync + 'static,
        max_tenants: NonZeroUsize,
        idle: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            make: Box::new(make),
            idle,
            caches: Mutex::new(LruCache::new(max_tenants)),
        }))
    }

    /// The tenant's cache.
    pub fn of(&self, tenant: &Tenant) -> TokenCache {
        let now = time::now();
        let mut forgotten = Vec::new();
        if let Some(tokens) = self.0.known(tenant, now, &mut forgotten) {
            return tokens;
        }
        let made = (self.0.make)(tenant);
        let mut caches = self.0.lock();
        if let Some(entry) = caches.get_mut(tenant) {
            entry.used = now;
            return entry.tokens.clone();
        }
        let entry = Entry {
            tokens: made.clone(),
            used: now,
        };
        let displaced = caches.push(tenant.clone(), entry);
        drop(caches);
        // What a source does when it is dropped is not done under the lock.
        drop((displaced, forgotten));
        made
    }

    /// Forgets a tenant: after a logout, or when its credentials have changed.
    pub fn forget(&self, tenant: &Tenant) {
        let forgotten = self.0.lock().pop(tenant);
        drop(forgotten);
    }

    /// How many tenants are remembered.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether no tenant is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    /// The cache of a tenant who is remembered. Takes out those who have been idle for too long.
    fn known(
        &self,
        tenant: &Tenant,
        now: Instant,
        forgotten: &mut Vec<(Tenant, Entry)>,
    ) -> Option<TokenCache> {
        let mut caches = self.lock();
        while let Some((_, entry)) = caches.peek_lru()
            && now.saturating_duration_since(entry.used) >= self.idle
        {
            forgotten.extend(caches.pop_lru());
        }
        let entry = caches.get_mut(tenant)?;
        entry.used = now;
        Some(entry.tokens.clone())
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Tenant, Entry>> {
        // Every critical section leaves the caches whole, so a panic in one spoils nothing.
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyedTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedTokenCache")
            .field("tenants", &self.len())
            .finish_non_exhaustive()
    }
}

const MAX_TENANTS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::token::{Grant, source_fn};

    const SECOND: Duration = Duration::from_secs(1);

    fn counting(max: usize, idle: Duration) -> (KeyedTokenCache, Arc<AtomicUsize>) {
        let made = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&made);
        let make = move |tenant: &Tenant| {
            count.fetch_add(1, Ordering::SeqCst);
            let name = tenant.as_str().to_owned();
            TokenCache::new(source_fn(move |_| {
                let name = name.clone();
                async { Ok(Grant::new(name)) }
            }))
        };
        let max = NonZeroUsize::new(max).unwrap();
        (KeyedTokenCache::bounded(make, max, idle), made)
    }

    async fn token(tokens: &KeyedTokenCache, tenant: &str) -> String {
        let token = tokens.of(&Tenant::new(tenant)).token().await.unwrap();
        token.secret().expose().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn each_tenant_has_a_cache_of_its_own_made_once() {
        let (tokens, made) = counting(10, 60 * SECOND);
        for _ in 0..3 {
            assert_eq!(token(&tokens, "a").await, "a");
            assert_eq!(token(&tokens.clone(), "b").await, "b");
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!(tokens.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_the_longest_makes_room() {
        let (tokens, made) = counting(2, 60 * SECOND);
        for tenant in ["a", "b", "a", "c", "a"] {
            token(&tokens, tenant).await;
        }
        assert_eq!(tokens.len(), 2);
        assert_eq!(
            made.load(Ordering::SeqCst),
            3,
            "a was never the longest idle"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_is_forgotten_and_whoever_is_not_is_not() {
        let (tokens, made) = counting(10, 60 * SECOND);
        token(&tokens, "a").await;
        token(&tokens, "b").await;
        tokio::time::advance(40 * SECOND).await;
        token(&tokens, "b").await;
        tokio::time::advance(40 * SECOND).await;
        token(&tokens, "b").await;
        assert_eq!(tokens.len(), 1);
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_tenant_begins_anew_and_requests_under_way_keep_what_they_have() {
        let (tokens, made) = counting(10, 60 * SECOND);
        let under_way = tokens.of(&Tenant::new("a"));
        tokens.forget(&Tenant::new("a"));
        assert!(tokens.is_empty());
        under_way.token().await.unwrap();
        token(&tokens, "a").await;
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_asks_for_another_tenant_does_not_lock_itself_out() {
        let inner = Arc::new(std::sync::OnceLock::<KeyedTokenCache>::new());
        let own = Arc::clone(&inner);
        let tokens = KeyedTokenCache::new(move |tenant| match tenant.as_str() {
            "child" => own.get().unwrap().of(&Tenant::new("parent")),
            _ => TokenCache::new(source_fn(|_| async { Ok(Grant::new("of the parent")) })),
        });
        inner.set(tokens.clone()).unwrap();
        assert_eq!(token(&tokens, "child").await, "of the parent");
    }
}
