//! Client credentials against an authorization server that answers in every way.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{BoxError, Service, service_fn};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint, TokenRequest},
    preset::GenesysCloud,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply},
    token::{TokenCache, TokenError},
};

const TOKEN: &str = "POST /oauth/token";
const SECOND: Duration = Duration::from_secs(1);

fn endpoint(cloud: &LoopbackCloud, url: &str) -> TokenEndpoint {
    let auth = ClientAuth::basic(CLIENT_SECRET);
    TokenEndpoint::new(url, CLIENT_ID, auth, cloud.client::<Full<Bytes>>()).unwrap()
}

fn asking(cloud: &LoopbackCloud) -> TokenRequest {
    endpoint(cloud, &cloud.token_url()).grant(ClientCredentials)
}

/// A request to a server of one reply.
fn asking_server(status: u16, headers: HeaderMap, body: &'static str) -> TokenRequest {
    let auth = ClientAuth::basic("secret");
    TokenEndpoint::new(
        "https://login.test/token",
        "id",
        auth,
        server(status, headers, body),
    )
    .unwrap()
    .grant(ClientCredentials)
}

async fn token_after(replies: Vec<Reply>) -> Result<(), TokenError> {
    let cloud = LoopbackCloud::builder().start_in_memory();
    cloud.script(Listener::Login, TOKEN, replies);
    TokenCache::new(asking(&cloud)).token().await.map(drop)
}

/// A server of one reply, which keeps the request.
fn server(
    status: u16,
    headers: HeaderMap,
    body: &'static str,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |_: Request<Full<Bytes>>| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().clone_from(&headers);
        async { Ok(response) }
    })
}

