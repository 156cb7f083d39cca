use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    Lease, Session, Stored, Swap, TokenStore, Version,
    contract::{AnyStore, poll_pause},
};
use crate::{
    observe::{Event, Observer, Observers},
    time,
    token::{Attach, Cause, Grant, Secret, TokenError},
};

/// Gets tokens for all who share a store, one at a time.
///
/// A sibling's newer token is adopted. Otherwise whoever has the lease reads again, writes down that he
/// is about to spend the refresh token, spends it, and writes what came of it before anybody uses it.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    store: Arc<dyn AnyStore>,
    mint: Arc<dyn Mint>,
    memory: Arc<Mutex<Memory>>,
    observers: Observers,
}

/// How tokens are asked for.
pub(crate) trait Mint: Send + Sync {
    /// With this refresh token; `None` if nothing is ever done with one.
    fn refresh<'a>(&'a self, refresh_token: &'a Secret, cause: &'a Cause) -> Option<Asking<'a>>;

    /// Without one.
    fn mint<'a>(&'a self, cause: &'a Cause) -> Asking<'a>;

    /// How the tokens are sent, if not as bearer tokens.
    fn attach(&self) -> Option<Arc<dyn Attach>>;

    /// Whether a token that somebody else has asked for will do.
    fn accepts(&self, grant: &Grant) -> bool;
}

pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Grant, TokenError>> + Send + 'a>>;

/// What one process remembers of its own.
#[derive(Default)]
struct Memory {
    /// The access token that was handed out last: the one that is to be replaced.
    given: Option<Secret>,
    /// What was granted and could not be stored.
    unsaved: Option<Unsaved>,
}

#[derive(Clone)]
struct Unsaved {
    session: Session,
    /// The refresh token that it was granted for.
    spent: Option<Secret>,
}

impl Keeper {
    pub(crate) fn new(store: impl TokenStore, mint: impl Mint + 'static) -> Self {
        Self(Arc::new(Inner {
            store: Arc::new(store),
            mint: Arc::new(mint),
            memory: Arc::default(),
            observers: Observers::default(),
        }))
    }

    pub(crate) fn observer(mut self, observer: impl Observer) -> Self {
        Arc::make_mut(&mut self.0).observers.add(observer);
        self
    }

    /// A token: a sibling's, or a new one.
    ///
    /// The work is a task of its own. Whoever waits for it may give up, be it after a timeout: a refresh
    /// token that has been sent is not called back, and the reply to it is stored whenever it comes.
    pub(crate) async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        let (inner, cause) = (Arc::clone(&self.0), cause.clone());
        let work = tokio::spawn(async move { inner.token(&cause).await });
        let grant = work
            .await
            .unwrap_or_else(|error| match error.try_into_panic() {
                // The cache makes an error of it.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(TokenError::transient("the runtime went away")),
            })?;
        self.0.memory().given = Some(grant.access_token.clone());
        Ok(grant)
    }

    /// Stores a login that has just been made, whatever is there.
    pub(crate) async fn log_in(&self, grant: Grant, asked: SystemTime) -> Result<(), TokenError> {
        if grant.refresh_token.is_none() {
            return Err(TokenError::rejected(
                "the login brought no refresh token; most servers want the scope `offline_access` \
                 for one",
            ));
        }
        let session = Session::empty().granted(&grant, asked);
        self.0.replace(&session).await?;
        self.0.memory().unsaved = None;
        Ok(())
    }

    /// Takes the session out of the store, and hands it to `end` first.
    pub(crate) async fn log_out<F, Fut>(&self, end: F) -> Result<(), TokenError>
    where
        F: FnOnce(Session) -> Fut,
        Fut: Future<Output = Result<(), TokenError>>,
    {
        let (_lease, stored) = self.0.lease().await?;
        if let Some(session) = stored.session {
            end(session).await?;
            self.0.replace(&Session::empty()).await?;
        }
        self.0.memory().unsaved = None;
        Ok(())
    }
}

