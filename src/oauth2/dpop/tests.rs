use std::{collections::HashSet, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    nonces::{LONGEST_NONCE, MAX_ORIGINS},
    *,
};
use crate::{
    oauth2::jwt::{sha256, tests::verified, unix_seconds},
    token::{Grant, TokenCache, source_fn},
};

const USERS: &str = "https://api.example.com/v1/users?page=2";
const ASKS: &str = r#"DPoP error="use_dpop_nonce", error_description="a nonce is needed""#;

fn dpop() -> Dpop {
    Dpop::new(SigningKey::generate_es256().unwrap())
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

fn response(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |&(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
        (name.parse().unwrap(), value.parse().unwrap())
    };
    // `collect` would keep one line of a name.
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

async fn token(text: &'static str) -> Token {
    let grant = move |_| async move { Ok(Grant::new(text)) };
    TokenCache::new(source_fn(grant)).token().await.unwrap()
}

/// Header and claims of the proof with which this request would go to a resource.
async fn proof(dpop: &Dpop, target: &str) -> (Value, Value) {
    let (mut headers, token) = (HeaderMap::new(), token("a token").await);
    let target = uri(target);
    dpop.attach(&token, &Method::GET, &target, &mut headers)
        .unwrap();
    read(dpop, &headers[DPOP])
}

fn endpoint_proof(dpop: &Dpop, target: &str) -> (Value, Value) {
    let proof = dpop.proof_for_endpoint(&Method::POST, &uri(target));
    read(dpop, &proof.unwrap())
}

fn read(dpop: &Dpop, proof: &HeaderValue) -> (Value, Value) {
    verified(proof.to_str().unwrap(), &dpop.0.key.public_jwk())
}

fn endpoint_brings(dpop: &Dpop, target: &str, nonce: &str) -> Answered {
    let headers = response(&[("dpop-nonce", nonce)]);
    dpop.endpoint_answered(&uri(target), StatusCode::OK, &headers, None)
}

fn resource_brings(dpop: &Dpop, target: &str, nonce: &str) -> Answered {
    let headers = response(&[("dpop-nonce", nonce)]);
    dpop.answered(&uri(target), StatusCode::OK, &headers)
}

// ===== proofs =====

#[tokio::test]
async fn a_request_carries_one_proof_in_place_of_what_was_there() {
    let (dpop, token) = (dpop(), token("a token").await);
    let mut headers = response(&[("dpop", "old"), ("dpop", "older")]);
    let (method, target) = (Method::PATCH, uri(USERS));
    let before = unix_seconds(time::wall());
    dpop.attach(&token, &method, &target, &mut headers).unwrap();
    let after = unix_seconds(time::wall());

    assert_eq!(headers.len(), 1);
    assert_eq!(dpop.scheme(), Some("DPoP"));
    assert!(headers["dpop"].is_sensitive());

    let (header, mut claims) = read(&dpop, &headers["dpop"]);
    let public = dpop.0.key.public_jwk();
    let expected = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public});
    assert_eq!(header, expected);
    let claims = claims.as_object_mut().unwrap();
    let jti = claims.remove("jti").unwrap();
    let jti = BASE64_URL_SAFE_NO_PAD.decode(jti.as_str().unwrap());
    assert_eq!(jti.unwrap().len(), 16);
    let iat = claims.remove("iat").unwrap().as_u64().unwrap();
    assert!((before..=after).contains(&iat));
    assert_eq!(
        Value::from(claims.clone()),
        json!({
            "htm": "PATCH",
            "htu": "https://api.example.com/v1/users",
            "ath": sha256(b"a token"),
        })
    );
}

#[test]
fn a_proof_for_the_token_endpoint_names_no_token() {
    let (header, claims) = endpoint_proof(&dpop(), "https://login.example.com/token?tenant=1");
    assert_eq!(header["typ"], "dpop+jwt");
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["htu"], "https://login.example.com/token");
    let claims = claims.as_object().unwrap();
    let names: HashSet<_> = claims.keys().map(String::as_str).collect();
    assert_eq!(names, HashSet::from(["htm", "htu", "iat", "jti"]));
}

