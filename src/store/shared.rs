use std::sync::Arc;

use super::{Asking, Keeper, Mint, TokenStore};
use crate::{
    observe::Observer,
    token::{Attach, Cause, Grant, Secret, TokenError, TokenSource},
};

/// Tokens of any source, shared by processes: one asks, the others use what it was given.
///
/// For servers that count tokens, or kill the older ones: ten processes of one client then have one
/// token between them, not ten.
///
/// ```no_run
/// use tower_outbound::{
///     store::{FileStore, Shared},
///     token::{Grant, TokenCache, source_fn},
/// };
///
/// let source = source_fn(|_cause| async { Ok(Grant::new("what the server granted")) });
/// let store = FileStore::new("/run/exporter/token.json");
/// let tokens = TokenCache::new(Shared::new(source, store));
/// ```
///
/// A refresh token that comes with a grant is stored, but nobody spends it: that is what a
/// [`Login`](crate::oauth2::Login) does.
///
/// # Clone
///
/// It belongs to one [`TokenCache`](crate::token::TokenCache), like a login. Two caches of one process
/// take two, over clones of one store.
#[derive(Clone, Debug)]
pub struct Shared(Keeper);

impl Shared {
    /// Tokens of this source, kept in this store.
    ///
    /// Tokens that are bound to a key are not shared: [`Login`](crate::oauth2::Login) does that too.
    pub fn new(source: impl TokenSource, store: impl TokenStore) -> Self {
        Self(Keeper::new(store, Afresh(source)))
    }
}

impl Shared {
    /// Tells this one when the store fails. Can be repeated.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.0 = self.0.observer(observer);
        self
    }
}

impl TokenSource for Shared {
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        self.0.token(cause).await
    }
}

/// Asks a source each time.
struct Afresh<T>(T);

impl<T: TokenSource> Mint for Afresh<T> {
    fn refresh<'a>(&'a self, _: &'a Secret, _: &'a Cause) -> Option<Asking<'a>> {
        None
    }

    fn mint<'a>(&'a self, cause: &'a Cause) -> Asking<'a> {
        Box::pin(self.0.token(cause))
    }

    fn attach(&self) -> Option<Arc<dyn Attach>> {
        None
    }

    fn accepts(&self, _: &Grant) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;
    use crate::{
        store::MemoryStore,
        token::{TokenCache, source_fn},
    };

    fn processes(count: usize, minted: &Arc<AtomicUsize>) -> Vec<TokenCache> {
        let store = MemoryStore::new();
        let process = |_| {
            let minted = Arc::clone(minted);
            let source = source_fn(move |_| {
                let count = minted.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    Ok(Grant::new(format!("token {count}")).expires_in(Duration::from_secs(3600)))
                }
            });
            TokenCache::new(Shared::new(source, store.clone()))
        };
        (0..count).map(process).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_processes_have_one_token_between_them() {
        let minted = Arc::default();
        let processes = processes(10, &minted);
        for round in 1..=3 {
            let tokens = join_all(processes.iter().map(TokenCache::token)).await;
            for token in tokens {
                let token = token.unwrap();
                assert_eq!(token.secret().expose(), format!("token {round}"));
            }
            assert_eq!(minted.load(Ordering::SeqCst), round);
            for tokens in &processes {
                tokens.invalidate(&tokens.peek().unwrap());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sees_a_token_refused_late_uses_the_one_that_is_there() {
        let minted = Arc::default();
        let processes = processes(2, &minted);
        for tokens in &processes {
            tokens.token().await.unwrap();
        }
        processes[0].invalidate(&processes[0].peek().unwrap());
        processes[0].token().await.unwrap();
        processes[1].invalidate(&processes[1].peek().unwrap());
        let late = processes[1].token().await.unwrap();
        assert_eq!(late.secret().expose(), "token 2");
        assert_eq!(minted.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_is_an_error_and_frees_the_lease() {
        let store = MemoryStore::new();
        let broken = source_fn(|_| async { panic!("broken") });
        let broken = TokenCache::new(Shared::new(broken, store.clone()));
        let error = broken.token().await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        let fine = source_fn(|_| async { Ok(Grant::new("t")) });
        TokenCache::new(Shared::new(fine, store))
            .token()
            .await
            .unwrap();
    }
}
