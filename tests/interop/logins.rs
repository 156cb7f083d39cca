//! Logins of people: a server that takes each refresh token once, and ends the session if one comes
//! twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tower_outbound::{
    oauth2::{ClientAuth, LogIn, Login},
    store::{FileStore, MemoryStore, Session, Swap, TokenStore},
    token::{TokenCache, TokenError},
};

use super::{
    calls::{Api, api, get, granted},
    oidc_provider::{OidcProvider, Settings, tool},
    process::Folder,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn callers_who_come_and_go_never_spend_a_refresh_token_twice() {
    let store = MemoryStore::new();
    come_and_go([store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn callers_who_share_a_file_never_spend_a_refresh_token_twice() {
    let folder = Folder::new();
    let path = folder.path().join("login.json");
    come_and_go([FileStore::new(&path), FileStore::new(&path)]).await;
}

/// Two programs, as far as the store can tell, and fifty callers in each.
async fn come_and_go(stores: [impl TokenStore + Clone; 2]) {
    let server = OidcProvider::start(Settings {
        clients: vec![tool("tool")],
        short_lived: true,
        ..Settings::default()
    });
    let endpoint = server.endpoint("tool", ClientAuth::none()).await;
    let first = Login::new(endpoint.grant(LogIn), stores[0].clone());
    first.log_in(server.log_in("tool").await).await.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    let caches = stores.map(|store| TokenCache::new(Login::new(endpoint.grant(LogIn), store)));
    for tokens in &caches {
        let api = api(tokens.clone(), server.api());
        for _ in 0..CALLERS {
            let url = format!("{}/", server.api());
            callers.spawn(call_until(Arc::clone(&over), api.clone(), url));
        }
    }
    sleep(LONG_ENOUGH).await;
    over.store(true, Ordering::Relaxed);
    let served: usize = callers.join_all().await.into_iter().sum();
    for tokens in &caches {
        tokens.settle().await;
    }
    assert!(served >= 2 * CALLERS, "{served}");

    let log = server.log().await;
    let grants: Vec<_> = log.iter().filter(|entry| entry.route == "token").collect();
    assert!(
        grants.iter().all(|entry| entry.status == StatusCode::OK),
        "{grants:?}"
    );
    let spent: Vec<_> = grants
        .iter()
        .filter_map(|entry| entry.refresh_token.as_ref())
        .collect();
    assert_eq!(
        spent.iter().collect::<BTreeSet<_>>().len(),
        spent.len(),
        "one came twice"
    );
    assert!(spent.len() >= 3, "{grants:?}");
}

/// Calls, some to the end and some not, and counts those that were answered.
async fn call_until(over: Arc<AtomicBool>, api: Api, url: String) -> usize {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let call = get(api.clone(), &url);
        match fastrand::u32(..4) {
            0 => {
                let call = timeout(Duration::from_micros(fastrand::u64(..20_000)), call);
                if let Ok(response) = call.await {
                    granted(response);
                }
            }
            1 => {
                let url = url.clone();
                let api = api.clone();
                let call = tokio::spawn(async move { granted(get(api, &url).await) });
                yield_now().await;
                call.abort();
                assert!(
                    call.await
                        .map_or_else(|error| error.is_cancelled(), |_| true)
                );
            }
            _ => {
                granted(call.await);
                served += 1;
            }
        }
        sleep(Duration::from_millis(fastrand::u64(..200))).await;
    }
    served
}

/// Or the tests above would prove nothing.
#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_refresh_token_that_comes_twice_ends_the_session() {
    let server = OidcProvider::of([tool("tool")]);
    let endpoint = server.endpoint("tool", ClientAuth::none()).await;
    let store = MemoryStore::new();
    let login = Login::new(endpoint.grant(LogIn), store.clone());
    login.log_in(server.log_in("tool").await).await.unwrap();
    let copies = [copy_of(&store).await, copy_of(&store).await];
    let [first, second] =
        copies.map(|store| TokenCache::new(Login::new(endpoint.grant(LogIn), store)));

    first.renew().await.unwrap();
    let error = second.renew().await.unwrap_err();
    assert!(error.is_login_required(), "{error}");
    // Nobody knows which of the two was the thief.
    let error = first.renew().await.unwrap_err();
    assert!(error.is_login_required(), "{error}");
}

/// What somebody has who has read the refresh token.
async fn copy_of(store: &MemoryStore) -> MemoryStore {
    let session = store.load().await.unwrap().session.unwrap();
    let stolen = Session::new(session.refresh_token().unwrap().clone());
    let copy = MemoryStore::new();
    let version = copy.load().await.unwrap().version;
    assert!(matches!(
        copy.swap(version, &stolen).await.unwrap(),
        Swap::Written(_)
    ));
    copy
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_session_that_the_server_forgot_is_asked_about_once_and_said_to_be_over_from_then_on() {
    let server = OidcProvider::of([tool("tool")]);
    let endpoint = server.endpoint("tool", ClientAuth::none()).await;
    let login = Login::new(endpoint.grant(LogIn), MemoryStore::new());
    login.log_in(server.log_in("tool").await).await.unwrap();
    let tokens = TokenCache::new(login.clone());
    let (api, url) = (
        api(tokens.clone(), server.api()),
        format!("{}/", server.api()),
    );
    granted(get(api.clone(), &url).await);

    server.restart().await;
    let refused = get(api.clone(), &url).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let error = TokenError::of(&refused).unwrap();
    assert!(error.is_login_required(), "{error}");
    for _ in 0..5 {
        let error = get(api.clone(), &url).await.unwrap_err();
        assert!(
            TokenError::find(&*error).unwrap().is_login_required(),
            "{error}"
        );
    }
    let log = server.log().await;
    let errors: Vec<_> = log.iter().filter(|entry| entry.route == "token").collect();
    assert_eq!(
        errors.len(),
        2,
        "the login, and the one question: {errors:?}"
    );
    assert_eq!(errors[1].error.as_deref(), Some("invalid_grant"));

    // Until somebody logs in again.
    login.log_in(server.log_in("tool").await).await.unwrap();
    tokens.clear();
    granted(get(api, &url).await);
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn whoever_logs_out_ends_the_session_at_the_server_too() {
    let server = OidcProvider::of([tool("tool")]);
    let endpoint = server.endpoint("tool", ClientAuth::none()).await;
    let store = MemoryStore::new();
    let login = Login::new(endpoint.grant(LogIn), store.clone());
    login.log_in(server.log_in("tool").await).await.unwrap();
    let tokens = TokenCache::new(login.clone());
    let (api, url) = (api(tokens, server.api()), format!("{}/", server.api()));
    granted(get(api.clone(), &url).await);
    let copy = copy_of(&store).await;

    login.log_out().await.unwrap();
    // Its access tokens went with it.
    let refused = get(api, &url).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(TokenError::of(&refused).unwrap().is_login_required());
    // And the refresh token is worth nothing to who has copied it.
    let thief = Login::new(endpoint.grant(LogIn), copy);
    let error = TokenCache::new(thief).token().await.unwrap_err();
    assert!(error.is_login_required(), "{error}");
}

const CALLERS: usize = 50;

/// For three tokens, one after the other.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
