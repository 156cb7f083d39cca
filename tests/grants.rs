//! What each grant and each client authentication sends, and which replies are taken.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_outbound::{
    oauth2::{
        AuthorizationCode, ClientAuth, ClientCredentials, GrantType, JwtBearer, RefreshToken,
        Saml2Bearer, TokenEndpoint, TokenExchange, TokenTypeHint,
        dpop::Dpop,
        jwt::{ClientAssertion, SigningKey},
    },
    origin::Origins,
    token::{Cause, Grant, Secret, TokenCache, TokenError, TokenSource},
    token_refresh::TokenRefreshLayer,
};

const URL: &str = "https://login.test/token?tenant=1";

/// A server that keeps what it was sent, and answers what a closure makes of the number of the request,
/// from 1.
#[derive(Clone)]
struct Server {
    sent: Arc<Mutex<Vec<Sent>>>,
    answer: Arc<dyn Fn(usize) -> Response<Full<Bytes>> + Send + Sync>,
}

#[derive(Clone)]
struct Sent {
    headers: HeaderMap,
    form: BTreeMap<String, String>,
    raw: String,
}

impl Server {
    fn new(answer: impl Fn(usize) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self {
            sent: Arc::default(),
            answer: Arc::new(answer),
        }
    }

    fn granting() -> Self {
        Self::new(|count| {
            let token = format!("token-{count}");
            reply(200, &json!({"access_token": token, "token_type": "Bearer"}))
        })
    }

    fn endpoint(&self, auth: ClientAuth) -> TokenEndpoint {
        let server = self.clone();
        let http = service_fn(move |request: Request<Full<Bytes>>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let raw = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
                let form = form_urlencoded::parse(raw.as_bytes())
                    .into_owned()
                    .collect();
                let mut sent = server.sent.lock().unwrap();
                sent.push(Sent {
                    headers: parts.headers,
                    form,
                    raw,
                });
                Ok::<_, BoxError>((server.answer)(sent.len()))
            }
        });
        TokenEndpoint::new(URL, "id", auth, http).unwrap()
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn with_nonce(mut response: Response<Full<Bytes>>, nonce: &str) -> Response<Full<Bytes>> {
    response
        .headers_mut()
        .insert("dpop-nonce", nonce.parse().unwrap());
    response
}

/// The form of one request by this grant, of a client that proves itself elsewhere.
async fn form_of(grant: impl GrantType) -> String {
    let server = Server::granting();
    let request = server.endpoint(ClientAuth::basic("secret")).grant(grant);
    request.token(&Cause::FirstUse).await.unwrap();
    server.sent()[0].raw.clone()
}

