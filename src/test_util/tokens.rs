//! Remember: clients, access tokens, refresh tokens and authorization codes.

use std::{collections::HashMap, fmt, time::Duration};

use http::Method;
use tokio::time::Instant;

use crate::{
    test_util::{Knobs, route::Route},
    time,
};

/// An OAuth client that the authorization server knows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tower_outbound::test_util::{Client, LoopbackCloud};
///
/// let reader = Client::new("reader", "s3cr3t")
///     .token_lifetime(Duration::from_secs(300))
///     .deny("POST /api/v2/users", "directory:user:add");
/// let cloud = LoopbackCloud::builder().register(reader).start_in_memory();
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    id: String,
    secret: String,
    token_lifetime: Option<Duration>,
    grant_types: Vec<String>,
    denied: Vec<(Route, String)>,
}

impl Client {
    /// A client that may do everything. Id and secret may hold any characters.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            token_lifetime: None,
            grant_types: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Its tokens live so long, instead of [`Knobs::token_lifetime`].
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = Some(lifetime);
        self
    }

    /// It may use this grant type, and of the others only those that are named likewise; the rest
    /// is answered `unauthorized_client`. Without a call it may use all.
    pub fn grant_type(mut self, grant_type: impl Into<String>) -> Self {
        self.grant_types.push(grant_type.into());
        self
    }

    /// Its calls to a route (see [`LoopbackCloud::script`](crate::test_util::LoopbackCloud::script)
    /// for the pattern) are answered 403, for want of `permission`.
    pub fn deny(mut self, route: &str, permission: impl Into<String>) -> Self {
        self.denied.push((Route::parse(route), permission.into()));
        self
    }

    pub(super) fn may_use(&self, grant_type: &str) -> bool {
        self.grant_types.is_empty() || self.grant_types.iter().any(|allowed| allowed == grant_type)
    }
}

/// Without the secret.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What the authorization server remembers.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    clients: HashMap<String, Client>,
    access: HashMap<String, Access>,
    /// Every access token that was issued, oldest first.
    issued: Vec<String>,
    refresh: HashMap<String, Refresh>,
    codes: HashMap<String, Code>,
    sessions: u64,
}

#[derive(Debug)]
struct Access {
    session: Session,
    issued: Instant,
    expires: Instant,
    last_used: Instant,
    revoked: bool,
}

/// One sign-in: all the tokens that come from it carry its number.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: String,
    /// Somebody signed in, as opposed to a client on its own behalf.
    pub(super) user: bool,
    number: u64,
}

#[derive(Debug)]
struct Refresh {
    session: Session,
    spent: Option<Instant>,
}

#[derive(Debug)]
struct Code {
    client: String,
    redirect_uri: String,
    challenge: Option<String>,
}

/// An access token that was just made.
#[derive(Debug)]
pub(super) struct Minted {
    pub(super) access_token: String,
    pub(super) lifetime: Duration,
}

impl Tokens {
    pub(super) fn register(&mut self, client: Client) {
        self.clients.insert(client.id.clone(), client);
    }

    /// Its tokens die with it.
    pub(super) fn remove_client(&mut self, id: &str) {
        self.clients.remove(id);
    }