#[tokio::test(start_paused = true)]
async fn the_request_is_a_form_with_basic_credentials() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let asking = asking(&cloud)
        .scope(" users:read  users:write ")
        .parameter("audience", "a b&c=ü")
        .parameter("resource", "https://one.test/");
    TokenCache::new(asking).token().await.unwrap();
    let log = cloud.log();
    let sent = &log[0];
    assert_eq!(
        sent.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(sent.header("accept"), Some("application/json"));
    assert!(sent.header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(
        sent.body.as_deref(),
        Some(
            &b"grant_type=client_credentials&scope=users%3Aread+users%3Awrite\
               &audience=a+b%26c%3D%C3%BC&resource=https%3A%2F%2Fone.test%2F"[..]
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_blank_scope_is_not_sent() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    TokenCache::new(asking(&cloud).scope("  "))
        .token()
        .await
        .unwrap();
    assert_eq!(
        cloud.log()[0].body.as_deref(),
        Some(&b"grant_type=client_credentials"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn ids_and_secrets_may_hold_any_characters() {
    let (id, secret) = ("id:with %+ é", "se:cr%et+ é&=?/\"");
    for (auth, raw) in [
        (ClientAuth::basic(secret), false),
        (ClientAuth::raw_basic(secret), true),
        (ClientAuth::body(secret), false),
    ] {
        // Raw credentials are split at the first colon, so the id cannot hold one.
        let id = if raw { "id with %+ é" } else { id };
        let cloud = LoopbackCloud::builder()
            .client(id, secret)
            .configure(|knobs| knobs.raw_basic = raw)
            .start_in_memory();
        let (url, http) = (cloud.token_url(), cloud.client::<Full<Bytes>>());
        let special = TokenEndpoint::new(&url, id, auth.clone(), http).unwrap();
        let token = TokenCache::new(special.grant(ClientCredentials))
            .token()
            .await;
        assert!(token.is_ok(), "{auth:?}: {token:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_in_the_endpoints_url_is_kept() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let url = format!("{}?tenant=a%20b", cloud.token_url());
    let asking = endpoint(&cloud, &url).grant(ClientCredentials);
    TokenCache::new(asking).token().await.unwrap();
    assert_eq!(cloud.log()[0].target, "/oauth/token?tenant=a%20b");
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_heals_by_itself() {
    for (what, reply) in [
        ("a server error", Reply::html(503)),
        ("a gateway's timeout", Reply::status(504)),
        ("a cut connection", Reply::cut_before_head()),
        ("a cut reply", Reply::cut_mid_body()),
        ("a proxy's page", Reply::html(200)),
        ("an empty reply", Reply::status(200)),
        ("half a reply", Reply::invalid_json()),
        (
            "a reply without a token",
            Reply::token_with(serde_json::json!({"access_token": null})),
        ),
        (
            "a server error that blames the client",
            Reply::oauth_error(503, "invalid_client", ""),
        ),
    ] {
        // Twice is less than the tries of one renewal, five times is more.
        for failures in [2, 5] {
            let cloud = LoopbackCloud::builder().start_in_memory();
            cloud.script(Listener::Login, TOKEN, vec![reply.clone(); failures]);
            let tokens = TokenCache::new(asking(&cloud));
            let first = tokens.token().await;
            match first {
                Ok(_) => assert_eq!(failures, 2, "{what}"),
                Err(error) => assert!(error.is_transient() && failures == 5, "{what}: {error}"),
            }
            sleep(10 * SECOND).await;
            let healed = tokens.token().await;
            assert!(healed.is_ok(), "{what}: {healed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_costs_no_more_than_the_renewals_bound() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    cloud.script(Listener::Login, TOKEN, [Reply::hang()]);
    let tokens = TokenCache::new(asking(&cloud));
    assert!(tokens.token().await.unwrap_err().is_timeout());
    sleep(SECOND).await;
    assert!(tokens.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_an_error_that_names_server_client_and_reason() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let wrong = GenesysCloud::at(&cloud.token_url(), cloud.api_url())
        .unwrap()
        .token_endpoint(
            CLIENT_ID,
            ClientAuth::basic("hunter2"),
            cloud.client::<Full<Bytes>>(),
        )
        .unwrap();
    let tokens = TokenCache::new(wrong.grant(ClientCredentials));
    let error = tokens.token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert_eq!(error.description(), Some("authentication failed"));
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    let message = error.to_string();
    for part in [
        &cloud.token_url(),
        CLIENT_ID,
        "authentication failed",
        "correlation id",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert!(!message.contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn an_error_code_is_an_error_even_with_status_200() {
    let reply = Reply::oauth_error(200, "invalid_scope", "no such scope");
    let error = token_after(vec![reply]).await.unwrap_err();
    assert_eq!(
        (error.is_rejected(), error.oauth_error()),
        (true, Some("invalid_scope"))
    );
}

#[tokio::test(start_paused = true)]
async fn lifetimes_of_every_kind_are_taken_or_refused() {
    use serde_json::json;
    for (lifetime, is_taken) in [
        (json!(null), true),
        (json!("3600"), true),
        (json!(3599.5), true),
        (json!(u64::MAX), true),
        (json!(0), false),
        (json!(-1), false),
    ] {
        let reply = || Reply::token_with(json!({"expires_in": lifetime}));
        let result = token_after(vec![reply(), reply(), reply()]).await;
        assert_eq!(result.is_ok(), is_taken, "{lifetime}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("expires_in"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_used_is_not_minted_again_and_again() {
    use serde_json::json;
    for unusable in [
        json!({"token_type": "mac"}),
        json!({"expires_in": 0}),
        json!({"expires_in": -1}),
    ] {
        let cloud = LoopbackCloud::builder().start_in_memory();
        cloud.script_forever(Listener::Login, TOKEN, Reply::token_with(unusable.clone()));
        let tokens = TokenCache::new(asking(&cloud));
        for _ in 0..50 {
            assert!(
                tokens.token().await.unwrap_err().is_rejected(),
                "{unusable}"
            );
            sleep(SECOND).await;
        }
        assert_eq!(cloud.token_requests(), 1, "{unusable}");
    }
}

#[tokio::test(start_paused = true)]
async fn genesys_throttles_with_400_and_the_preset_knows() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).unwrap();
    let auth = ClientAuth::basic(CLIENT_SECRET);
    let endpoint = genesys.token_endpoint(CLIENT_ID, auth, cloud.client::<Full<Bytes>>());
    for (asking, is_throttled) in [
        (endpoint.unwrap().grant(ClientCredentials), true),
        (asking(&cloud), false),
    ] {
        cloud.clear_log();
        cloud.script(Listener::Login, TOKEN, [Reply::token_throttled()]);
        let token = TokenCache::new(asking).token().await;
        assert_eq!(token.is_ok(), is_throttled, "{token:?}");
        assert_eq!(cloud.token_requests(), 1 + usize::from(is_throttled));
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_an_error_and_the_secret_goes_nowhere_else() {
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, "https://evil.test/".parse().unwrap());
    for status in [301, 302, 307, 308] {
        let source = asking_server(status, headers.clone(), "");
        let error = TokenCache::new(source).token().await.unwrap_err();
        assert!(error.is_rejected());
        assert!(
            error
                .to_string()
                .contains("redirect, which is not followed"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_above_one_mebibyte_is_not_read() {
    let huge: &'static str = " ".repeat(1024 * 1024 + 1).leak();
    let source = asking_server(200, HeaderMap::new(), huge);
    let error = TokenCache::new(source).token().await.unwrap_err();
    assert!(error.is_transient());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("limit"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_required_scope_is_refused_by_name() {
    let ask = |reply: &'static str, asked: &str| {
        let asking = asking_server(200, HeaderMap::new(), reply);
        let tokens = TokenCache::new(asking.scope(asked).require_scope("read write"));
        async move { tokens.token().await }
    };
    assert!(
        ask(r#"{"access_token":"t","scope":"write x read"}"#, "")
            .await
            .is_ok()
    );
    // A reply that names no scope grants what was asked for.
    assert!(ask(r#"{"access_token":"t"}"#, "read write").await.is_ok());
    for (reply, asked) in [
        (r#"{"access_token":"t","scope":"read"}"#, "read write"),
        (r#"{"access_token":"t"}"#, "read"),
    ] {
        let error = ask(reply, asked).await.unwrap_err();
        assert!(error.is_rejected());
        assert!(error.to_string().contains("required `write`"), "{error}");
    }
}

#[test]
fn an_unusable_url_is_an_error_that_says_what_to_write() {
    for (url, expected) in [
        ("login.example.com/token", "has no scheme"),
        ("http://login.example.com/token", "is not encrypted"),
        ("https://login.example.com/token#x", "fragment"),
        (
            "https://user:hunter2@login.example.com/token",
            "user or password",
        ),
        ("https:///token", "has no host"),
        ("", "has no scheme"),
    ] {
        let http = server(200, HeaderMap::new(), "");
        let error = TokenEndpoint::new(url, "id", ClientAuth::none(), http)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{url:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_an_error_that_names_it() {
    // Nothing listens behind this connector's name any more.
    let cloud = LoopbackCloud::builder().start_in_memory();
    let (asking, url) = (asking(&cloud), cloud.token_url());
    drop(cloud);
    let error = TokenCache::new(asking).token().await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains(&url), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn the_reply_body_of_a_real_socket_is_read_whole() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let padding = "x".repeat(300_000);
    let reply = serde_json::json!({"access_token": "long", "padding": padding});
    cloud.script(Listener::Login, TOKEN, [Reply::json(200, &reply)]);
    let token = TokenCache::new(asking(&cloud)).token().await.unwrap();
    assert_eq!(token.secret().expose(), "long");
}
