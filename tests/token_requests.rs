//! What each grant sends, word for word as its standard has it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, service_fn};
use tower_outbound::{
    oauth2::{
        ClientAuth, ClientCredentials, JwtBearer, LogIn, Login, Saml2Bearer, TokenEndpoint,
        TokenExchange, TokenRequest, dpop::Dpop, jwt::SigningKey,
    },
    store::{MemoryStore, Session, Swap, TokenStore, Version},
    token::TokenCache,
};

/// A server that keeps what it is sent, and answers with a new token each time.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Form>>>);

type Form = Vec<(String, String)>;

impl Server {
    fn endpoint(&self) -> TokenEndpoint {
        self.answering(r#""token_type":"bearer""#)
    }

    fn answering(&self, members: &'static str) -> TokenEndpoint {
        let forms = Arc::clone(&self.0);
        let http = service_fn(move |request: Request<Full<Bytes>>| {
            let forms = Arc::clone(&forms);
            async move {
                let form = request.into_body().collect().await?.to_bytes();
                let form = form_urlencoded::parse(&form).into_owned().collect();
                let mut forms = forms.lock().unwrap();
                forms.push(form);
                let reply = format!(r#"{{"access_token":"token {}",{members}}}"#, forms.len());
                Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(reply)))
            }
        });
        TokenEndpoint::new("https://login.test/token", "id", ClientAuth::none(), http).unwrap()
    }

    /// All forms so far, but for the client's id.
    fn forms(&self) -> Vec<Form> {
        let mut forms = self.0.lock().unwrap().clone();
        for form in &mut forms {
            form.retain(|(name, _)| name != "client_id");
        }
        forms
    }
}

async fn token(request: TokenRequest) -> String {
    let token = TokenCache::new(request).token().await.unwrap();
    token.secret().expose().to_owned()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Form {
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_token_exchange_names_both_tokens_and_their_types() {
    let server = Server::default();
    let exchange = TokenExchange::new(TokenExchange::JWT, || async { Ok("subject".into()) })
        .actor(TokenExchange::ACCESS_TOKEN, || async { Ok("actor".into()) })
        .requested_token_type(TokenExchange::ACCESS_TOKEN);
    token(server.endpoint().grant(exchange)).await;
    let expected = pairs([
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", "subject"),
        ("subject_token_type", TokenExchange::JWT),
        ("actor_token", "actor"),
        ("actor_token_type", TokenExchange::ACCESS_TOKEN),
        ("requested_token_type", TokenExchange::ACCESS_TOKEN),
    ]);
    assert_eq!(server.forms(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_access_token_is_refused() {
    let exchange = TokenExchange::new(TokenExchange::JWT, || async { Ok("subject".into()) });
    for members in [r#""token_type":"N_A""#, r#""token_type":"mac""#] {
        let endpoint = Server::default().answering(members);
        let error = TokenCache::new(endpoint.grant(exchange.clone()))
            .token()
            .await
            .unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
        assert!(error.to_string().contains("token_type"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_bound_to_the_key_is_refused() {
    let dpop = Dpop::new(SigningKey::generate_ed25519().unwrap());
    for (members, is_bound) in [
        (r#""token_type":"DPoP""#, true),
        (r#""token_type":"dpop""#, true),
        (r#""token_type":"Bearer""#, false),
        (r#""expires_in":60"#, false),
    ] {
        let endpoint = Server::default().answering(members).dpop(dpop.clone());
        let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
        match tokens.token().await {
            Ok(_) => assert!(is_bound, "{members}"),
            Err(error) => assert!(!is_bound && error.is_rejected(), "{members}: {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_has_an_assertion_of_its_own_whoever_makes_it() {
    let server = Server::default();
    let counted = Arc::new(Mutex::new(0));
    let saml = Saml2Bearer::new(move || {
        *counted.lock().unwrap() += 1;
        let assertion = format!("assertion-{}", counted.lock().unwrap());
        async { Ok(assertion.into()) }
    });
    let saml = server.endpoint().grant(saml);
    token(saml.clone()).await;
    token(saml).await;
    let jwt = JwtBearer::new(SigningKey::generate_ed25519().unwrap());
    let jwt = server.endpoint().grant(jwt);
    token(jwt.clone()).await;
    token(jwt).await;

    let forms = server.forms();
    let grant = "urn:ietf:params:oauth:grant-type:saml2-bearer";
    assert_eq!(
        forms[0],
        pairs([("grant_type", grant), ("assertion", "assertion-1")])
    );
    assert_eq!(
        forms[1],
        pairs([("grant_type", grant), ("assertion", "assertion-2")])
    );
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_eq!(forms[2][0], pairs([("grant_type", grant)])[0]);
    assert_eq!(forms[2][1].0, "assertion");
    assert_ne!(forms[2][1], forms[3][1]);
}

#[tokio::test(start_paused = true)]
async fn each_resource_is_a_parameter_of_its_own() {
    let server = Server::default();
    let request = server
        .endpoint()
        .grant(ClientCredentials)
        .resource("https://one.test/")
        .resource("https://two.test/");
    token(request).await;
    let expected = pairs([
        ("grant_type", "client_credentials"),
        ("resource", "https://one.test/"),
        ("resource", "https://two.test/"),
    ]);
    assert_eq!(server.forms(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn requests_for_different_scopes_never_share_a_token() {
    let server = Server::default();
    let endpoint = server.endpoint();
    let read = TokenCache::new(endpoint.grant(ClientCredentials).scope("read"));
    let write = TokenCache::new(endpoint.grant(ClientCredentials).scope("write"));
    let (read, write) = tokio::join!(read.token(), write.token());
    assert_ne!(
        read.unwrap().secret().expose(),
        write.unwrap().secret().expose()
    );
    assert_eq!(server.forms().len(), 2);
}

/// A process whose login is stored with a refresh token, and what else it says.
async fn stored(members: &str) -> MemoryStore {
    let store = MemoryStore::new();
    let session = format!(r#"{{"refresh_token":"r"{members}}}"#);
    let session = Session::from_json(session.as_bytes()).unwrap();
    let swap = store.swap(Version::NONE, &session).await.unwrap();
    assert!(matches!(swap, Swap::Written(_)));
    store
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_for_what_the_login_asks_for_and_no_more() {
    let server = Server::default();
    for request in [
        server.endpoint().grant(LogIn).scope("read"),
        server.endpoint().grant(LogIn),
    ] {
        let login = Login::new(request, stored("").await);
        TokenCache::new(login).token().await.unwrap();
    }
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "r")];
    let mut scoped = pairs(refresh);
    scoped.extend(pairs([("scope", "read")]));
    assert_eq!(server.forms(), [scoped, pairs(refresh)]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_that_is_bound_to_another_key_is_not_adopted() {
    let server = Server::default();
    for (members, expected) in [
        (r#","access_token":"stored""#, "stored"),
        (r#","access_token":"stored","bound_to":"a key""#, "token 1"),
    ] {
        let login = Login::new(server.endpoint().grant(LogIn), stored(members).await);
        let token = TokenCache::new(login).token().await.unwrap();
        assert_eq!(token.secret().expose(), expected);
    }
}