fn part(jwt: &str, index: usize) -> Value {
    let part = jwt.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn key() -> SigningKey {
    SigningKey::generate_es256().unwrap().key_id("k1")
}

// ===== grants =====

#[tokio::test]
async fn each_grant_sends_what_its_standard_says() {
    assert_eq!(
        form_of(ClientCredentials).await,
        "grant_type=client_credentials"
    );
    assert_eq!(
        form_of(RefreshToken::new("r+1")).await,
        "grant_type=refresh_token&refresh_token=r%2B1"
    );
    let code = AuthorizationCode::new("SplxlOBeZQQYbYS6WxSbIA", "https://client.test/cb");
    assert_eq!(
        form_of(code.code_verifier("v")).await,
        "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA\
         &redirect_uri=https%3A%2F%2Fclient.test%2Fcb&code_verifier=v"
    );
    assert_eq!(
        form_of(Saml2Bearer::new(|| async { Ok("PHNhbWw".into()) })).await,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&assertion=PHNhbWw"
    );
    let subject = || async { Ok("subject".into()) };
    assert_eq!(
        form_of(TokenExchange::new(TokenExchange::JWT, subject)).await,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &subject_token=subject\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
    );
    let full = TokenExchange::new(TokenExchange::ID_TOKEN, subject)
        .actor(TokenExchange::ACCESS_TOKEN, || async { Ok("actor".into()) })
        .requested_token_type(TokenExchange::ACCESS_TOKEN);
    let form = form_of(full).await;
    let rest = form.split_once("id_token").unwrap().1;
    assert_eq!(
        rest,
        "&actor_token=actor\
         &actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
    );
}

#[tokio::test]
async fn a_grant_that_cannot_be_made_sends_nothing() {
    let server = Server::granting();
    let broken = Saml2Bearer::new(|| async {
        Err::<Secret, _>(TokenError::transient("the identity provider is down"))
    });
    let request = server.endpoint(ClientAuth::none()).grant(broken);
    let error = request.token(&Cause::FirstUse).await.unwrap_err();
    assert_eq!(error.to_string(), "the identity provider is down");
    assert!(server.sent().is_empty());
}

#[tokio::test]
async fn scope_resource_and_audience_go_along_and_may_come_more_than_once() {
    let server = Server::granting();
    let request = server
        .endpoint(ClientAuth::none())
        .grant(ClientCredentials)
        .scope("a b")
        .resource("https://one.test/")
        .resource("https://two.test/")
        .audience("three")
        .audience("four");
    request.token(&Cause::FirstUse).await.unwrap();
    assert_eq!(
        server.sent()[0].raw,
        "grant_type=client_credentials&scope=a+b\
         &resource=https%3A%2F%2Fone.test%2F&resource=https%3A%2F%2Ftwo.test%2F\
         &audience=three&audience=four&client_id=id"
    );
}

#[tokio::test]
async fn requests_for_other_things_are_other_caches_with_other_tokens() {
    let server = Server::granting();
    let request = server.endpoint(ClientAuth::none()).grant(ClientCredentials);
    let one = TokenCache::new(request.clone().resource("https://one.test/"));
    let two = TokenCache::new(request.resource("https://two.test/"));
    let (one, two) = tokio::join!(one.token(), two.token());
    assert_ne!(
        one.unwrap().secret().expose(),
        two.unwrap().secret().expose()
    );
    assert_eq!(server.sent().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_no_access_token_is_refused() {
    for (token_type, is_fine) in [
        ("N_A", false),
        ("mac", false),
        ("", false),
        ("BEARER", true),
    ] {
        let server = Server::new(move |_| {
            reply(200, &json!({"access_token": "t", "token_type": token_type}))
        });
        let exchange = TokenExchange::new(TokenExchange::JWT, || async { Ok("s".into()) });
        let request = server.endpoint(ClientAuth::none()).grant(exchange);
        let result = request.token(&Cause::FirstUse).await;
        assert_eq!(result.is_ok(), is_fine, "{token_type}");
        if let Err(error) = result {
            assert!(error.is_rejected(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_reply_without_a_type_is_taken_for_a_bearer_token() {
    let server = Server::new(|_| reply(200, &json!({"access_token": "t"})));
    let request = server.endpoint(ClientAuth::none()).grant(ClientCredentials);
    request.token(&Cause::FirstUse).await.unwrap();
}

#[tokio::test]
async fn jwt_bearer_assertions_have_their_defaults_from_the_endpoint() {
    let server = Server::granting();
    let request = server
        .endpoint(ClientAuth::none())
        .grant(JwtBearer::new(key()));
    request.token(&Cause::FirstUse).await.unwrap();
    let form = &server.sent()[0].form;
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let claims = part(&form["assertion"], 1);
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!("id"), &json!("id"))
    );
    assert_eq!(claims["aud"], URL);
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 60);
    assert_eq!(part(&form["assertion"], 0)["kid"], "k1");
}

#[tokio::test]
async fn jwt_bearer_assertions_say_what_the_user_wants() {
    let server = Server::granting();
    let grant = JwtBearer::new(key())
        .issuer("account@project.test")
        .audience("https://other.test/")
        .claim("scope", "read")
        .claim("iss", "nobody");
    let request = server.endpoint(ClientAuth::none()).grant(grant);
    request.token(&Cause::FirstUse).await.unwrap();
    let claims = part(&server.sent()[0].form["assertion"], 1);
    assert_eq!(claims["iss"], "account@project.test");
    assert_eq!(claims["sub"], "account@project.test");
    assert_eq!(claims["aud"], "https://other.test/");
    assert_eq!(claims["scope"], "read");
}

// ===== client assertions =====

#[tokio::test(start_paused = true)]
async fn a_client_assertion_is_made_anew_for_every_attempt() {
    let server = Server::new(|count| match count {
        1 | 2 => reply(503, &json!({})),
        _ => reply(200, &json!({"access_token": "t"})),
    });
    let endpoint = server.endpoint(ClientAuth::private_key_jwt(key()));
    TokenCache::new(endpoint.grant(ClientCredentials))
        .token()
        .await
        .unwrap();
    let sent = server.sent();
    let claims: Vec<_> = sent
        .iter()
        .map(|sent| part(&sent.form["client_assertion"], 1))
        .collect();
    assert_eq!(claims.len(), 3);
    for claims in &claims {
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("id"), &json!("id"))
        );
        assert_eq!(claims["aud"], URL);
    }
    assert_ne!(claims[0]["jti"], claims[1]["jti"]);
    assert_ne!(claims[1]["jti"], claims[2]["jti"]);
    let form = &sent[0].form;
    assert_eq!(form["client_id"], "id");
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert!(!sent[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn the_audience_of_an_assertion_is_the_users_or_the_issuer_or_the_endpoint() {
    let by_user = ClientAssertion::by_key(key()).audience("https://user.test");
    for (auth, issuer, expected) in [
        (ClientAuth::private_key_jwt(key()), None, URL),
        (
            ClientAuth::private_key_jwt(key()),
            Some("https://iss.test"),
            "https://iss.test",
        ),
        (
            by_user.into(),
            Some("https://iss.test"),
            "https://user.test",
        ),
    ] {
        let server = Server::granting();
        let mut endpoint = server.endpoint(auth);
        if let Some(issuer) = issuer {
            endpoint = endpoint.issuer(issuer);
        }
        endpoint
            .grant(ClientCredentials)
            .token(&Cause::FirstUse)
            .await
            .unwrap();
        let claims = part(&server.sent()[0].form["client_assertion"], 1);
        assert_eq!(claims["aud"], expected);
    }
}

#[tokio::test]
async fn a_shared_secret_signs_by_hs256_and_is_not_sent() {
    let server = Server::granting();
    let endpoint = server.endpoint(ClientAuth::client_secret_jwt(
        "hunter2hunter2hunter2hunter2hunter2",
    ));
    endpoint
        .grant(ClientCredentials)
        .token(&Cause::FirstUse)
        .await
        .unwrap();
    let sent = &server.sent()[0];
    assert_eq!(part(&sent.form["client_assertion"], 0)["alg"], "HS256");
    assert!(!sent.raw.contains("hunter2"));
}

// ===== revocation =====

#[tokio::test]
async fn a_token_is_revoked_with_the_clients_authentication() {
    let server = Server::new(|_| reply(200, &json!({})));
    let endpoint = server.endpoint(ClientAuth::body("secret"));
    let endpoint = endpoint
        .revocation_url("https://login.test/revoke")
        .unwrap();
    endpoint
        .revoke(&"t".into(), TokenTypeHint::AccessToken)
        .await
        .unwrap();
    assert_eq!(
        server.sent()[0].raw,
        "token=t&token_type_hint=access_token&client_id=id&client_secret=secret"
    );
}

#[tokio::test]
async fn a_revocation_that_fails_says_whether_to_try_again() {
    for (status, is_transient) in [(400, false), (503, true), (307, false)] {
        let server = Server::new(move |_| reply(status, &json!({})));
        let endpoint = server.endpoint(ClientAuth::none());
        let without = endpoint
            .revoke(&"t".into(), TokenTypeHint::RefreshToken)
            .await;
        assert!(
            without
                .unwrap_err()
                .to_string()
                .contains("`revocation_url`")
        );
        let endpoint = endpoint
            .revocation_url("https://login.test/revoke")
            .unwrap();
        let error = endpoint
            .revoke(&"t".into(), TokenTypeHint::RefreshToken)
            .await
            .unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{error:?}");
        assert!(
            error.to_string().contains("https://login.test/revoke"),
            "{error}"
        );
    }
}

// ===== DPoP =====

fn proof(headers: &HeaderMap) -> Value {
    part(headers["dpop"].to_str().unwrap(), 1)
}

fn bound(count: usize) -> Value {
    json!({"access_token": format!("token-{count}"), "token_type": "DPoP"})
}

#[tokio::test]
async fn a_token_request_proves_the_key_and_is_sent_once_more_for_a_nonce() {
    let server = Server::new(|count| match count {
        1 => with_nonce(reply(400, &json!({"error": "use_dpop_nonce"})), "n1"),
        _ => with_nonce(reply(200, &bound(count)), "n2"),
    });
    let endpoint = server
        .endpoint(ClientAuth::private_key_jwt(key()))
        .dpop(Dpop::new(key()));
    let request = endpoint.grant(JwtBearer::new(key()));
    for _ in 0..2 {
        request.token(&Cause::FirstUse).await.unwrap();
    }
    let sent = server.sent();
    let nonces: Vec<_> = sent
        .iter()
        .map(|sent| proof(&sent.headers)["nonce"].clone())
        .collect();
    assert_eq!(nonces, [json!(null), json!("n1"), json!("n2")]);
    for sent in &sent {
        let proof = proof(&sent.headers);
        assert_eq!(
            (&proof["htm"], &proof["htu"]),
            (&json!("POST"), &json!("https://login.test/token"))
        );
        assert_eq!(proof["ath"], json!(null), "there is no token yet");
    }
    // What may be sent once is made anew: both assertions, and the proof.
    for name in ["assertion", "client_assertion"] {
        let jti = |index: usize| part(&sent[index].form[name], 1)["jti"].clone();
        assert_ne!(jti(0), jti(1), "{name}");
    }
    assert_ne!(
        proof(&sent[0].headers)["jti"],
        proof(&sent[1].headers)["jti"]
    );
}

#[tokio::test]
async fn a_server_that_always_wants_another_nonce_is_asked_twice_an_attempt() {
    let server = Server::new(|count| {
        with_nonce(
            reply(400, &json!({"error": "use_dpop_nonce"})),
            &format!("n{count}"),
        )
    });
    let endpoint = server.endpoint(ClientAuth::none()).dpop(Dpop::new(key()));
    let error = endpoint
        .grant(ClientCredentials)
        .token(&Cause::FirstUse)
        .await
        .unwrap_err();
    assert_eq!(error.oauth_error(), Some("use_dpop_nonce"));
    assert_eq!(server.sent().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_bound_to_the_key_is_refused() {
    for token_type in [json!("Bearer"), json!(null)] {
        let body = json!({"access_token": "hunter2", "token_type": token_type});
        let server = Server::new(move |_| reply(200, &body));
        let endpoint = server.endpoint(ClientAuth::none()).dpop(Dpop::new(key()));
        let error = endpoint
            .grant(ClientCredentials)
            .token(&Cause::FirstUse)
            .await
            .unwrap_err();
        assert!(error.is_rejected());
        assert!(
            error.to_string().contains("not bound to the key"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_bound_token_is_refused_where_nobody_has_the_key() {
    let server = Server::new(|count| reply(200, &bound(count)));
    let request = server.endpoint(ClientAuth::none()).grant(ClientCredentials);
    assert!(
        request
            .token(&Cause::FirstUse)
            .await
            .unwrap_err()
            .is_rejected()
    );
}

#[tokio::test(start_paused = true)]
async fn every_request_and_every_replay_has_a_proof_of_its_own_and_the_servers_latest_nonce() {
    let server = Server::new(|count| with_nonce(reply(200, &bound(count)), "of-the-login"));
    let dpop = Dpop::new(key());
    let endpoint = server.endpoint(ClientAuth::none()).dpop(dpop);
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));

    // It wants a nonce, forgets the first token, and changes its nonce with every response.
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (log, count) = (Arc::clone(&sent), AtomicUsize::new(0));
    let count = Arc::new(count);
    let resource = service_fn(move |request: Request<Bytes>| {
        let count = count.fetch_add(1, Ordering::SeqCst) + 1;
        log.lock().unwrap().push(request.headers().clone());
        let mut response = reply(if count <= 2 { 401 } else { 200 }, &json!({}));
        let challenge = match count {
            1 => r#"DPoP error="use_dpop_nonce""#,
            _ => r#"DPoP error="invalid_token""#,
        };
        response
            .headers_mut()
            .insert("www-authenticate", challenge.parse().unwrap());
        async move { Ok::<_, BoxError>(with_nonce(response, &format!("of-the-api-{count}"))) }
    });
    let api = ServiceBuilder::new()
        .layer(TokenRefreshLayer::new(
            tokens,
            Origins::only(["https://api.test"]).unwrap(),
        ))
        .service(resource);
    for path in ["/a%7Eb?q=1", "/c"] {
        let request = Request::get(format!("https://api.test{path}"))
            .body(Bytes::new())
            .unwrap();
        assert_eq!(api.clone().oneshot(request).await.unwrap().status(), 200);
    }

    let sent = sent.lock().unwrap();
    let proofs: Vec<_> = sent.iter().map(proof).collect();
    let of = |name: &str| {
        proofs
            .iter()
            .map(|proof| proof[name].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("nonce"),
        [
            json!(null),
            json!("of-the-api-1"),
            json!("of-the-api-2"),
            json!("of-the-api-3")
        ]
    );
    let htu = "https://api.test/a%7Eb";
    assert_eq!(of("htu"), [htu, htu, htu, "https://api.test/c"]);
    let authorizations: Vec<_> = sent
        .iter()
        .map(|headers| headers["authorization"].to_str().unwrap())
        .collect();
    assert_eq!(
        authorizations,
        [
            "DPoP token-1",
            "DPoP token-1",
            "DPoP token-2",
            "DPoP token-2"
        ]
    );
    let ath = of("ath");
    assert_eq!((&ath[0], &ath[2]), (&ath[1], &ath[3]));
    assert_ne!(ath[0], ath[2]);
    let mut ids: Vec<_> = of("jti").iter().map(Value::to_string).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(server.sent().len(), 2, "the nonce cost no renewal");
    for headers in sent.iter() {
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers.get_all("dpop").iter().count(), 1);
    }
}

#[tokio::test]
async fn a_vendors_own_grant_is_a_few_lines() {
    struct Zoom;
    impl GrantType for Zoom {
        async fn parameters(
            &self,
            endpoint: &TokenEndpoint,
        ) -> Result<tower_outbound::oauth2::Parameters, TokenError> {
            let account = endpoint.client_id().to_owned();
            Ok(
                tower_outbound::oauth2::Parameters::of("account_credentials")
                    .with("account_id", account),
            )
        }
    }
    assert_eq!(
        form_of(Zoom).await,
        "grant_type=account_credentials&account_id=id"
    );
}

#[tokio::test]
async fn a_refresh_token_that_comes_along_is_in_the_grant_but_prints_nowhere() {
    let body = json!({"access_token": "hunter2", "refresh_token": "hunter2"});
    let server = Server::new(move |_| reply(200, &body));
    let request = server.endpoint(ClientAuth::none()).grant(ClientCredentials);
    let grant: Grant = request.token(&Cause::FirstUse).await.unwrap();
    assert!(!format!("{grant:?} {request:?}").contains("hunter2"));
}

// ===== challenges =====

#[tokio::test(start_paused = true)]
async fn the_claims_that_an_api_demands_are_asked_for_with_the_next_token() {
    let server = Server::granting();
    let request = server
        .endpoint(ClientAuth::none())
        .grant(ClientCredentials)
        .answer_claims_challenges();
    let resource = service_fn(|request: Request<Bytes>| async move {
        let is_first = request.headers()["authorization"] == "Bearer token-1";
        let mut response = reply(if is_first { 401 } else { 200 }, &json!({}));
        // {"access_token":{"nbf":{"value":"1"}}}
        let challenge = r#"Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7InZhbHVlIjoiMSJ9fX0=""#;
        let headers = response.headers_mut();
        headers.insert("www-authenticate", challenge.parse().unwrap());
        Ok::<_, BoxError>(response)
    });
    let tokens = TokenCache::new(request);
    let api = ServiceBuilder::new()
        .layer(TokenRefreshLayer::new(tokens.clone(), Origins::any()))
        .service(resource);
    let request = Request::get("https://api.test/")
        .body(Bytes::new())
        .unwrap();
    assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
    tokens.renew().await.unwrap();

    let claims: Vec<_> = server
        .sent()
        .iter()
        .map(|sent| sent.form.get("claims").cloned())
        .collect();
    let demanded = r#"{"access_token":{"nbf":{"value":"1"}}}"#.to_owned();
    assert_eq!(claims, [None, Some(demanded), None]);
}