#[test]
fn the_hash_of_a_token_is_that_of_rfc_9449() {
    // Section 7.1.
    let token = Secret::from("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    assert_eq!(
        proof::ath(&token),
        "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    );
}

#[test]
fn the_uri_is_named_as_it_is_written_without_query_and_fragment() {
    let table = [
        ("https://a.test/b/c", "https://a.test/b/c"),
        ("https://a.test/b?c=d&e", "https://a.test/b"),
        ("https://a.test/b?", "https://a.test/b"),
        ("https://a.test/b#c", "https://a.test/b"),
        ("https://a.test", "https://a.test/"),
        ("https://a.test?b", "https://a.test/"),
        ("https://a.test/", "https://a.test/"),
        ("https://A.Test/B", "https://A.Test/B"),
        ("https://a.test/%7Eb", "https://a.test/%7Eb"),
        ("https://a.test/~b", "https://a.test/~b"),
        ("https://a.test/%7eb/%2F", "https://a.test/%7eb/%2F"),
        ("https://a.test/b/../c//d/", "https://a.test/b/../c//d/"),
        ("https://a.test:443/b", "https://a.test:443/b"),
        ("http://localhost:8080/b", "http://localhost:8080/b"),
        (
            "https://[2001:DB8::1]:8443/b",
            "https://[2001:DB8::1]:8443/b",
        ),
        ("https://user:hunter2@a.test/b", "https://a.test/b"),
    ];
    for (written, named) in table {
        assert_eq!(proof::htu(&uri(written)).unwrap(), named, "{written}");
    }
}

#[tokio::test]
async fn a_request_that_names_no_host_is_refused_and_left_as_it_was() {
    let token = token("a token").await;
    for target in ["/v1/users?secret=hunter2", "api.example.com:443"] {
        let mut headers = response(&[("accept", "*/*")]);
        let error = dpop().attach(&token, &Method::GET, &uri(target), &mut headers);
        let error = error.unwrap_err();
        assert!(error.is_rejected());
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(headers, response(&[("accept", "*/*")]));
    }
}

#[tokio::test]
async fn no_two_proofs_share_an_id() {
    let dpop = dpop();
    let mut ids = HashSet::new();
    for _ in 0..200 {
        ids.insert(proof(&dpop, USERS).await.1["jti"].to_string());
        ids.insert(endpoint_proof(&dpop.clone(), USERS).1["jti"].to_string());
    }
    assert_eq!(ids.len(), 400);
}

#[tokio::test]
async fn keys_of_all_kinds_sign_proofs() {
    let rsa = include_str!("../jwt/tests/rs256.pem");
    let keys = [
        (SigningKey::generate_ed25519().unwrap(), "EdDSA"),
        (SigningKey::from_pem(rsa).unwrap(), "RS256"),
    ];
    for (key, algorithm) in keys {
        let public = key.public_jwk();
        let (header, _) = proof(&Dpop::new(key), USERS).await;
        assert_eq!(header["alg"], algorithm);
        assert_eq!(header["jwk"], public);
    }
}

#[test]
fn a_clone_is_the_same_key_which_tokens_are_bound_to() {
    let dpop = dpop();
    assert_eq!(dpop.bound_to(), Some(dpop.clone().thumbprint()));
    assert_eq!(dpop.thumbprint(), dpop.0.key.thumbprint());
}

// ===== nonces =====

#[tokio::test]
async fn the_latest_nonce_of_a_server_goes_into_the_next_proof() {
    let dpop = dpop();
    assert_eq!(proof(&dpop, USERS).await.1.get("nonce"), None);
    for nonce in ["one", "two", "one"] {
        assert_eq!(resource_brings(&dpop, USERS, nonce), Answered::Settled);
        assert_eq!(proof(&dpop, USERS).await.1["nonce"], nonce);
        // Until another one comes.
        assert_eq!(proof(&dpop, USERS).await.1["nonce"], nonce);
    }
}

#[tokio::test]
async fn a_nonce_is_taken_from_every_response_whatever_its_status() {
    for status in [200, 204, 302, 400, 401, 403, 404, 429, 500, 503] {
        let (dpop, status) = (dpop(), StatusCode::from_u16(status).unwrap());
        let headers = response(&[("dpop-nonce", "fresh")]);
        dpop.answered(&uri(USERS), status, &headers);
        assert_eq!(proof(&dpop, USERS).await.1["nonce"], "fresh", "{status}");
        dpop.endpoint_answered(&uri(USERS), status, &headers, None);
        assert_eq!(endpoint_proof(&dpop, USERS).1["nonce"], "fresh", "{status}");
    }
}

#[tokio::test]
async fn a_nonce_is_for_its_origin_however_that_is_written() {
    let dpop = dpop();
    resource_brings(&dpop, "https://api.example.com/a", "ours");
    let table = [
        ("https://API.example.com:443/b?c", Some("ours")),
        ("https://api.example.com:8443/a", None),
        ("https://example.com/a", None),
        ("http://api.example.com/a", None),
    ];
    for (target, nonce) in table {
        let (_, claims) = proof(&dpop, target).await;
        assert_eq!(
            claims.get("nonce").and_then(Value::as_str),
            nonce,
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_host_that_is_both_servers_gives_a_nonce_for_each_role() {
    let dpop = dpop();
    endpoint_brings(&dpop, USERS, "login");
    assert_eq!(proof(&dpop, USERS).await.1.get("nonce"), None);
    resource_brings(&dpop, USERS, "api");
    assert_eq!(endpoint_proof(&dpop, USERS).1["nonce"], "login");
    assert_eq!(proof(&dpop, USERS).await.1["nonce"], "api");
}

#[tokio::test]
async fn clones_share_the_nonces() {
    let dpop = dpop();
    resource_brings(&dpop.clone(), USERS, "shared");
    assert_eq!(proof(&dpop, USERS).await.1["nonce"], "shared");
}

#[test]
fn beyond_the_bound_the_nonce_heard_the_longest_ago_is_forgotten() {
    let dpop = dpop();
    let server = |number| format!("https://host{number}.test/");
    let nonces = &dpop.0.resource_nonces;
    let nonce = |number| nonces.of(&Origin::of(&uri(&server(number))).unwrap());
    for number in 0..MAX_ORIGINS {
        resource_brings(&dpop, &server(number), "kept");
    }
    // Heard again, the first takes nobody's room, and leaves the second as the oldest.
    for again in ["once", "again"] {
        resource_brings(&dpop, &server(0), again);
        assert_eq!(nonce(1).as_deref(), Some("kept"));
    }
    resource_brings(&dpop, &server(MAX_ORIGINS), "new");
    assert_eq!(format!("{nonces:?}"), format!("Nonces({MAX_ORIGINS})"));
    assert_eq!(nonce(0).as_deref(), Some("again"));
    assert_eq!(nonce(1), None);
    assert_eq!(nonce(2).as_deref(), Some("kept"));
    assert_eq!(nonce(MAX_ORIGINS).as_deref(), Some("new"));
}

#[test]
fn what_is_no_nonce_leaves_the_one_that_is_known() {
    let longest = "n".repeat(LONGEST_NONCE);
    let too_long = "n".repeat(LONGEST_NONCE + 1);
    let table: [(&[&str], &str); 11] = [
        (&[], "known"),
        (&[""], "known"),
        (&["with space"], "known"),
        (&["with\ttab"], "known"),
        (&["\"quoted\""], "known"),
        (&["back\\slash"], "known"),
        (&["one", "two"], "known"),
        (&["same", "same"], "same"),
        (&["!#[]~,;="], "!#[]~,;="),
        (&[&longest], &longest),
        (&[&too_long], "known"),
    ];
    for (lines, expected) in table {
        let dpop = dpop();
        endpoint_brings(&dpop, USERS, "known");
        let lines: Vec<_> = lines.iter().map(|&line| ("dpop-nonce", line)).collect();
        let headers = response(&lines);
        dpop.endpoint_answered(&uri(USERS), StatusCode::OK, &headers, None);
        assert_eq!(endpoint_proof(&dpop, USERS).1["nonce"], expected);
    }
}

#[test]
fn a_resource_that_asks_for_a_nonce_and_brings_one_is_asked_again() {
    type Lines = &'static [(&'static str, &'static str)];
    let table: [(u16, Lines, Answered); 11] = [
        (
            401,
            &[("www-authenticate", ASKS), ("dpop-nonce", "n")],
            Answered::SendAgain,
        ),
        (
            401,
            &[
                ("www-authenticate", "dpop ERROR=use_dpop_nonce"),
                ("dpop-nonce", "n"),
            ],
            Answered::SendAgain,
        ),
        (
            401,
            &[
                ("www-authenticate", "Bearer"),
                ("www-authenticate", ASKS),
                ("dpop-nonce", "n"),
            ],
            Answered::SendAgain,
        ),
        // It asks, and brings none, or none that can be used.
        (401, &[("www-authenticate", ASKS)], Answered::Settled),
        (
            401,
            &[("www-authenticate", ASKS), ("dpop-nonce", "a b")],
            Answered::Settled,
        ),
        // It brings one, and does not ask.
        (401, &[("dpop-nonce", "n")], Answered::Settled),
        (
            401,
            &[
                ("www-authenticate", r#"DPoP error="invalid_token""#),
                ("dpop-nonce", "n"),
            ],
            Answered::Settled,
        ),
        (
            401,
            &[
                ("www-authenticate", r#"Bearer error="use_dpop_nonce""#),
                ("dpop-nonce", "n"),
            ],
            Answered::Settled,
        ),
        (
            401,
            &[
                ("www-authenticate", r#"DPoP realm="use_dpop_nonce""#),
                ("dpop-nonce", "n"),
            ],
            Answered::Settled,
        ),
        // It is no refusal for the lack of one.
        (
            400,
            &[("www-authenticate", ASKS), ("dpop-nonce", "n")],
            Answered::Settled,
        ),
        (
            200,
            &[("www-authenticate", ASKS), ("dpop-nonce", "n")],
            Answered::Settled,
        ),
    ];
    for (status, lines, expected) in table {
        let status = StatusCode::from_u16(status).unwrap();
        let answered = dpop().answered(&uri(USERS), status, &response(lines));
        assert_eq!(answered, expected, "{status} {lines:?}");
    }
}

#[test]
fn an_endpoint_that_asks_for_a_nonce_and_brings_one_is_asked_again() {
    let asks = Some("use_dpop_nonce");
    let table = [
        (400, asks, Some("n"), Answered::SendAgain),
        (401, asks, Some("n"), Answered::SendAgain),
        (400, asks, None, Answered::Settled),
        (400, asks, Some("a b"), Answered::Settled),
        (400, None, Some("n"), Answered::Settled),
        (
            400,
            Some("invalid_dpop_proof"),
            Some("n"),
            Answered::Settled,
        ),
        (500, asks, Some("n"), Answered::Settled),
        (200, asks, Some("n"), Answered::Settled),
    ];
    for (status, error, nonce, expected) in table {
        let lines: Vec<_> = nonce.iter().map(|&nonce| ("dpop-nonce", nonce)).collect();
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), response(&lines));
        let answered = dpop().endpoint_answered(&uri(USERS), status, &headers, error);
        assert_eq!(answered, expected, "{status} {error:?} {nonce:?}");
    }
}

#[test]
fn an_answer_from_nowhere_brings_nothing() {
    let dpop = dpop();
    let headers = response(&[("www-authenticate", ASKS), ("dpop-nonce", "n")]);
    let answered = dpop.answered(&uri("/users"), StatusCode::UNAUTHORIZED, &headers);
    assert_eq!(answered, Answered::Settled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_can_prove_and_learn_at_once() {
    let dpop = dpop();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let dpop = dpop.clone();
            tokio::spawn(async move {
                for turn in 0..50 {
                    resource_brings(&dpop, USERS, &format!("{task}-{turn}"));
                    assert!(proof(&dpop, USERS).await.1["nonce"].is_string());
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .unwrap()
            .unwrap();
    }
}

proptest! {
    #[test]
    fn no_header_makes_answered_panic_and_no_proof_breaks_after_it(
        nonces in vec(vec(any::<u8>(), 0..40), 0..3),
        challenges in vec(vec(any::<u8>(), 0..80), 0..3),
        status in 100u16..1000,
    ) {
        let mut headers = HeaderMap::new();
        let lines = nonces.iter().map(|value| ("dpop-nonce", value));
        for (name, value) in lines.chain(challenges.iter().map(|value| ("www-authenticate", value))) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        }
        let (dpop, status) = (dpop(), StatusCode::from_u16(status).unwrap());
        dpop.answered(&uri(USERS), status, &headers);
        dpop.endpoint_answered(&uri(USERS), status, &headers, Some("use_dpop_nonce"));
        endpoint_proof(&dpop, USERS);
    }
}

// ===== secrets =====

#[tokio::test]
async fn debug_output_holds_the_thumbprint_and_no_secret() {
    let key = SigningKey::from_pem(include_str!("../jwt/tests/ed25519.pem")).unwrap();
    let dpop = Dpop::new(key.key_id("named"));
    resource_brings(&dpop, USERS, "anonce");
    let mut headers = HeaderMap::new();
    let (token, target) = (token("hunter2").await, uri(USERS));
    dpop.attach(&token, &Method::GET, &target, &mut headers)
        .unwrap();
    let nonces = &dpop.0.resource_nonces;
    let shown = format!("{dpop:?} {nonces:?} {headers:?}");
    assert!(shown.contains(dpop.thumbprint()));
    for secret in ["hunter2", "anonce", "MC4C", "eyJ", "ikrHenuRhX9"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
