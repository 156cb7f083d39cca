//! Logins whose refresh tokens rotate, over stores, against an authorization server on this machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{task::JoinHandle, time::sleep};
use tower::{BoxError, service_fn};
use tower_outbound::{
    oauth2::{
        AuthorizationCode, ClientAuth, ClientCredentials, LogIn, Login, RefreshToken, TokenEndpoint,
    },
    store::{Lease, MemoryStore, Session, StoreError, Stored, Swap, TokenStore, Version},
    test_util::{CLIENT_ID, CLIENT_SECRET, Gate, Listener, LoopbackCloud, Reply},
    token::{Token, TokenCache, TokenError},
};

const TOKEN: &str = "POST /oauth/token";
const REDIRECT: &str = "http://127.0.0.1/back";
const SECOND: Duration = Duration::from_secs(1);

fn cloud() -> LoopbackCloud {
    LoopbackCloud::builder()
        .configure(|knobs| {
            knobs.rotate_refresh = true;
            knobs.token_lifetime = 100 * SECOND;
        })
        .start_in_memory()
}

fn endpoint(cloud: &LoopbackCloud) -> TokenEndpoint {
    let auth = ClientAuth::basic(CLIENT_SECRET);
    TokenEndpoint::new(
        &cloud.token_url(),
        CLIENT_ID,
        auth,
        cloud.client::<Full<Bytes>>(),
    )
    .unwrap()
}

fn code(cloud: &LoopbackCloud) -> AuthorizationCode {
    let code = cloud.issue_code(CLIENT_ID, REDIRECT, None);
    AuthorizationCode::new(code, REDIRECT)
}

/// One process: a login over the shared store, and its cache.
fn process(cloud: &LoopbackCloud, store: impl TokenStore) -> (Login, TokenCache) {
    let login = Login::new(endpoint(cloud).grant(LogIn), store);
    (login.clone(), TokenCache::new(login))
}

/// A process that has logged in, and uses the token that came along.
async fn logged_in(cloud: &LoopbackCloud, store: impl TokenStore) -> TokenCache {
    let (login, tokens) = process(cloud, store);
    login.log_in(code(cloud)).await.unwrap();
    tokens.token().await.unwrap();
    tokens
}

async fn stored_refresh_token(store: &MemoryStore) -> Option<String> {
    let session = store.load().await.unwrap().session?;
    session
        .refresh_token()
        .map(|token| token.expose().to_owned())
}