impl Inner {
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        // Each step has a bound of its own: a wait for others shall not cut the time for the server.
        match in_time(self.turn(cause)).await? {
            Turn::Adopted(grant) => Ok(grant),
            Turn::Mine(_lease) => in_time(self.renewed(cause)).await,
        }
    }

    /// Waits for the lease, or for a token of somebody who has it.
    async fn turn(&self, cause: &Cause) -> Result<Turn, TokenError> {
        loop {
            let stored = self.load().await?;
            if let Some(grant) = self.adopted(&stored, cause) {
                return Ok(Turn::Adopted(grant));
            }
            if let Some(lease) = self.store.lease(LEASE).await? {
                return Ok(Turn::Mine(lease));
            }
            self.store.changed(stored.version).await;
        }
    }

    /// Renews the token, under the lease.
    async fn renewed(&self, cause: &Cause) -> Result<Grant, TokenError> {
        for _ in 0..WRITES {
            // Somebody may have renewed it between the last look and the lease.
            let stored = self.load().await?;
            if let Some(grant) = self.adopted(&stored, cause) {
                return Ok(grant);
            }
            let session = stored.session.unwrap_or(Session::empty());
            if let Some(grant) = self.renew(stored.version, session, cause).await? {
                return Ok(grant);
            }
        }
        Err(TokenError::transient(
            "the token store changes under everyone's hands; do all that write to it take its lease?",
        ))
    }

    /// Asks for a token, under the lease. `None`: the store has changed, so look again.
    async fn renew(
        &self,
        version: Version,
        session: Session,
        cause: &Cause,
    ) -> Result<Option<Grant>, TokenError> {
        let asked = time::wall();
        let spent = session.refresh_token.clone();
        let refreshing = spent
            .as_ref()
            .and_then(|refresh_token| self.mint.refresh(refresh_token, cause));
        let Some(refreshing) = refreshing else {
            let grant = match &session.ended {
                // Another way in may be open all the same.
                Some(reason) => self
                    .mint
                    .mint(cause)
                    .await
                    .map_err(|error| ended(error, reason))?,
                None => self.mint.mint(cause).await?,
            };
            let session = session.granted(&grant, asked);
            self.keep(session, version, spent.as_ref()).await;
            return Ok(Some(grant));
        };

        // If this process dies now, the others know that a reply may have been lost.
        let mut spending = session.clone();
        spending.spending = Some(asked);
        let Swap::Written(version) = self.store.swap(version, &spending).await? else {
            return Ok(None);
        };
        match refreshing.await {
            Ok(grant) => {
                let session = session.granted(&grant, asked);
                self.keep(session, version, spent.as_ref()).await;
                Ok(Some(grant))
            }
            Err(error) if is_final(&error) => self.end(version, session, error, cause).await,
            Err(mut error) => {
                if let Some(rotation) = error.take_rotation() {
                    self.keep(session.rotated(rotation), version, spent.as_ref())
                        .await;
                } else if was_not_spent(&error) {
                    // If this fails, a later error is only more careful than it need be.
                    let _ = self.store.swap(version, &session).await;
                }
                // Otherwise the reply may have been lost. That stays written down, and the old one
                // is tried again: many servers take it for a while, and it may not have got there.
                Err(error)
            }
        }
    }

    /// The server will not take the refresh token any more. `None`: there is another by now, so look
    /// again.
    async fn end(
        &self,
        version: Version,
        session: Session,
        error: TokenError,
        cause: &Cause,
    ) -> Result<Option<Grant>, TokenError> {
        // Did somebody renew it under our hands, or log in?
        let stored = self.load().await?;
        if !is_same(stored.refresh_token(), session.refresh_token()) {
            return Ok(None);
        }
        if session.bound_to.is_some() && !self.has_key_of(&session) {
            // That says nothing of the login, which goes on for whoever has the key.
            let _ = self.store.swap(version, &session).await;
            return Err(TokenError::login_required(
                "the login is bound to another DPoP key than this process has",
            )
            .caused_by(error));
        }
        let reason = match session.spending {
            Some(_) => format!(
                "the reply to an earlier renewal was lost, and the server does not take the old \
                 refresh token again: {error}"
            ),
            None => error.to_string(),
        };
        self.observers.tell(&Event::LoginEnded { reason: &reason });
        let mut over = session;
        (over.refresh_token, over.access_token, over.spending) = (None, None, None);
        over.ended = Some(reason.clone());
        // Whether it can be written or not, the server's word stands.
        let written = self.store.swap(stored.version, &over).await;
        let asked = time::wall();
        match self.mint.mint(cause).await {
            Ok(grant) => {
                let version = match written {
                    Ok(Swap::Written(version)) => version,
                    _ => stored.version,
                };
                self.keep(over.granted(&grant, asked), version, None).await;
                Ok(Some(grant))
            }
            Err(other) if other.is_login_required() => {
                Err(TokenError::login_required(reason).caused_by(error))
            }
            Err(other) => Err(other),
        }
    }

    /// Writes down what was granted, before anybody uses it. If the store is out of reach it is
    /// remembered, and written as soon as it can be.
    async fn keep(&self, session: Session, mut version: Version, spent: Option<&Secret>) {
        for _ in 0..WRITES {
            match self.store.swap(version, &session).await {
                Ok(Swap::Written(_)) => {
                    self.memory().unsaved = None;
                    return;
                }
                Ok(Swap::Moved) => match self.store.load().await {
                    Ok(stored) if is_same(stored.refresh_token(), spent) => {
                        version = stored.version;
                    }
                    // Somebody has another login there, or spent the same token: theirs stands.
                    Ok(_) => return,
                    Err(error) => self.observers.tell(&Event::StoreFailed { error: &error }),
                },
                Err(error) => {
                    self.observers.tell(&Event::StoreFailed { error: &error });
                    tokio::time::sleep(poll_pause()).await;
                }
            }
        }
        self.memory().unsaved = Some(Unsaved {
            session,
            spent: spent.cloned(),
        });
    }

    /// What is stored, with what should be.
    async fn load(&self) -> Result<Stored, TokenError> {
        let stored = self.store.load().await?;
        let Some(unsaved) = self.memory().unsaved.clone() else {
            return Ok(stored);
        };
        if !is_same(stored.refresh_token(), unsaved.spent.as_ref()) {
            self.memory().unsaved = None;
            return Ok(stored);
        }
        match self.store.swap(stored.version, &unsaved.session).await? {
            Swap::Written(version) => {
                self.memory().unsaved = None;
                Ok(Stored {
                    version,
                    session: Some(unsaved.session),
                })
            }
            Swap::Moved => Ok(self.store.load().await?),
        }
    }

    /// The stored access token, if it is another than the one that is to be replaced, and good.
    fn adopted(&self, stored: &Stored, cause: &Cause) -> Option<Grant> {
        let session = stored.session.as_ref()?;
        if !self.has_key_of(session) {
            return None;
        }
        let access_token = session.access_token.as_ref()?;
        let is_first = matches!(cause, Cause::FirstUse);
        if !is_first && is_same(self.memory().given.as_ref(), Some(access_token)) {
            return None;
        }
        let mut grant = Grant::new(access_token.clone());
        if let Some(end) = session.expires_at {
            if end <= time::wall() + SOON_OVER {
                return None;
            }
            grant = grant.expires_at(end);
        }
        if let Some(scope) = &session.scope {
            grant = grant.scope(scope);
        }
        if let Some(attach) = self.mint.attach() {
            grant = grant.attach(attach);
        }
        self.mint.accepts(&grant).then_some(grant)
    }

    /// Whether the key that the tokens are bound to, if they are, is at hand.
    fn has_key_of(&self, session: &Session) -> bool {
        let attach = self.mint.attach();
        let key = attach.as_ref().and_then(|attach| attach.bound_to());
        session.bound_to.as_deref() == key
    }

    /// Waits for the lease.
    async fn lease(&self) -> Result<(Lease, Stored), TokenError> {
        loop {
            let stored = self.load().await?;
            if let Some(lease) = self.store.lease(LEASE).await? {
                return Ok((lease, self.load().await?));
            }
            self.store.changed(stored.version).await;
        }
    }

    /// Writes this, whatever is there.
    async fn replace(&self, session: &Session) -> Result<(), TokenError> {
        loop {
            let stored = self.store.load().await?;
            if let Swap::Written(_) = self.store.swap(stored.version, session).await? {
                return Ok(());
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose turn it is.
enum Turn {
    /// A sibling's: this is his token.
    Adopted(Grant),
    /// This one's, for as long as he holds the lease.
    Mine(Lease),
}

async fn in_time<T>(step: impl Future<Output = Result<T, TokenError>>) -> Result<T, TokenError> {
    let ended = tokio::time::timeout(LEASE, step).await;
    ended.unwrap_or_else(|_| Err(TokenError::timed_out(LEASE)))
}

/// Whether the server says that a refresh token is no good. A code that came with a server error is
/// not final, and an error about the client says nothing of the token.
fn is_final(error: &TokenError) -> bool {
    error.is_rejected() && error.oauth_error() == Some("invalid_grant")
}

/// Whether the server answered without having looked at the refresh token, or having taken it.
fn was_not_spent(error: &TokenError) -> bool {
    error
        .status()
        .is_some_and(|status| status.is_client_error())
}

/// The error of a session that ended earlier: its reason, unless something else is wrong now.
fn ended(error: TokenError, reason: &str) -> TokenError {
    if error.is_login_required() {
        TokenError::login_required(reason)
    } else {
        error
    }
}

fn is_same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    one.map(Secret::expose) == other.map(Secret::expose)
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

/// The longest that one process may take, and others wait for it: twice the bound of a renewal, so that
/// a reply that comes late is stored all the same.
const LEASE: Duration = Duration::from_secs(60);

/// An access token with less life than that is not worth adopting: the grain of `expires_in`.
const SOON_OVER: Duration = Duration::from_secs(1);

/// Tries to write what must not be lost, and looks at a store that others write to. Under a lease the
/// first one does.
const WRITES: u32 = 5;
