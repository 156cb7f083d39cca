//! Every way in which a client proves who it is.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::service_fn;
use tower_outbound::{
    oauth2::{
        ClientAuth, ClientCredentials, Metadata,
        jwt::{ClientAssertion, SigningKey},
    },
    token::{Cause, TokenCache, TokenSource},
};

use super::{
    calls::{api, get, granted, http, read},
    oidc_provider::{OidcProvider, client},
};

/// Gets a token, and calls the API with it.
async fn proves_itself(server: &OidcProvider, id: &str, auth: ClientAuth) {
    let tokens = TokenCache::new(server.endpoint(id, auth).await.grant(ClientCredentials));
    let said = granted(get(api(tokens, server.api()), &format!("{}/", server.api())).await);
    assert_eq!(said["client_id"], id);
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_secret_is_taken_in_the_header_and_in_the_form() {
    let secret = json!({"client_secret": SECRET});
    let server = OidcProvider::of([
        client("basic", "client_secret_basic", secret.clone()),
        client("post", "client_secret_post", secret),
    ]);
    proves_itself(&server, "basic", ClientAuth::basic(SECRET)).await;
    proves_itself(&server, "basic", ClientAuth::raw_basic(SECRET)).await;
    proves_itself(&server, "post", ClientAuth::body(SECRET)).await;
}

/// The server takes printable ASCII only.
#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn an_id_and_a_secret_of_special_characters_arrive_as_they_are() {
    let id = r#"a:b c%2Bd+e&f=g/h?i#j"k'l\m~n"#;
    let secret = r#" :%+&=;/?#"'\~%20*.-_ "#;
    let more = json!({"client_secret": secret});
    for (method, auth) in [
        ("client_secret_basic", ClientAuth::basic(secret)),
        ("client_secret_post", ClientAuth::body(secret)),
    ] {
        let server = OidcProvider::of([client(id, method, more.clone())]);
        proves_itself(&server, id, auth).await;
    }
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_client_that_proves_nothing_is_let_in_where_the_server_says_so() {
    let server = OidcProvider::of([client("none", "none", json!({}))]);
    proves_itself(&server, "none", ClientAuth::none()).await;
}

/// Only the form of the request: a stand-in for what ends TLS says whose certificate it saw.
#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_client_with_a_certificate_asks_where_the_server_looks_at_certificates() {
    let more = json!({"tls_client_auth_subject_dn": "CN=exporter"});
    let server = OidcProvider::of([client("tls", "tls_client_auth", more)]);
    proves_itself(&server, "tls", ClientAuth::tls()).await;
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn an_assertion_is_taken_of_every_algorithm_and_with_the_secret() {
    let keys = [
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_ed25519().unwrap(),
        SigningKey::from_pem(RSA).unwrap(),
    ];
    let named = keys.map(|key| (key.algorithm().as_str(), key));
    let clients = named.iter().map(|(name, key)| keyed(name, key));
    let with_secret = client(
        "secret",
        "client_secret_jwt",
        json!({"client_secret": SECRET}),
    );
    let server = OidcProvider::of(clients.chain([with_secret]));
    for (name, key) in named {
        proves_itself(&server, name, ClientAuth::private_key_jwt(key.clone())).await;
        // Which of several keys it is may be said, and the audience in the old way.
        let by_url: ClientAuth = ClientAssertion::by_key(key.key_id("the key"))
            .audience(format!("{}/token", server.issuer()))
            .into();
        proves_itself(&server, name, by_url).await;
    }
    proves_itself(&server, "secret", ClientAuth::client_secret_jwt(SECRET)).await;
}

#[tokio::test]
#[ignore = "needs oidc-provider; .ci/run installs what it needs"]
async fn a_server_that_takes_an_assertion_once_takes_each_of_ours() {
    let key = SigningKey::generate_es256().unwrap();
    let server = OidcProvider::of([keyed("key", &key)]);
    let forms = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&forms);
    let watched = service_fn(move |request: Request<Bytes>| {
        log.lock().unwrap().push(request.body().clone());
        http().request(request.map(Full::new))
    });
    let metadata = Metadata::discover(server.issuer(), watched).await.unwrap();
    let endpoint = metadata
        .token_endpoint("key", ClientAuth::private_key_jwt(key))
        .unwrap();
    let request = endpoint.grant(ClientCredentials);
    for _ in 0..20 {
        request.token(&Cause::Requested).await.unwrap();
    }

    // It does look: the last of them is refused when it comes again.
    let form = forms.lock().unwrap().pop().unwrap();
    let again = Request::post(format!("{}/token", server.issuer()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(form));
    let refusal = read(http().request(again.unwrap()).await.unwrap()).await;
    assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal.body()["error"], "invalid_client");
}

/// A client that signs with this key.
fn keyed(id: &str, key: &SigningKey) -> Value {
    let mut jwk = key.public_jwk();
    jwk["kid"] = "the key".into();
    client(id, "private_key_jwt", json!({"jwks": {"keys": [jwk]}}))
}

/// As long as HS256 wants it.
const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

const RSA: &str = include_str!("../../src/oauth2/jwt/tests/rs256.pem");