/// What every refresh request sent, in order.
fn spent(cloud: &LoopbackCloud) -> Vec<String> {
    let forms = cloud.log().into_iter().filter_map(|sent| sent.body);
    forms
        .filter_map(|form| {
            form_urlencoded::parse(&form)
                .find(|(name, _)| name == "refresh_token")
                .map(|(_, token)| token.into_owned())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_token_of_the_login_is_used_and_then_refreshed_with_a_new_refresh_token_each_time() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    tokens.token().await.unwrap();
    assert_eq!(cloud.mints(), 1, "the login brought a token that is good");
    for renewals in 1..=3 {
        let before = stored_refresh_token(&store).await;
        tokens.renew().await.unwrap();
        assert_ne!(stored_refresh_token(&store).await, before);
        assert_eq!(cloud.mints(), 1 + renewals);
        sleep(SECOND).await;
    }
    let mut spent = spent(&cloud);
    let count = spent.len();
    spent.sort();
    spent.dedup();
    assert_eq!(spent.len(), count, "each was spent once");
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_a_refresh_token_leaves_the_old_one_good() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    let old = stored_refresh_token(&store).await;
    for silent in [serde_json::json!(null), serde_json::json!("")] {
        let reply = serde_json::json!({
            "access_token": format!("a {silent}"), "token_type": "bearer", "refresh_token": silent,
        });
        cloud.script(Listener::Login, TOKEN, [Reply::json(200, &reply)]);
        tokens.renew().await.unwrap();
        assert_eq!(stored_refresh_token(&store).await, old);
    }
    tokens.renew().await.unwrap();
    assert_ne!(stored_refresh_token(&store).await, old);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_of_ten_processes_spend_one_refresh_token_once() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let first = logged_in(&cloud, store.clone()).await;
    let mut processes: Vec<_> = (1..10).map(|_| process(&cloud, store.clone()).1).collect();
    processes.push(first);
    for tokens in &processes {
        tokens.token().await.unwrap();
    }
    for round in 1..=3 {
        // The server refuses the token to all of them.
        for tokens in &processes {
            tokens.invalidate(&tokens.peek().unwrap());
        }
        sleep(SECOND).await;
        let callers = (0..100).map(|caller| processes[caller % 10].token());
        for token in join_all(callers).await {
            token.unwrap();
        }
        assert_eq!(cloud.mints(), 1 + round);
    }
    assert_eq!(spent(&cloud).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_by_a_siblings_newer_one() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let one = logged_in(&cloud, store.clone()).await;
    let (_, other) = process(&cloud, store);
    let first = one.token().await.unwrap();
    assert_eq!(
        other.token().await.unwrap().secret().expose(),
        first.secret().expose()
    );
    one.invalidate(&first);
    let newer = one.token().await.unwrap();
    other.invalidate(&other.peek().unwrap());
    assert_eq!(
        other.token().await.unwrap().secret().expose(),
        newer.secret().expose()
    );
    assert_eq!(cloud.mints(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_refresh_token_is_tried_again_when_no_reply_came() {
    for reply in [
        Reply::cut_before_head(),
        Reply::cut_mid_body(),
        Reply::cut_after_processing(),
        Reply::html(503),
    ] {
        let (cloud, store) = (cloud(), MemoryStore::new());
        cloud.configure(|knobs| knobs.refresh_grace = 10 * SECOND);
        let tokens = logged_in(&cloud, store.clone()).await;
        let old = stored_refresh_token(&store).await.unwrap();
        cloud.script(Listener::Login, TOKEN, [reply]);
        tokens.renew().await.unwrap();
        assert_eq!(spent(&cloud), [old.clone(), old]);
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_reply_may_have_been_lost_is_written_down_before_the_token_is_sent() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    let gate = cloud.gate(Listener::Login, TOKEN);
    let renewal = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.renew().await }
    });
    gate.arrived(1).await;
    let json = store.load().await.unwrap().session.unwrap().to_json();
    assert!(
        json.expose().contains(r#""spending":"#),
        "{}",
        json.expose()
    );
    gate.release();
    renewal.await.unwrap().unwrap();
    let json = store.load().await.unwrap().session.unwrap().to_json();
    assert!(!json.expose().contains("spending"));
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_is_told_once_by_the_server_and_then_by_the_store() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    let (_, sibling) = process(&cloud, store.clone());
    // Somebody else has spent it.
    let stolen = stored_refresh_token(&store).await.unwrap();
    let thief = endpoint(&cloud).grant(RefreshToken::new(stolen));
    TokenCache::new(thief).token().await.unwrap();
    let before = cloud.token_requests();

    let error = tokens.renew().await.unwrap_err();
    assert!(
        error.is_login_required() && error.is_rejected(),
        "{error:?}"
    );
    assert!(error.to_string().contains("log in again: "), "{error}");
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    assert_eq!(cloud.token_requests(), before + 1);
    assert_eq!(stored_refresh_token(&store).await, None);

    // Everybody else gets it without a request, and so does this one when it has cooled down.
    assert!(sibling.renew().await.unwrap_err().is_login_required());
    sleep(61 * SECOND).await;
    let again = tokens.renew().await.unwrap_err();
    assert!(again.to_string().contains("invalid_grant"), "{again}");
    assert_eq!(cloud.token_requests(), before + 1);

    // Until somebody logs in again.
    process(&cloud, store.clone())
        .0
        .log_in(code(&cloud))
        .await
        .unwrap();
    tokens.clear();
    tokens.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_died_of_a_lost_reply_says_so() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    cloud.script(Listener::Login, TOKEN, [Reply::cut_mid_body()]);
    let error = tokens.renew().await.unwrap_err();
    assert!(error.is_login_required());
    assert!(
        error
            .to_string()
            .contains("the reply to an earlier renewal was lost"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn invalid_grant_on_a_server_error_keeps_the_session() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    let old = stored_refresh_token(&store).await;
    let outage = || Reply::oauth_error(503, "invalid_grant", "gateway");
    cloud.script(Listener::Login, TOKEN, [outage(), outage(), outage()]);
    let error = tokens.renew().await.unwrap_err();
    assert!(
        error.is_transient() && !error.is_login_required(),
        "{error:?}"
    );
    assert_eq!(stored_refresh_token(&store).await, old);
    sleep(61 * SECOND).await;
    tokens.renew().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_rejections_keep_the_session() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    for code in ["invalid_client", "unauthorized_client", "invalid_scope"] {
        cloud.script(
            Listener::Login,
            TOKEN,
            [Reply::oauth_error(400, code, "no")],
        );
        let error = tokens.renew().await.unwrap_err();
        assert!(
            error.is_rejected() && !error.is_login_required(),
            "{error:?}"
        );
        sleep(61 * SECOND).await;
    }
    assert!(stored_refresh_token(&store).await.is_some());
    let json = store.load().await.unwrap().session.unwrap().to_json();
    assert!(
        !json.expose().contains("spending"),
        "an answer is no lost reply"
    );
    tokens.renew().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_session_the_error_says_that_somebody_has_to_log_in() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let error = process(&cloud, store).1.token().await.unwrap_err();
    assert!(error.is_login_required());
    assert_eq!(error.to_string(), "log in again: there is no session");
    assert_eq!(cloud.token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_a_grant_of_its_own_a_login_mints_afresh_when_it_cannot_refresh() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let login = Login::new(endpoint(&cloud).grant(ClientCredentials), store.clone());
    let tokens = TokenCache::new(login.clone());
    tokens.token().await.unwrap();
    login.log_in(code(&cloud)).await.unwrap();
    tokens.renew().await.unwrap();
    let thief = endpoint(&cloud).grant(RefreshToken::new(
        stored_refresh_token(&store).await.unwrap(),
    ));
    TokenCache::new(thief).token().await.unwrap();
    cloud.clear_log();
    sleep(SECOND).await;
    tokens.renew().await.unwrap();
    let forms: Vec<_> = cloud
        .log()
        .into_iter()
        .filter_map(|sent| sent.body)
        .collect();
    let starts_with = |form: &[u8], start: &str| form.starts_with(start.as_bytes());
    assert!(starts_with(&forms[0], "grant_type=refresh_token"));
    assert!(starts_with(&forms[1], "grant_type=client_credentials"));
    assert_eq!(forms.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_login_without_a_refresh_token_is_none() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let (login, _) = process(&cloud, store.clone());
    let error = login.log_in(ClientCredentials).await.unwrap_err();
    assert!(error.to_string().contains("offline_access"), "{error}");
    assert!(store.load().await.unwrap().session.is_none());
}

#[tokio::test(start_paused = true)]
async fn logging_out_revokes_the_refresh_token_and_forgets_the_session() {
    let revoked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let fails = Arc::new(AtomicBool::new(true));
    let (log, failing) = (Arc::clone(&revoked), Arc::clone(&fails));
    let http = service_fn(move |request: Request<Full<Bytes>>| {
        let (log, failing) = (Arc::clone(&log), Arc::clone(&failing));
        async move {
            use http_body_util::BodyExt;
            let form = request.into_body().collect().await?.to_bytes();
            log.lock().unwrap().push(String::from_utf8(form.to_vec())?);
            let mut response = Response::new(Full::<Bytes>::default());
            if failing.load(Ordering::SeqCst) {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, BoxError>(response)
        }
    });
    let store = MemoryStore::new();
    let written = store.swap(Version::NONE, &Session::new("r")).await.unwrap();
    assert!(matches!(written, Swap::Written(_)));
    let endpoint = TokenEndpoint::new("https://a.test/token", "id", ClientAuth::none(), http)
        .unwrap()
        .revocation_url("https://a.test/revoke")
        .unwrap();
    let login = Login::new(endpoint.grant(LogIn), store.clone());

    assert!(login.log_out().await.unwrap_err().is_transient());
    assert_eq!(stored_refresh_token(&store).await.as_deref(), Some("r"));
    fails.store(false, Ordering::SeqCst);
    login.log_out().await.unwrap();
    assert_eq!(stored_refresh_token(&store).await, None);
    assert_eq!(
        revoked.lock().unwrap()[1],
        "token=r&token_type_hint=refresh_token&client_id=id"
    );
    // A second time there is nothing to revoke.
    login.log_out().await.unwrap();
    assert_eq!(revoked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_after_everybody_has_given_up_is_stored_and_used() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let (login, _) = process(&cloud, store.clone());
    login.log_in(code(&cloud)).await.unwrap();
    let tokens = TokenCache::builder()
        .renewal_timeout(5 * SECOND)
        .build(login);
    tokens.token().await.unwrap();
    let old = stored_refresh_token(&store).await;
    let slow = Reply::token_with(serde_json::json!({})).delay(20 * SECOND);
    cloud.script(Listener::Login, TOKEN, [slow]);
    assert!(tokens.renew().await.unwrap_err().is_timeout());
    sleep(30 * SECOND).await;
    assert_ne!(stored_refresh_token(&store).await, old);
    tokens.renew().await.unwrap();
    assert_eq!(
        cloud.token_requests(),
        2,
        "the late token was adopted, not minted again"
    );
}

/// A store that fails to write while it is told to.
#[derive(Clone)]
struct Failing {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
    swaps: Arc<AtomicUsize>,
    /// Fails only from the second write on: the first says that a token is about to be spent.
    first_is_fine: bool,
}

impl TokenStore for Failing {
    async fn load(&self) -> Result<Stored, StoreError> {
        self.store.load().await
    }

    async fn swap(&self, expected: Version, session: &Session) -> Result<Swap, StoreError> {
        let count = self.swaps.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) && !(self.first_is_fine && count == 0) {
            return Err(StoreError::new("the disk is full"));
        }
        self.store.swap(expected, session).await
    }

    async fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
        self.store.lease(bound).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_used_and_stored_later() {
    let (cloud, memory) = (cloud(), MemoryStore::new());
    let store = Failing {
        store: memory.clone(),
        fails: Arc::default(),
        swaps: Arc::default(),
        first_is_fine: true,
    };
    let tokens = logged_in(&cloud, store.clone()).await;
    tokens.token().await.unwrap();
    let old = stored_refresh_token(&memory).await;
    store.fails.store(true, Ordering::SeqCst);
    store.swaps.store(0, Ordering::SeqCst);
    tokens.renew().await.unwrap();
    assert_eq!(stored_refresh_token(&memory).await, old);
    // The disk has room again: the token that is only remembered goes there, and is spent.
    store.fails.store(false, Ordering::SeqCst);
    sleep(SECOND).await;
    tokens.renew().await.unwrap();
    let mut all = spent(&cloud);
    assert_eq!(all.len(), 2);
    all.dedup();
    assert_eq!(all.len(), 2);
    assert_ne!(stored_refresh_token(&memory).await, old);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spent_that_cannot_be_written_down_first() {
    let (cloud, memory) = (cloud(), MemoryStore::new());
    let store = Failing {
        store: memory,
        fails: Arc::default(),
        swaps: Arc::default(),
        first_is_fine: false,
    };
    let tokens = logged_in(&cloud, store.clone()).await;
    store.fails.store(true, Ordering::SeqCst);
    let error = tokens.renew().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(spent(&cloud).is_empty());
}

#[tokio::test(start_paused = true)]
async fn callers_who_go_away_at_any_time_lose_nothing() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    cloud.configure(|knobs| knobs.login_latency = Duration::from_millis(30));
    for patience in 0..100 {
        let caller = tokens.renew();
        let _ = tokio::time::timeout(Duration::from_millis(patience), caller).await;
        sleep(SECOND).await;
    }
    tokens.settle().await;
    tokens.renew().await.unwrap();
    let mut all = spent(&cloud);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "each was spent once");
}

// ===== others who write to the store =====

/// Puts this in the store, whatever is there.
async fn put(store: &MemoryStore, session: &Session) {
    let version = store.load().await.unwrap().version;
    assert!(matches!(
        store.swap(version, session).await.unwrap(),
        Swap::Written(_)
    ));
}

fn session(json: &str) -> Session {
    Session::from_json(json.as_bytes()).unwrap()
}

/// A renewal that is under way, and holds at the gate.
async fn renewing(cloud: &LoopbackCloud, tokens: &TokenCache) -> Renewal {
    let gate = cloud.gate(Listener::Login, TOKEN);
    let tokens = tokens.clone();
    let task = tokio::spawn(async move { tokens.renew().await });
    gate.arrived(1).await;
    Renewal { gate, task }
}

struct Renewal {
    gate: Gate,
    task: JoinHandle<Result<Token, TokenError>>,
}

impl Renewal {
    async fn go_on(self) -> Result<Token, TokenError> {
        self.gate.release();
        self.task.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_key_or_at_its_end_is_not_adopted() {
    for stored in [
        r#"{"access_token":"a","refresh_token":"REFRESH","bound_to":"another key"}"#,
        r#"{"access_token":"a","refresh_token":"REFRESH","expires_at":1000}"#,
    ] {
        let (cloud, store) = (cloud(), MemoryStore::new());
        let stored = stored.replace("REFRESH", &cloud.issue_refresh_token(CLIENT_ID));
        put(&store, &session(&stored)).await;
        let token = process(&cloud, store).1.token().await.unwrap();
        assert_ne!(token.secret().expose(), "a");
        assert_eq!(cloud.mints(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_that_is_good_costs_no_request() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    put(
        &store,
        &session(r#"{"access_token":"a","refresh_token":"r"}"#),
    )
    .await;
    let token = process(&cloud, store).1.token().await.unwrap();
    assert_eq!(token.secret().expose(), "a");
    assert_eq!(cloud.token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_that_the_token_is_spent_looks_once_more_for_whoever_spent_it() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    cloud.script(Listener::Login, TOKEN, [Reply::invalid_grant()]);
    let renewal = renewing(&cloud, &tokens).await;
    put(
        &store,
        &session(r#"{"access_token":"of a sibling","refresh_token":"r"}"#),
    )
    .await;
    let token = renewal.go_on().await.unwrap();
    assert_eq!(token.secret().expose(), "of a sibling");
    assert_eq!(stored_refresh_token(&store).await.as_deref(), Some("r"));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_made_while_the_old_one_is_refused_is_used_and_not_ended() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    cloud.script(Listener::Login, TOKEN, [Reply::invalid_grant()]);
    let renewal = renewing(&cloud, &tokens).await;
    let new_login = cloud.issue_refresh_token(CLIENT_ID);
    put(&store, &Session::new(new_login.as_str())).await;
    renewal.go_on().await.unwrap();
    assert_eq!(spent(&cloud).last(), Some(&new_login));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_made_during_a_renewal_is_not_overwritten() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let tokens = logged_in(&cloud, store.clone()).await;
    let renewal = renewing(&cloud, &tokens).await;
    put(&store, &Session::new("of a new login")).await;
    renewal.go_on().await.unwrap();
    assert_eq!(
        stored_refresh_token(&store).await.as_deref(),
        Some("of a new login")
    );
}

#[tokio::test(start_paused = true)]
async fn a_login_goes_before_what_could_not_be_stored() {
    let (cloud, memory) = (cloud(), MemoryStore::new());
    let store = Failing {
        store: memory.clone(),
        fails: Arc::default(),
        swaps: Arc::default(),
        first_is_fine: true,
    };
    let tokens = logged_in(&cloud, store.clone()).await;
    store.swaps.store(0, Ordering::SeqCst);
    store.fails.store(true, Ordering::SeqCst);
    tokens.renew().await.unwrap();
    store.fails.store(false, Ordering::SeqCst);
    let new_login = cloud.issue_refresh_token(CLIENT_ID);
    put(&memory, &Session::new(new_login.as_str())).await;
    sleep(SECOND).await;
    tokens.renew().await.unwrap();
    assert_eq!(spent(&cloud).last(), Some(&new_login));
}

#[tokio::test(start_paused = true)]
async fn a_process_without_the_key_of_a_login_does_not_end_it_for_those_who_have_it() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let refresh_token = cloud.issue_refresh_token(CLIENT_ID);
    let bound = format!(r#"{{"refresh_token":"{refresh_token}","bound_to":"a key"}}"#);
    put(&store, &session(&bound)).await;
    cloud.script(Listener::Login, TOKEN, [Reply::invalid_grant()]);
    let error = process(&cloud, store.clone()).1.token().await.unwrap_err();
    assert!(error.is_login_required());
    assert!(error.to_string().contains("another DPoP key"), "{error}");
    let stored = store.load().await.unwrap().session.unwrap();
    assert_eq!(stored.to_json().expose(), bound);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_for_what_the_login_asks_for_and_no_more() {
    for (scope, expected) in [("read", "&scope=read"), ("", "")] {
        let (cloud, store) = (cloud(), MemoryStore::new());
        let refresh_token = cloud.issue_refresh_token(CLIENT_ID);
        put(&store, &Session::new(refresh_token.as_str())).await;
        let request = endpoint(&cloud).grant(LogIn).scope(scope);
        TokenCache::new(Login::new(request, store))
            .token()
            .await
            .unwrap();
        let expected = format!("grant_type=refresh_token&refresh_token={refresh_token}{expected}");
        assert_eq!(cloud.log()[0].body.as_deref(), Some(expected.as_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_without_a_required_scope_is_not_adopted() {
    for (scope, is_adopted) in [("read", false), ("read write", true)] {
        let (cloud, store) = (cloud(), MemoryStore::new());
        let stored = format!(r#"{{"access_token":"a","scope":"{scope}"}}"#);
        put(&store, &session(&stored)).await;
        let granted = Reply::token_with(serde_json::json!({"scope": "read write"}));
        cloud.script(Listener::Login, TOKEN, [granted]);
        let request = endpoint(&cloud)
            .grant(ClientCredentials)
            .require_scope("write");
        let token = TokenCache::new(Login::new(request, store))
            .token()
            .await
            .unwrap();
        assert_eq!(token.secret().expose() == "a", is_adopted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_cannot_be_used_does_not_take_the_refresh_token_with_it() {
    for useless in [
        serde_json::json!({"scope": "read"}),
        serde_json::json!({"expires_in": 0}),
        serde_json::json!({"token_type": "mac"}),
    ] {
        let (cloud, store) = (cloud(), MemoryStore::new());
        let first = cloud.issue_refresh_token(CLIENT_ID);
        put(&store, &Session::new(first.as_str())).await;
        let request = endpoint(&cloud).grant(LogIn).require_scope("write");
        let tokens = TokenCache::new(Login::new(request, store.clone()));
        let granted = serde_json::json!({"scope": "write"});
        let replies = [Reply::token_with(useless), Reply::token_with(granted)];
        cloud.script(Listener::Login, TOKEN, replies);
        let error = tokens.token().await.unwrap_err();
        assert!(
            error.is_rejected() && !error.is_login_required(),
            "{error:?}"
        );
        // The server has rotated all the same.
        let second = stored_refresh_token(&store).await.unwrap();
        assert_ne!(second, first);
        sleep(61 * SECOND).await;
        tokens.token().await.unwrap();
        assert_eq!(spent(&cloud), [first, second]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_came_and_was_of_no_use_is_not_taken_for_a_lost_one() {
    let (cloud, store) = (cloud(), MemoryStore::new());
    let first = cloud.issue_refresh_token(CLIENT_ID);
    put(&store, &Session::new(first.as_str())).await;
    let tokens = TokenCache::new(Login::new(endpoint(&cloud).grant(LogIn), store));
    // One was lost before; then one comes, of no use and without the new refresh token.
    let useless = serde_json::json!({"expires_in": 0, "refresh_token": null});
    let lost = [(); 3].map(|()| Reply::cut_before_head());
    let replies = lost.into_iter().chain([Reply::token_with(useless)]);
    cloud.script(Listener::Login, TOKEN, replies);
    for _ in 0..2 {
        tokens.token().await.unwrap_err();
        sleep(61 * SECOND).await;
    }
    let error = tokens.token().await.unwrap_err();
    assert!(error.is_login_required(), "{error:?}");
    assert!(!error.to_string().contains("was lost"), "{error}");
}
