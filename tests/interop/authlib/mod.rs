//! The same with Authlib, which has what oidc-provider has not: the JWT bearer grant, any character
//! in ids and secrets, and no OpenID.

use std::process::Command;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Duration};
use tower_outbound::{
    oauth2::{
        ClientAuth, ClientCredentials, GrantType, JwtBearer, LogIn, Login, Metadata, Parameters,
        TokenEndpoint, TokenTypeHint, jwt::SigningKey,
    },
    store::MemoryStore,
    token::{Cause, TokenCache, TokenError, TokenSource},
};

use super::{
    calls::{api, get, granted, http},
    process::{Process, installed},
};

#[tokio::test]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn a_client_proves_itself_in_every_way() {
    let keys = keys();
    let clients = keys.iter().map(|(name, key)| keyed(name, key)).chain([
        with_secret("basic", "client_secret_basic", SECRET),
        with_secret("post", "client_secret_post", SECRET),
        with_secret("jwt", "client_secret_jwt", SECRET),
        json!({"client_id": "none", "method": "none"}),
    ]);
    let server = Authlib::of(clients);
    for (name, auth) in [
        ("basic", ClientAuth::basic(SECRET)),
        ("basic", ClientAuth::raw_basic(SECRET)),
        ("post", ClientAuth::body(SECRET)),
        ("jwt", ClientAuth::client_secret_jwt(SECRET)),
        ("none", ClientAuth::none()),
    ] {
        server.serves(name, auth).await;
    }
    for (name, key) in keys {
        server.serves(name, ClientAuth::private_key_jwt(key)).await;
    }
}

#[tokio::test]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn an_id_and_a_secret_of_any_characters_arrive_as_they_are() {
    let id = "a:b c%2Bd+e&f=gé/日本";
    let secret = " :%+&=;/?#\"'\\~%20*.-_ éü€ 𝄞 ";
    for (method, auth) in [
        ("client_secret_basic", ClientAuth::basic(secret)),
        ("client_secret_post", ClientAuth::body(secret)),
    ] {
        let server = Authlib::of([with_secret(id, method, secret)]);
        server.serves(id, auth).await;
    }
}

