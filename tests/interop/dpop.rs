//! Tokens that are bound to a key: proofs as another maker's server reads them, and nonces of both
//! servers.

use http::StatusCode;
use serde_json::{Value, json};
use tower_outbound::{
    oauth2::{
        ClientAuth, ClientCredentials, LogIn, Login, TokenEndpoint, TokenTypeHint, dpop::Dpop,
        jwt::SigningKey,
    },
    store::MemoryStore,
    token::{TokenCache, TokenError},
};

use super::{
    calls::{api, get, granted},
    oidc_provider::{Entry, OidcProvider, Settings, client, tool},
};

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn without_nonces_every_proof_is_taken_the_first_time() {
    for key in [SigningKey::generate_es256(), SigningKey::generate_ed25519()] {
        let server = start(false, false);
        let endpoint = bound(&server, Dpop::new(key.unwrap())).await;
        fifty_calls(&server, &endpoint).await;
        let log = server.log().await;
        assert!(
            log.iter().all(|entry| entry.status == StatusCode::OK),
            "{log:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_nonce_costs_one_more_request_when_it_is_new_to_us() {
    let server = start(true, true);
    let endpoint = bound(&server, dpop()).await;
    fifty_calls(&server, &endpoint).await;
    let log = server.log().await;
    // The first to either server knows no nonce; every response of the API brings the next.
    assert_eq!(refusals(&log, "token"), ["use_dpop_nonce"]);
    assert_eq!(refusals(&log, "api"), ["use_dpop_nonce"]);
    assert_eq!(log.iter().filter(|entry| entry.route == "api").count(), 51);

    // With the tokens the nonces of the authorization server are gone: its old one is worth nothing.
    server.restart().await;
    fifty_calls(&server, &endpoint).await;
    let log = server.log().await;
    assert_eq!(refusals(&log, "token"), ["use_dpop_nonce"; 2]);
    assert_eq!(refusals(&log, "api"), ["use_dpop_nonce"]);
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_replay_after_a_refused_token_carries_a_proof_of_its_own() {
    // The API takes no proof twice, nor one for another token.
    for nonces in [false, true] {
        let server = start(nonces, nonces);
        let endpoint = bound(&server, dpop()).await;
        let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
        let (api, url) = (api(tokens, server.api()), format!("{}/", server.api()));
        granted(get(api.clone(), &url).await);
        server.restart().await;
        granted(get(api, &url).await);
        let log = server.log().await;
        let mut expected = vec!["use_dpop_nonce"; nonces.into()];
        expected.push("invalid_token");
        assert_eq!(refusals(&log, "api"), expected);
    }
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_login_is_bound_to_the_key_from_the_code_to_the_last_refresh() {
    let server = start(true, true);
    let endpoint = bound_as("tool", &server, dpop()).await;
    let store = MemoryStore::new();
    let login = Login::new(endpoint.grant(LogIn), store.clone());
    login.log_in(server.log_in("tool").await).await.unwrap();
    let tokens = TokenCache::new(login.clone());
    let own = api(tokens.clone(), server.issuer());
    let api = api(tokens.clone(), server.api());
    for _ in 0..5 {
        tokens.renew().await.unwrap();
        granted(get(api.clone(), &format!("{}/", server.api())).await);
    }

    // The server's own resource checks proofs too.
    let userinfo = server.metadata().await;
    let userinfo = userinfo.get("userinfo_endpoint").unwrap().as_str().unwrap();
    assert_eq!(granted(get(own, userinfo).await)["sub"], "somebody");

    // Somebody else's key is of no use.
    let thief = bound_as("tool", &server, dpop()).await;
    let thief = Login::new(thief.grant(LogIn), store);
    let error = TokenCache::new(thief).token().await.unwrap_err();
    assert!(error.is_login_required(), "{error}");
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_bound_token_is_revoked_with_a_proof() {
    let server = start(true, false);
    let endpoint = bound(&server, dpop()).await;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let token = tokens.token().await.unwrap();
    endpoint
        .revoke(token.secret(), TokenTypeHint::AccessToken)
        .await
        .unwrap();
    granted(get(api(tokens, server.api()), &format!("{}/", server.api())).await);
    assert_eq!(refusals(&server.log().await, "api"), ["invalid_token"]);
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_server_that_knows_nothing_of_proofs_is_believed_nothing() {
    let server = OidcProvider::of([program()]);
    let endpoint = bound(&server, dpop()).await;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let error = get(api(tokens, server.api()), server.api())
        .await
        .unwrap_err();
    let error = TokenError::find(&*error).unwrap();
    assert!(error.is_rejected(), "{error}");
    assert!(
        error.to_string().contains("`token_type` is not `DPoP`"),
        "{error}"
    );
    assert!(server.log().await.iter().all(|entry| entry.route != "api"));
}

/// All of them succeed.
async fn fifty_calls(server: &OidcProvider, endpoint: &TokenEndpoint) {
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let api = api(tokens, server.api());
    for number in 0..50 {
        // The query is no part of what is signed.
        granted(get(api.clone(), &format!("{}/?number={number}", server.api())).await);
    }
}

fn start(server_nonces: bool, api_nonces: bool) -> OidcProvider {
    OidcProvider::start(Settings {
        clients: vec![program(), tool("tool")],
        dpop: true,
        server_nonces,
        api_nonces,
        ..Settings::default()
    })
}

fn program() -> Value {
    client("program", "none", json!({}))
}

fn dpop() -> Dpop {
    Dpop::new(SigningKey::generate_es256().unwrap())
}

async fn bound(server: &OidcProvider, dpop: Dpop) -> TokenEndpoint {
    bound_as("program", server, dpop).await
}

async fn bound_as(client_id: &str, server: &OidcProvider, dpop: Dpop) -> TokenEndpoint {
    server
        .endpoint(client_id, ClientAuth::none())
        .await
        .dpop(dpop)
}

/// The errors of what was not answered with 200.
fn refusals<'a>(log: &'a [Entry], route: &str) -> Vec<&'a str> {
    let refused = |entry: &&Entry| entry.route == route && entry.status != StatusCode::OK;
    log.iter()
        .filter(refused)
        .filter_map(|entry| entry.error.as_deref())
        .collect()
}
