use std::sync::Arc;

use super::{GrantType, RefreshToken, TokenEndpoint, TokenRequest, TokenTypeHint};
use crate::{
    observe::Observer,
    store::{Asking, Keeper, Mint, Session, TokenStore},
    time,
    token::{Attach, Cause, Grant, Secret, TokenError, TokenSource},
};

/// A login that lasts: its tokens are refreshed while there is a refresh token, and kept in a store
/// that processes can share.
///
/// ```no_run
/// use tower_outbound::{
///     oauth2::{Login, LogIn, TokenEndpoint},
///     store::FileStore,
///     token::TokenCache,
/// };
///
/// # fn tokens(endpoint: TokenEndpoint) -> TokenCache {
/// // A daemon: a person logs in once, with a program that calls `log_in`.
/// let login = Login::new(endpoint.grant(LogIn), FileStore::new("/var/lib/exporter/login.json"));
/// TokenCache::new(login)
/// # }
/// ```
///
/// If the grant is [`LogIn`](super::LogIn), nothing but a person can begin a session. With any other,
/// a token is minted afresh when there is no refresh token, or the server takes it no more.
///
/// # Rotation
///
/// Servers that rotate refresh tokens take each only once, and many end the session when one comes
/// twice. So it is spent by one at a time, whichever process he is in: he takes the store's lease, reads
/// again, and adopts a newer token if a sibling has brought one. Otherwise he writes down that he is about
/// to spend it, sends it, and writes down what comes back before anybody uses it. A reply without a
/// refresh token leaves the old one good.
///
/// | what happens | what is done |
/// |---|---|
/// | whoever waits for the token goes away, or gives up | the renewal goes on, and its result is stored |
/// | the reply is cut, or does not come | the old one is tried again: it may not have got there, and many servers take it for a while longer |
/// | the process dies between sending and storing | the next one finds that written down, and tries the old one again |
/// | the store cannot be written | the tokens are used all the same, and written as soon as that works |
/// | `invalid_grant` | the store is read once more, in case a sibling was faster; otherwise the session has ended |
/// | `invalid_grant` on a 5xx | is not believed |
///
/// When the session has ended, the error [says so](TokenError::is_login_required), with the server's reason.
/// It is written down: from then on everybody who shares the store gets the error at once, and the server
/// is not asked, until somebody logs in again.
///
/// # Clone
///
/// A login belongs to one [`TokenCache`](crate::token::TokenCache), which knows which token it gave out
/// last; its clones are for logging in and out. Two caches of one process take two logins, over clones
/// of one store.
#[derive(Clone, Debug)]
pub struct Login {
    keeper: Keeper,
    endpoint: TokenEndpoint,
}

impl Login {
    /// Tokens by this request, kept in this store.
    ///
    /// Its scope, resource, audience and other parameters go along with the refresh token, too; whoever
    /// shares the store must ask for the same. A stored token that lacks a
    /// [required scope](TokenRequest::require_scope) is not used.
    pub fn new(request: TokenRequest, store: impl TokenStore) -> Self {
        let endpoint = request.endpoint().clone();
        Self {
            keeper: Keeper::new(store, request),
            endpoint,
        }
    }

    /// Tells this one what happens to the session. Can be repeated.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.keeper = self.keeper.observer(observer);
        self
    }

    /// Begins a session: asks for a token by this grant, once, and stores it with the refresh token
    /// that comes along, whatever was stored before.
    ///
    /// A [`TokenCache`](crate::token::TokenCache) that has a token goes on with it;
    /// [`clear`](crate::token::TokenCache::clear) it if the new login is somebody else's.
    ///
    /// # Errors
    /// If there is none, or no refresh token with it. Nothing is stored then.
    pub async fn log_in(&self, grant: impl GrantType) -> Result<(), TokenError> {
        let asked = time::wall();
        let request = self.endpoint.grant(grant);
        let grant = request.token(&Cause::Requested).await?;
        self.keeper.log_in(grant, asked).await
    }

    /// Ends the session: revokes the refresh token if the endpoint has a
    /// [`revocation_url`](TokenEndpoint::revocation_url), and takes it out of the store.
    ///
    /// # Errors
    /// If the server cannot be reached, or says no; then the session goes on.
    pub async fn log_out(&self) -> Result<(), TokenError> {
        let endpoint = &self.endpoint;
        let revoke = |session: Session| async move {
            match session.refresh_token() {
                Some(token) if endpoint.revocation().is_some() => {
                    endpoint.revoke(token, TokenTypeHint::RefreshToken).await
                }
                _ => Ok(()),
            }
        };
        self.keeper.log_out(revoke).await
    }
}

impl TokenSource for Login {
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        self.keeper.token(cause).await
    }
}

impl Mint for TokenRequest {
    fn refresh<'a>(&'a self, refresh_token: &'a Secret, cause: &'a Cause) -> Option<Asking<'a>> {
        let grant = RefreshToken::new(refresh_token.clone());
        Some(Box::pin(async move { self.ask_by(&grant, cause).await }))
    }

    fn mint<'a>(&'a self, cause: &'a Cause) -> Asking<'a> {
        Box::pin(self.token(cause))
    }

    fn attach(&self) -> Option<Arc<dyn Attach>> {
        self.endpoint().attach()
    }

    fn accepts(&self, grant: &Grant) -> bool {
        self.suffices(grant)
    }
}