#[tokio::test]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn an_assertion_about_a_user_is_a_grant() {
    let keys = keys();
    let server = Authlib::of(keys.iter().map(|(name, key)| keyed(name, key)));
    for (name, key) in keys {
        let endpoint = server.endpoint(name, ClientAuth::none()).await;
        let grant = JwtBearer::new(key).subject("somebody");
        let said = server
            .call(TokenCache::new(endpoint.grant(grant).scope("users:write")))
            .await;
        assert_eq!(
            said,
            json!({"client_id": name, "user": "somebody", "scope": "users:write"})
        );
    }

    let other = SigningKey::generate_es256().unwrap();
    let endpoint = server.endpoint("ES256", ClientAuth::none()).await;
    let forged = endpoint.grant(JwtBearer::new(other).subject("somebody"));
    let error = TokenCache::new(forged).token().await.unwrap_err();
    assert_eq!(error.oauth_error(), Some("invalid_grant"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn a_login_goes_on_from_one_refresh_token_to_the_next() {
    let server = Authlib::of([with_secret("tool", "client_secret_basic", SECRET)]);
    let endpoint = server.endpoint("tool", ClientAuth::basic(SECRET)).await;
    let login = Login::new(endpoint.grant(LogIn), MemoryStore::new());
    login.log_in(Password).await.unwrap();
    let tokens = TokenCache::new(login.clone());
    let (api, url) = (api(tokens.clone(), &server.issuer), server.url("/api"));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (api, url) = (api.clone(), url.clone());
        callers.spawn(async move {
            for _ in 0..35 {
                assert_eq!(granted(get(api.clone(), &url).await)["user"], "somebody");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..400))).await;
            }
        });
    }
    callers.join_all().await;
    let log = granted(get(http(), &server.url("/log")).await);
    let log = log.as_array().unwrap();
    assert!(log.len() >= 3, "{log:?}");
    assert!(log.iter().all(|entry| entry["status"] == 200), "{log:?}");

    login.log_out().await.unwrap();
    tokens.clear();
    let error = get(api, &url).await.unwrap_err();
    assert!(
        TokenError::find(&*error).unwrap().is_login_required(),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn a_token_that_was_revoked_is_refused_and_another_one_got() {
    let server = Authlib::of([with_secret("program", "client_secret_post", SECRET)]);
    let endpoint = server.endpoint("program", ClientAuth::body(SECRET)).await;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let token = tokens.token().await.unwrap();
    endpoint
        .revoke(token.secret(), TokenTypeHint::AccessToken)
        .await
        .unwrap();
    server.call(tokens.clone()).await;
    assert!(tokens.token().await.unwrap().generation() > token.generation());
}

#[tokio::test]
#[ignore = "needs Authlib; .ci/run installs what it needs"]
async fn a_wrong_secret_and_an_unknown_grant_are_said_to_be_just_that() {
    let server = Authlib::of([with_secret("program", "client_secret_basic", SECRET)]);
    let wrong = server.endpoint("program", ClientAuth::basic("wrong")).await;
    let error = wrong
        .grant(ClientCredentials)
        .token(&Cause::FirstUse)
        .await
        .unwrap_err();
    assert_eq!(error.oauth_error(), Some("invalid_client"), "{error}");
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    let right = server.endpoint("program", ClientAuth::basic(SECRET)).await;
    let error = right
        .grant(Unheard)
        .token(&Cause::FirstUse)
        .await
        .unwrap_err();
    assert_eq!(
        error.oauth_error(),
        Some("unsupported_grant_type"),
        "{error}"
    );
}

/// Authlib, and an API that takes its tokens.
struct Authlib {
    _process: Process,
    issuer: String,
}

impl Authlib {
    fn of(clients: impl IntoIterator<Item = Value>) -> Self {
        let clients: Value = clients.into_iter().collect();
        let (process, said) = Process::start(
            Command::new(installed("venv/bin/python"))
                .args(["-c", include_str!("server.py")])
                .arg(clients.to_string()),
        );
        Self {
            _process: process,
            issuer: said["issuer"].as_str().unwrap().to_owned(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    async fn endpoint(&self, client_id: &str, auth: ClientAuth) -> TokenEndpoint {
        let metadata = Metadata::discover(&self.issuer, http()).await.unwrap();
        metadata.token_endpoint(client_id, auth).unwrap()
    }

    /// Gets a token for this client, and calls the API with it.
    async fn serves(&self, id: &str, auth: ClientAuth) {
        let request = self.endpoint(id, auth).await.grant(ClientCredentials);
        assert_eq!(self.call(TokenCache::new(request)).await["client_id"], id);
    }

    async fn call(&self, tokens: TokenCache) -> Value {
        granted(get(api(tokens, &self.issuer), &self.url("/api")).await)
    }
}

/// The way in that needs no browser.
struct Password;

impl GrantType for Password {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        let parameters = Parameters::of("password").with("username", "somebody");
        Ok(parameters.with("password", "open sesame"))
    }
}

struct Unheard;

impl GrantType for Unheard {
    async fn parameters(&self, _: &TokenEndpoint) -> Result<Parameters, TokenError> {
        Ok(Parameters::of("urn:example:unheard"))
    }
}

fn with_secret(id: &str, method: &str, secret: &str) -> Value {
    json!({"client_id": id, "method": method, "secret": secret})
}

fn keyed(id: &str, key: &SigningKey) -> Value {
    json!({"client_id": id, "method": "private_key_jwt", "jwk": key.public_jwk()})
}

/// The algorithms that the server verifies. It wants to hear `Ed25519` (RFC 9864), not `EdDSA`.
fn keys() -> [(&'static str, SigningKey); 2] {
    [
        SigningKey::generate_es256().unwrap(),
        SigningKey::from_pem(RSA).unwrap(),
    ]
    .map(|key| (key.algorithm().as_str(), key))
}

/// As long as HS256 wants it.
const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

const RSA: &str = include_str!("../../../src/oauth2/jwt/tests/rs256.pem");
