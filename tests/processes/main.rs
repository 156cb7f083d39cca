//! Processes that share one login, whose refresh token rotates, and that are killed one after the other.

#![cfg(unix)]

use std::{env, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tower::service_fn;
use tower_outbound::{
    oauth2::{ClientAuth, LogIn, Login, TokenEndpoint},
    store::FileStore,
    test_util::{CLIENT_ID, CLIENT_SECRET},
    token::{Cause, TokenCache, TokenSource, source_fn},
};

use self::{
    children::say,
    family::{Family, Grace},
};

#[path = "../children/mod.rs"]
mod children;
mod family;

#[tokio::test]
async fn processes_that_nobody_kills_spend_each_refresh_token_exactly_once() {
    let family = Family::new(10, Grace::None).await;
    family.renewals(50).await;
    family.each_token_was_spent_once();
}

#[tokio::test]
async fn a_session_survives_every_kill_but_one_that_loses_a_reply() {
    Family::new(2, Grace::None).await.lose(20).await;
}

#[tokio::test]
async fn where_the_server_has_a_grace_time_no_kill_ends_a_session() {
    Family::new(2, Grace::TenSeconds).await.lose(20).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn two_processes_and_two_hundred_kills() {
    Family::new(2, Grace::None).await.lose(200).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn ten_processes_and_two_hundred_kills() {
    Family::new(10, Grace::None).await.lose(200).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn two_processes_and_two_hundred_kills_with_a_grace_time() {
    Family::new(2, Grace::TenSeconds).await.lose(200).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn ten_processes_and_two_hundred_kills_with_a_grace_time() {
    Family::new(10, Grace::TenSeconds).await.lose(200).await;
}

/// Run by the tests above in processes of their own: gets tokens without end, as fast as it may.
///
/// A cache lets a second go by between two renewals. It is cleared each time, which makes it forget
/// that; and what it asks for is a newer token, not the one that is stored.
///
/// If the parent is gone, so is the server; that is an error, and nobody is there to be told of it,
/// which ends this.
#[tokio::test]
#[ignore = "is run by other tests"]
async fn child_that_renews_until_it_is_killed() {
    let Some(path) = env::var_os(STORE) else {
        return;
    };
    let login = login(PathBuf::from(path), &env::var(URL).unwrap(), number());
    let tokens = TokenCache::new(source_fn(move |_| {
        let login = login.clone();
        async move { login.token(&Cause::Requested).await }
    }));
    loop {
        tokens.clear();
        match tokens.token().await {
            Ok(_) => {}
            Err(error) if error.is_login_required() => {
                say(&format!("over: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                say(&format!("unexpected: {error:?}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The login of one process. Its requests carry its number.
fn login(store: PathBuf, url: &str, number: u32) -> Login {
    let client: legacy::Client<_, Full<Bytes>> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build_http();
    let http = service_fn(move |mut request: Request<Full<Bytes>>| {
        request
            .headers_mut()
            .insert(SENDER, HeaderValue::from(number));
        client.request(request)
    });
    let auth = ClientAuth::basic(CLIENT_SECRET);
    let endpoint = TokenEndpoint::new(url, CLIENT_ID, auth, http).unwrap();
    Login::new(endpoint.grant(LogIn), FileStore::new(store))
}

fn number() -> u32 {
    env::var(NUMBER).unwrap().parse().unwrap()
}

/// The header with the number of the process that sent a request.
const SENDER: &str = "x-sender";

const STORE: &str = "TOWER_OUTBOUND_TEST_STORE";
const URL: &str = "TOWER_OUTBOUND_TEST_URL";
const NUMBER: &str = "TOWER_OUTBOUND_TEST_NUMBER";

/// Before a process asks again after an error, which costs the server nothing.
const PAUSE: Duration = Duration::from_millis(20);
