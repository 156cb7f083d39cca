use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use http_body::Body;
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    test_util::{
        Client, Gate, Knobs, LoggedRequest, LoopbackCloudBuilder, LoopbackConnector, Reply, User,
        data, gate::Stage, route::Route, shared::Shared,
    },
    time,
};

/// A handle to the two servers; see the [module](crate::test_util).
#[derive(Clone)]
pub struct LoopbackCloud {
    shared: Arc<Shared>,
    connector: LoopbackConnector,
    /// Aborted when the last handle goes.
    _servers: Arc<JoinSet<()>>,
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The authorization server.
    Login,
    /// The API server.
    Api,
}

impl Listener {
    pub(super) fn host(self) -> &'static str {
        match self {
            Self::Login => "login.localhost",
            Self::Api => "api.localhost",
        }
    }

    pub(super) fn by_host(host: &str) -> Option<Self> {
        [Self::Login, Self::Api]
            .into_iter()
            .find(|one| host.eq_ignore_ascii_case(one.host()))
    }
}

/// Starting and reaching the servers.
impl LoopbackCloud {
    /// The settings to start from.
    pub fn builder() -> LoopbackCloudBuilder {
        LoopbackCloudBuilder::new()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        connector: LoopbackConnector,
        servers: JoinSet<()>,
    ) -> Self {
        Self {
            shared,
            connector,
            _servers: Arc::new(servers),
        }
    }

    /// The base URL of the authorization server, without a slash at its end.
    pub fn login_url(&self) -> &str {
        self.shared.login_url()
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.login_url())
    }

    /// The base URL of the API server, without a slash at its end.
    pub fn api_url(&self) -> &str {
        self.shared.api_url()
    }

    /// Connects a client to the servers, over sockets or in memory.
    pub fn connector(&self) -> LoopbackConnector {
        self.connector.clone()
    }

    /// A new hyper client with a connection pool of its own.
    pub fn client<B>(&self) -> legacy::Client<LoopbackConnector, B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        legacy::Client::builder(TokioExecutor::new()).build(self.connector())
    }

    /// How many connections a server has accepted so far.
    pub fn connections(&self, listener: Listener) -> usize {
        self.shared.connections(listener).load(Ordering::Relaxed)
    }
}

/// Telling the servers what to do.
impl LoopbackCloud {
    /// Turns knobs; the next request sees them.
    pub fn configure(&self, change: impl FnOnce(&mut Knobs)) {
        self.shared.configure(change);
    }

    /// Answers the next requests to a route with these replies, one each, before anything else
    /// looks at them. Replies for the same route from several calls queue up.
    ///
    /// A route is `"METHOD /path"` without the query. In the path a segment `*` stands for any one
    /// segment; the method may be `*` or left out; a path of `*` alone is any path, and `"*"` is
    /// every request.
    pub fn script(
        &self,
        listener: Listener,
        route: &str,
        replies: impl IntoIterator<Item = Reply>,
    ) {
        self.shared
            .scripts()
            .add(listener, Route::parse(route), replies);
    }

    /// Answers all requests to a route with this reply, after the [scripted](Self::script) ones
    /// are used up and until [`clear_scripts`](Self::clear_scripts). A later one for the same
    /// request covers an earlier one.
    pub fn script_forever(&self, listener: Listener, route: &str, reply: Reply) {
        self.shared
            .scripts()
            .add_endless(listener, Route::parse(route), reply);
    }

    /// Forgets all scripted replies of both servers.
    pub fn clear_scripts(&self) {
        self.shared.scripts().clear();
    }

    /// How many scripted replies have not been used, without those that go on forever.
    pub fn scripted_replies_left(&self) -> usize {
        self.shared.scripts().waiting()
    }

    /// Holds requests to a route (see [`script`](Self::script) for the pattern) after they are
    /// logged and before anything is decided about them.
    pub fn gate(&self, listener: Listener, route: &str) -> Gate {
        self.shared
            .gates()
            .set(listener, Route::parse(route), Stage::BeforeHandling)
    }