    pub(super) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.get(id)
    }

    pub(super) fn authenticated(&self, id: &str, secret: &str) -> Option<&Client> {
        self.clients
            .get(id)
            .filter(|client| client.secret == secret)
    }

    pub(super) fn begin_session(&mut self, client: &str, user: bool) -> Session {
        self.sessions += 1;
        Session {
            client: client.to_owned(),
            user,
            number: self.sessions,
        }
    }

    pub(super) fn mint(&mut self, session: &Session, knobs: &Knobs, now: Instant) -> Minted {
        let lifetime = self
            .clients
            .get(&session.client)
            .and_then(|client| client.token_lifetime)
            .unwrap_or(knobs.token_lifetime);
        let access_token = secret();
        self.admit(access_token.clone(), session.clone(), lifetime, now);
        if let Some(limit) = knobs.max_live_tokens_per_client {
            self.evict(&session.client, limit, knobs, now);
        }
        Minted {
            access_token,
            lifetime,
        }
    }

    /// Makes the API server know a token, whoever invented it.
    pub(super) fn admit(
        &mut self,
        token: String,
        session: Session,
        lifetime: Duration,
        now: Instant,
    ) {
        let expires = time::after(now, lifetime);
        let access = Access {
            session,
            issued: now,
            expires,
            last_used: now,
            revoked: false,
        };
        self.access.insert(token.clone(), access);
        self.issued.push(token);
    }

    /// Whose call it is, if the API server takes the token.
    pub(super) fn caller(&mut self, token: &str, knobs: &Knobs, now: Instant) -> Option<Session> {
        let access = self.access.get_mut(token)?;
        let lives = access.lives(knobs.idle_timeout, now)
            && self.clients.contains_key(&access.session.client)
            && now >= time::after(access.issued, knobs.fresh_lag);
        if !lives {
            return None;
        }
        access.last_used = now;
        Some(access.session.clone())
    }

    /// The permission that a client lacks for a call.
    pub(super) fn denied(&self, client: &str, method: &Method, path: &str) -> Option<&str> {
        let denied = &self.clients.get(client)?.denied;
        let (_, permission) = denied
            .iter()
            .find(|(route, _)| route.matches(method, path))?;
        Some(permission)
    }

    pub(super) fn revoke(&mut self, token: &str) -> bool {
        let Some(access) = self.access.get_mut(token) else {
            return false;
        };
        !std::mem::replace(&mut access.revoked, true)
    }

    pub(super) fn revoke_all(&mut self) {
        for access in self.access.values_mut() {
            access.revoked = true;
        }
    }

    pub(super) fn revoke_session(&mut self, session: &Session) {
        for access in self.access.values_mut() {
            access.revoked |= access.session.number == session.number;
        }
    }

    pub(super) fn issued(&self) -> &[String] {
        &self.issued
    }

    pub(super) fn live(&self, knobs: &Knobs, now: Instant) -> Vec<String> {
        let lives = |token: &&String| {
            self.access.get(*token).is_some_and(|access| {
                access.lives(knobs.idle_timeout, now)
                    && self.clients.contains_key(&access.session.client)
            })
        };
        self.issued.iter().filter(lives).cloned().collect()
    }

    pub(super) fn issue_refresh_token(&mut self, session: Session) -> String {
        let token = secret();
        self.refresh.insert(
            token.clone(),
            Refresh {
                session,
                spent: None,
            },
        );
        token
    }

    /// The session of a refresh token of this client that has not been spent, or only just; where they
    /// rotate it is spent by this.
    pub(super) fn spend_refresh_token(
        &mut self,
        token: &str,
        client: &str,
        knobs: &Knobs,
        now: Instant,
    ) -> Option<Session> {
        let refresh = self.refresh.get_mut(token)?;
        let is_over = |spent| now >= time::after(spent, knobs.refresh_grace);
        if refresh.spent.is_some_and(is_over) || refresh.session.client != client {
            return None;
        }
        if knobs.rotate_refresh {
            refresh.spent.get_or_insert(now);
        }
        Some(refresh.session.clone())
    }

    pub(super) fn issue_code(
        &mut self,
        client: &str,
        redirect_uri: &str,
        challenge: Option<&str>,
    ) -> String {
        let code = secret();
        let remembered = Code {
            client: client.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.map(str::to_owned),
        };
        self.codes.insert(code.clone(), remembered);
        code
    }

    /// The challenge that a code was bound to. A code is gone after the first try, even a bad one.
    pub(super) fn spend_code(
        &mut self,
        code: &str,
        client: &str,
        redirect_uri: &str,
    ) -> Option<Option<String>> {
        let code = self.codes.remove(code)?;
        (code.client == client && code.redirect_uri == redirect_uri).then_some(code.challenge)
    }

    fn evict(&mut self, client: &str, limit: usize, knobs: &Knobs, now: Instant) {
        let mut live = self.live(knobs, now);
        live.retain(|token| {
            self.access
                .get(token)
                .is_some_and(|access| access.session.client == client)
        });
        for token in live.iter().take(live.len().saturating_sub(limit)) {
            self.revoke(token);
        }
    }
}

impl Access {
    fn lives(&self, idle_timeout: Option<Duration>, now: Instant) -> bool {
        !self.revoked
            && now < self.expires
            && idle_timeout.is_none_or(|idle| now.duration_since(self.last_used) < idle)
    }
}

/// 48 characters that need no encoding anywhere.
pub(super) fn secret() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..48)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}
