//! The presets against servers in memory that do what each vendor's documentation says.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_outbound::{
    buffer_body::{BufferErrorBody, BufferErrorBodyLayer},
    oauth2::{ClientAuth, ClientCredentials, TokenEndpoint},
    pages::{Pages, Paging, items},
    preset::{Github, Hubspot, MicrosoftGraph, Salesforce, Shopify, Zendesk},
    rate_limit_retry::{RateLimitRetry, RateLimitRetryLayer},
    token::{Grant, TokenCache, TokenSource, source_fn},
    token_refresh::{TokenRefresh, TokenRefreshLayer},
};

type Answer = Response<Full<Bytes>>;
type Client = RateLimitRetry<TokenRefresh<BufferErrorBody<Server>>>;

type MakeAnswer = dyn Fn(usize, &Request<Bytes>) -> Answer + Send + Sync;

/// A server that answers after 10 ms, and knows when it was asked what.
#[derive(Clone)]
struct Server {
    answer: Arc<MakeAnswer>,
    sent: Arc<Mutex<Vec<(Duration, HeaderMap)>>>,
    start: Instant,
}

impl Server {
    /// Answers with what a closure makes of the number of the request, from 1, and the request.
    fn new(answer: impl Fn(usize, &Request<Bytes>) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            sent: Arc::default(),
            start: now(),
        }
    }

    /// Answers the first request with this, and all others with 200.
    fn refusing_once(with: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        Self::new(move |count, _| match count {
            1 => with(),
            _ => status(200),
        })
    }

    /// The client of a preset, stacked as its documentation says.
    fn client(&self, retry: RateLimitRetryLayer, token: TokenRefreshLayer) -> Client {
        ServiceBuilder::new()
            .layer(retry)
            .layer(token)
            .layer(BufferErrorBodyLayer::new())
            .service(self.clone())
    }

    /// The seconds at which it was asked.
    fn sent_at(&self) -> Vec<f64> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(at, _)| at.as_secs_f64()).collect()
    }
}

impl Service<Request<Bytes>> for Server {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let server = self.clone();
        let mut sent = server.sent.lock().unwrap();
        sent.push((now() - server.start, request.headers().clone()));
        let count = sent.len();
        drop(sent);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            // What it answers depends on the state at the end of its work.
            Ok((server.answer)(count, &request))
        })
    }
}

#[allow(clippy::disallowed_methods)] // the tests' only look at the (paused) clock
fn now() -> Instant {
    Instant::now()
}

fn status(status: u16) -> Answer {
    answer(status, &[], "")
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn post(url: &str) -> Request<Bytes> {
    Request::post(url).body(Bytes::from("{}")).unwrap()
}

/// Tokens `token-1`, `token-2`… and how many there were.
fn source() -> (impl TokenSource, Arc<AtomicUsize>) {
    let minted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&minted);
    let source = source_fn(move |_| {
        let count = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let grant = Grant::new(format!("token-{count}"));
            Ok(grant.expires_in(Duration::from_secs(1800)))
        }
    });
    (source, minted)
}

fn tokens() -> TokenCache {
    TokenCache::new(source().0)
}