    /// Holds the answers to a route: the requests have had their effects.
    pub fn gate_answers(&self, listener: Listener, route: &str) -> Gate {
        self.shared
            .gates()
            .set(listener, Route::parse(route), Stage::BeforeAnswer)
    }

    /// Adds a client, in place of one with the same id.
    pub fn register(&self, client: Client) {
        self.shared.tokens().register(client);
    }

    /// Disables a client: no token for it any more, and those that it has are dead.
    pub fn remove_client(&self, id: &str) {
        self.shared.tokens().remove_client(id);
    }
}

/// Tokens.
impl LoopbackCloud {
    /// Kills an access token; whether it was known and had not been revoked.
    pub fn revoke(&self, access_token: &str) -> bool {
        self.shared.tokens().revoke(access_token)
    }

    /// Kills all access tokens that are out. Refresh tokens stay.
    pub fn revoke_all(&self) {
        self.shared.tokens().revoke_all();
    }

    /// Every access token that was issued, dead or alive, oldest first.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.shared.tokens().issued().to_vec()
    }

    /// The access tokens that the API takes now, or will after
    /// [`fresh_lag`](Knobs::fresh_lag), oldest first.
    pub fn live_tokens(&self) -> Vec<String> {
        let knobs = self.shared.knobs();
        self.shared.tokens().live(&knobs, time::now())
    }

    /// A new refresh token for a client, as if somebody had signed in.
    pub fn issue_refresh_token(&self, client_id: &str) -> String {
        let mut tokens = self.shared.tokens();
        let session = tokens.begin_session(client_id, true);
        tokens.issue_refresh_token(session)
    }

    /// A new authorization code, as if somebody had signed in: for this redirect URI and, with
    /// PKCE, this S256 challenge.
    pub fn issue_code(
        &self,
        client_id: &str,
        redirect_uri: &str,
        code_challenge: Option<&str>,
    ) -> String {
        self.shared
            .tokens()
            .issue_code(client_id, redirect_uri, code_challenge)
    }
}

/// What happened.
impl LoopbackCloud {
    /// All requests so far, in the order in which their heads arrived.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.shared.log().entries().to_vec()
    }

    /// Forgets the requests so far: the log and the counts below start afresh.
    pub fn clear_log(&self) {
        self.shared.log().clear();
    }

    /// How many `POST`s the token endpoint has seen, answered or not.
    pub fn token_requests(&self) -> usize {
        self.shared
            .log()
            .count(Listener::Login, &Route::parse("POST /oauth/token"))
    }

    /// How many `POST`s the token endpoint has answered 200.
    pub fn mints(&self) -> usize {
        let route = Route::parse("POST /oauth/token");
        let log = self.shared.log();
        let minted = log.matching(Listener::Login, &route);
        minted.filter(|request| request.status == Some(200)).count()
    }

    /// How many requests the API server has seen.
    pub fn api_calls(&self) -> usize {
        self.shared.log().count(Listener::Api, &Route::parse("*"))
    }

    /// How many requests to a route (see [`script`](Self::script) for the pattern) the API server
    /// has seen.
    pub fn api_calls_to(&self, route: &str) -> usize {
        self.shared.log().count(Listener::Api, &Route::parse(route))
    }
}

/// What the organisation holds.
impl LoopbackCloud {
    /// The users that were created through the API and not deleted, oldest first; not those that
    /// were there from the start.
    pub fn users(&self) -> Vec<User> {
        let data = self.shared.data();
        data.users
            .get(data.first_created..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The evaluations that were created through the API, oldest first.
    pub fn evaluations(&self) -> Vec<Value> {
        self.shared.data().evaluations.clone()
    }

    /// The ids of all conversations, in the order of their start.
    pub fn conversation_ids(&self) -> Vec<String> {
        let count = self.shared.data().conversations;
        (0..count).map(data::conversation_id).collect()
    }
}

impl fmt::Debug for LoopbackCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackCloud")
            .field("login_url", &self.login_url())
            .field("api_url", &self.api_url())
            .finish_non_exhaustive()
    }
}