/// The items of a listing whose pages are answered so.
async fn listed(
    first: &str,
    paging: impl Paging,
    page: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> Vec<u32> {
    let server = Server::new(move |_, request| page(&request.uri().to_string()));
    let pages = Pages::new(server.clone(), get(first), paging).stream();
    items::<u32>(pages, "/items").try_collect().await.unwrap()
}

// ===== GitHub =====

const GITHUB: &str = "https://api.github.com/user";

fn github(server: &Server) -> Client {
    let github = Github::new();
    server.client(github.rate_limit_retry(), github.token_refresh(tokens()))
}

#[tokio::test(start_paused = true)]
async fn githubs_primary_limit_is_waited_for_until_it_resets() {
    for status in [403, 429] {
        let server = Server::refusing_once(move || {
            let headers = [
                ("date", "Tue, 14 Nov 2023 22:13:20 GMT"), // 1,700,000,000
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1700003000"),
                ("x-ratelimit-resource", "core"),
            ];
            answer(status, &headers, r#"{"message":"API rate limit exceeded"}"#)
        });
        let response = github(&server).oneshot(post(GITHUB)).await.unwrap();
        assert_eq!(response.status(), 200);
        let sent = server.sent_at();
        assert_eq!(sent.len(), 2);
        assert!((3000.0..3400.0).contains(&sent[1]), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn githubs_secondary_limit_is_waited_for_as_it_says_or_for_a_minute() {
    let body = r#"{"message":"You have exceeded a secondary rate limit. Please wait."}"#;
    let left = ("x-ratelimit-remaining", "4999");
    let reset = ("x-ratelimit-reset", "1700003000");
    for (status, headers, least) in [
        (403, vec![left, reset, ("retry-after", "30")], 30.0),
        (403, vec![left, reset], 60.0),
        (429, vec![left, reset], 60.0),
    ] {
        let server = Server::refusing_once(move || answer(status, &headers, body));
        let response = github(&server).oneshot(post(GITHUB)).await.unwrap();
        assert_eq!(response.status(), 200);
        let sent = server.sent_at();
        assert_eq!(sent.len(), 2);
        assert!((least..least * 1.5).contains(&sent[1]), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn githubs_403_about_a_permission_is_the_callers_at_once() {
    let server = Server::refusing_once(|| {
        let body = r#"{"message":"Resource not accessible by integration"}"#;
        answer(403, &[("x-ratelimit-remaining", "4999")], body)
    });
    let response = github(&server).oneshot(get(GITHUB)).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(server.sent_at(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_spent_search_of_githubs_does_not_hold_back_the_rest() {
    let server = Server::new(|count, _| {
        let headers = [
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000060"),
            ("x-ratelimit-resource", "search"),
        ];
        match count {
            1 => answer(200, &headers, ""),
            _ => status(200),
        }
    });
    let github = github(&server);
    let search = "https://api.github.com/search/issues?q=x";
    github.clone().oneshot(get(search)).await.unwrap();
    github.clone().oneshot(get(GITHUB)).await.unwrap();
    github.oneshot(get(search)).await.unwrap();
    let sent = server.sent_at();
    assert!(sent[1] < 1.0, "{sent:?}");
    assert!((60.0..70.0).contains(&sent[2]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn what_github_says_of_a_resource_without_a_key_holds_nothing_back() {
    let server = Server::new(|_, _| {
        let headers = [
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000060"),
            ("x-ratelimit-resource", "audit_log"),
        ];
        answer(200, &headers, "")
    });
    let github = github(&server);
    for _ in 0..2 {
        github.clone().oneshot(get(GITHUB)).await.unwrap();
    }
    assert!(server.sent_at()[1] < 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_that_github_does_not_know_yet_is_tried_again_and_not_renewed() {
    let server = Server::new(|count, _| match count {
        1 | 2 => status(401),
        _ => status(200),
    });
    let (source, minted) = source();
    let github = Github::new();
    let api = server.client(
        github.rate_limit_retry(),
        github.token_refresh(TokenCache::new(source)),
    );
    let response = api.oneshot(get(GITHUB)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.sent_at().len(), 3);
    assert_eq!(minted.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn githubs_pages_are_linked_in_a_header() {
    let paging = Github::new().paging();
    let items = listed("https://api.github.com/x", paging, |url| match url {
        "https://api.github.com/x" => {
            let next = r#"<https://api.github.com/x?page=2>; rel="next", <x>; rel="last""#;
            answer(200, &[("link", next)], r#"{"items":[1,2]}"#)
        }
        _ => answer(200, &[], r#"{"items":[3]}"#),
    });
    assert_eq!(items.await, [1, 2, 3]);
}

#[test]
fn a_github_enterprise_server_is_at_a_url_of_its_own() {
    let github = Github::at("https://github.example.com/api/v3/").unwrap();
    assert_eq!(github.api_url(), "https://github.example.com/api/v3");
    assert!(Github::at("github.example.com").is_err());
}

// ===== Zendesk =====

const ZENDESK: &str = "https://acme.zendesk.com/api/v2/tickets";

#[tokio::test(start_paused = true)]
async fn requests_that_zendesks_renewal_has_cut_off_are_replayed_without_another() {
    let newest = Arc::new(Mutex::new(String::new()));
    let alive = Arc::clone(&newest);
    let server = Server::new(move |_, request| {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        status(if token == *alive.lock().unwrap() {
            200
        } else {
            401
        })
    });
    // As soon as there is a new token, the old one is dead.
    let (minted, count) = (Arc::clone(&newest), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    let tokens = TokenCache::new(source_fn(move |_| {
        let token = format!("token-{}", counter.fetch_add(1, Ordering::SeqCst) + 1);
        *minted.lock().unwrap() = format!("Bearer {token}");
        async { Ok(Grant::new(token)) }
    }));
    let zendesk = Zendesk::new("acme").unwrap();
    let api = server.client(
        zendesk.rate_limit_retry(),
        zendesk.token_refresh(tokens.clone()),
    );
    api.clone().oneshot(get(ZENDESK)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;

    let requests = (0..100).map(|_| api.clone().oneshot(post(ZENDESK)));
    let renewal = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        tokens.renew().await.unwrap();
    };
    let (responses, ()) = tokio::join!(join_all(requests), renewal);
    for response in responses {
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!(server.sent_at().len(), 201, "each once more");
    assert_eq!(count.load(Ordering::SeqCst), 2, "and no renewal but ours");
}

#[tokio::test(start_paused = true)]
async fn zendesk_is_sent_no_more_than_it_says_is_left() {
    let server = Server::new(|count, _| match count {
        1 => answer(
            200,
            &[("ratelimit-remaining", "0"), ("ratelimit-reset", "41")],
            "",
        ),
        _ => status(200),
    });
    let zendesk = Zendesk::new("acme").unwrap();
    let api = server.client(zendesk.rate_limit_retry(), zendesk.token_refresh(tokens()));
    for _ in 0..2 {
        api.clone().oneshot(get(ZENDESK)).await.unwrap();
    }
    let sent = server.sent_at();
    assert!((41.0..45.0).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn zendesks_429_is_waited_for_as_it_says() {
    let server = Server::refusing_once(|| answer(429, &[("retry-after", "93")], "Too many"));
    let zendesk = Zendesk::new("acme").unwrap();
    let api = server.client(zendesk.rate_limit_retry(), zendesk.token_refresh(tokens()));
    assert_eq!(api.oneshot(post(ZENDESK)).await.unwrap().status(), 200);
    let sent = server.sent_at();
    assert!((93.0..110.0).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn zendesks_pages_end_when_it_has_no_more_whatever_its_links_say() {
    let paging = Zendesk::new("acme").unwrap().paging();
    let items = listed(ZENDESK, paging, |url| {
        let body = if url == ZENDESK {
            r#"{"items":[1],"meta":{"has_more":true},
                "links":{"next":"https://acme.zendesk.com/api/v2/tickets?page%5Bafter%5D=x"}}"#
        } else {
            r#"{"items":[2],"meta":{"has_more":false},
                "links":{"next":"https://acme.zendesk.com/api/v2/tickets?page%5Bafter%5D=y"}}"#
        };
        answer(200, &[], body)
    });
    assert_eq!(items.await, [1, 2]);
}

#[test]
fn a_zendesk_account_is_a_subdomain() {
    let zendesk = Zendesk::new("acme").unwrap();
    assert_eq!(zendesk.api_url(), "https://acme.zendesk.com");
    assert_eq!(zendesk.token_url(), "https://acme.zendesk.com/oauth/tokens");
    assert!(Zendesk::new("evil.test/").is_err());
}

// ===== Shopify =====

const SHOPIFY: &str = "https://acme.myshopify.com/admin/api/2026-01/products.json";

#[tokio::test(start_paused = true)]
async fn shopifys_token_goes_bare_into_a_header_of_its_own() {
    let server = Server::new(|_, _| status(200));
    let shop = Shopify::new("acme").unwrap();
    let tokens = TokenCache::builder()
        .credential_header(shop.credential_header())
        .build(source().0);
    let api = server.client(shop.rate_limit_retry(), shop.token_refresh(tokens));
    api.oneshot(get(SHOPIFY)).await.unwrap();
    let sent = server.sent.lock().unwrap();
    let (_, headers) = &sent[0];
    assert_eq!(headers["x-shopify-access-token"], "token-1");
    assert!(!headers.contains_key(header::AUTHORIZATION));
}

#[tokio::test(start_paused = true)]
async fn shopifys_decimal_retry_after_is_honoured() {
    let server = Server::refusing_once(|| {
        let headers = [
            ("retry-after", "2.0"),
            ("x-shopify-shop-api-call-limit", "40/40"),
        ];
        answer(429, &headers, "")
    });
    let shop = Shopify::new("acme").unwrap();
    let api = server.client(shop.rate_limit_retry(), shop.token_refresh(tokens()));
    assert_eq!(api.oneshot(post(SHOPIFY)).await.unwrap().status(), 200);
    let sent = server.sent_at();
    assert!((2.0..3.0).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn shopifys_login_is_read_although_it_names_no_type_of_token() {
    let server = Server::new(|_, request| {
        assert_eq!(
            request.uri(),
            "https://acme.myshopify.com/admin/oauth/access_token"
        );
        let form = std::str::from_utf8(request.body()).unwrap();
        assert!(form.contains("client_id=app"), "{form}");
        assert!(form.contains("client_secret=secret"), "{form}");
        answer(
            200,
            &[],
            r#"{"access_token":"shpat_x","scope":"read_products","expires_in":86399}"#,
        )
    });
    let shop = Shopify::new("acme").unwrap();
    let auth = ClientAuth::body("secret");
    let endpoint = TokenEndpoint::new(shop.token_url(), "app", auth, server.clone()).unwrap();
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    assert_eq!(tokens.token().await.unwrap().secret().expose(), "shpat_x");
}

// ===== HubSpot =====

const HUBSPOT: &str = "https://api.hubapi.com/crm/v3/objects/contacts";

fn hubspot(server: &Server) -> Client {
    let hubspot = Hubspot::new();
    server.client(hubspot.rate_limit_retry(), hubspot.token_refresh(tokens()))
}

#[tokio::test(start_paused = true)]
async fn hubspots_401_mints_nothing_and_tokens_are_renewed_by_their_age() {
    let server = Server::new(|_, _| status(401));
    let (source, minted) = source();
    let hubspot = Hubspot::new();
    let tokens = TokenCache::new(source);
    let api = server.client(hubspot.rate_limit_retry(), hubspot.token_refresh(tokens));
    for age in [0, 1000, 1795] {
        tokio::time::sleep_until(server.start + Duration::from_secs(age)).await;
        let response = api.clone().oneshot(get(HUBSPOT)).await.unwrap();
        assert_eq!(response.status(), 401);
        let expected = if age < 1790 { 1 } else { 2 };
        assert_eq!(minted.load(Ordering::SeqCst), expected, "at {age} s");
    }
    assert_eq!(server.sent_at().len(), 3, "and none was replayed");
}

fn hubspots_refusal(policy: &'static str) -> Answer {
    let headers = [
        ("x-hubspot-ratelimit-remaining", "0"),
        ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
    ];
    answer(429, &headers, policy)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_hubspots_is_waited_for_as_long_as_its_window_is() {
    let server =
        Server::refusing_once(|| hubspots_refusal(r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#));
    let response = hubspot(&server).oneshot(post(HUBSPOT)).await.unwrap();
    assert_eq!(response.status(), 200);
    let sent = server.sent_at();
    assert!((10.0..12.0).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_daily_limit_of_hubspots_is_the_callers_at_once() {
    let server = Server::refusing_once(|| hubspots_refusal(r#"{"policyName":"DAILY"}"#));
    let response = hubspot(&server).oneshot(get(HUBSPOT)).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(server.sent_at(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn the_length_of_hubspots_window_holds_nothing_back_that_was_not_refused() {
    let server = Server::new(|_, _| {
        let mut response = hubspots_refusal("");
        *response.status_mut() = StatusCode::OK;
        response
    });
    let api = hubspot(&server);
    for _ in 0..2 {
        api.clone().oneshot(get(HUBSPOT)).await.unwrap();
    }
    assert!(server.sent_at()[1] < 1.0);
}

#[tokio::test(start_paused = true)]
async fn hubspots_pages_are_behind_a_cursor_in_the_query_or_the_body() {
    let first = r#"{"items":[1],"paging":{"next":{"after":"7"}}}"#;
    let last = r#"{"items":[2]}"#;
    let paging = Hubspot::new().paging();
    let listing = listed(HUBSPOT, paging, move |url| {
        let is_last = url.ends_with("?after=7");
        answer(200, &[], if is_last { last } else { first })
    });
    assert_eq!(listing.await, [1, 2]);

    let server = Server::new(move |_, request| {
        let is_last = request.body() == r#"{"after":"7"}"#;
        answer(200, &[], if is_last { last } else { first })
    });
    let paging = Hubspot::new().search_paging();
    let pages = Pages::new(server.clone(), post(HUBSPOT), paging).stream();
    let found = items::<u32>(pages, "/items").try_collect::<Vec<_>>();
    assert_eq!(found.await.unwrap(), [1, 2]);
}

#[test]
fn hubspots_hosts_are_its_own_or_those_that_are_given() {
    let hubspot = Hubspot::new();
    assert_eq!(hubspot.token_url(), "https://api.hubapi.com/oauth/v1/token");
    let gateway = Hubspot::at("https://gw.test/token", "https://gw.test/hubspot/").unwrap();
    assert_eq!(gateway.api_url(), "https://gw.test/hubspot");
}

// ===== Salesforce =====

const SALESFORCE: &str = "https://acme.my.salesforce.com/services/data/v65.0/query?q=x";

/// A client, and how many tokens it has asked for.
fn salesforce(server: &Server) -> (Client, Arc<AtomicUsize>) {
    let (source, minted) = source();
    let salesforce = Salesforce::new("https://acme.my.salesforce.com").unwrap();
    let token = salesforce.token_refresh(TokenCache::new(source));
    let client = server.client(salesforce.rate_limit_retry(), token);
    (client, minted)
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_of_salesforces_is_renewed_and_another_401_is_not() {
    for (body, status, mints) in [
        (
            r#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#,
            200,
            2,
        ),
        ("a proxy's page", 200, 2),
        (r#"[{"errorCode":"SOMETHING_ELSE"}]"#, 401, 1),
    ] {
        let server = Server::refusing_once(move || answer(401, &[], body));
        let (api, minted) = salesforce(&server);
        let response = api.oneshot(post(SALESFORCE)).await.unwrap();
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(minted.load(Ordering::SeqCst), mints, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_day_of_salesforces_is_the_callers_at_once() {
    for request in [get(SALESFORCE), post(SALESFORCE)] {
        let server = Server::refusing_once(|| {
            let body = r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]"#;
            answer(403, &[("sforce-limit-info", "api-usage=5000/5000")], body)
        });
        let (api, minted) = salesforce(&server);
        assert_eq!(api.oneshot(request).await.unwrap().status(), 403);
        assert_eq!(server.sent_at(), [0.0]);
        assert_eq!(minted.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn salesforces_pages_are_at_paths() {
    let salesforce = Salesforce::new("https://acme.my.salesforce.com").unwrap();
    let items = listed(SALESFORCE, salesforce.paging(), |url| {
        let next = "https://acme.my.salesforce.com/services/data/v65.0/query/01g-2000";
        let body = if url == next {
            r#"{"items":[2],"done":true}"#
        } else {
            r#"{"items":[1],"done":false,"nextRecordsUrl":"/services/data/v65.0/query/01g-2000"}"#
        };
        answer(200, &[], body)
    });
    assert_eq!(items.await, [1, 2]);
}

#[test]
fn salesforces_domain_serves_tokens_too() {
    let salesforce = Salesforce::new("https://acme.my.salesforce.com/").unwrap();
    assert_eq!(
        salesforce.token_url(),
        "https://acme.my.salesforce.com/services/oauth2/token"
    );
    assert!(Salesforce::new("acme").is_err());
}

// ===== Microsoft Graph =====

const GRAPH: &str = "https://graph.microsoft.com/v1.0/users";

#[tokio::test(start_paused = true)]
async fn graphs_claims_challenge_is_answered_with_what_it_demands() {
    // {"access_token":{"nbf":{"essential":true,"value":"1"}}}
    let challenge = "Bearer error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxIn19fQ==\"";
    let api = Server::refusing_once(move || answer(401, &[("www-authenticate", challenge)], ""));
    let forms = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&forms);
    let entra = Server::new(move |count, request| {
        let form = form_urlencoded::parse(request.body())
            .into_owned()
            .collect::<HashMap<_, _>>();
        log.lock().unwrap().push((request.uri().to_string(), form));
        let body = match count {
            1 => r#"{"token_type":"Bearer","access_token":"x","expires_in":86400}"#,
            _ => r#"{"token_type":"Bearer","access_token":"y","expires_in":86400}"#,
        };
        answer(200, &[], body)
    });
    let graph = MicrosoftGraph::new("contoso.onmicrosoft.com");
    let auth = ClientAuth::body("secret");
    let endpoint = TokenEndpoint::new(graph.token_url(), "app", auth, entra).unwrap();
    let tokens = TokenCache::new(graph.request(&endpoint, ClientCredentials));
    let client = api.client(graph.rate_limit_retry(), graph.token_refresh(tokens));
    assert_eq!(client.oneshot(get(GRAPH)).await.unwrap().status(), 200);

    let forms = forms.lock().unwrap();
    let [(url, first), (_, second)] = &forms[..] else {
        panic!("{forms:?}")
    };
    assert_eq!(
        url,
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(first["scope"], "https://graph.microsoft.com/.default");
    assert!(first["claims"].contains("cp1"), "{first:?}");
    assert!(!first["claims"].contains("nbf"), "{first:?}");
    assert!(second["claims"].contains("cp1"), "{second:?}");
    assert!(second["claims"].contains("nbf"), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_graphs_is_honoured_however_it_has_grown() {
    let server = Server::new(|count, _| match count {
        1 => answer(429, &[("retry-after", "41")], ""),
        2 => answer(503, &[("retry-after", "315")], ""),
        _ => status(200),
    });
    let graph = MicrosoftGraph::new("contoso.onmicrosoft.com");
    let api = server.client(graph.rate_limit_retry(), graph.token_refresh(tokens()));
    assert_eq!(api.oneshot(get(GRAPH)).await.unwrap().status(), 200);
    let sent = server.sent_at();
    assert!(sent[1] >= 41.0 && sent[2] >= sent[1] + 315.0, "{sent:?}");
    assert_eq!(sent.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn graphs_pages_are_linked_in_their_bodies() {
    let paging = MicrosoftGraph::new("contoso.onmicrosoft.com").paging();
    let items = listed(GRAPH, paging, |url| {
        let body = if url == GRAPH {
            r#"{"items":[1],
                "@odata.nextLink":"https://graph.microsoft.com/v1.0/users?$skiptoken=x"}"#
        } else {
            r#"{"items":[2]}"#
        };
        answer(200, &[], body)
    });
    assert_eq!(items.await, [1, 2]);
}

#[test]
fn graph_is_in_national_clouds_too() {
    let token_url = "https://login.microsoftonline.us/tenant/oauth2/v2.0/token";
    let graph = MicrosoftGraph::at(token_url, "https://graph.microsoft.us/").unwrap();
    assert_eq!(graph.api_url(), "https://graph.microsoft.us");
    assert_eq!(graph.token_url(), token_url);
    assert!(MicrosoftGraph::at(token_url, "graph.microsoft.us").is_err());
}
