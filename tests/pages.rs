//! The listings of the loopback cloud, through both layers, while tokens die between pages.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{Request, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use serde_json::{Value, json};
use tower::ServiceBuilder;
use tower_outbound::{
    mark::ReplaySafe,
    oauth2::{ClientAuth, ClientCredentials},
    pages::{BodyPaging, Job, NextLink, Page, PageNumber, PageProblem, Pages, Paging, Scim, items},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetry,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackConnector, Reply},
    token::TokenCache,
    token_refresh::TokenRefresh,
};

/// Those that the cloud knows from the start.
const USERS: usize = 60;

type Http = Client<LoopbackConnector, Full<Bytes>>;
type Api = RateLimitRetry<TokenRefresh<Http>>;

fn api(cloud: &LoopbackCloud) -> Api {
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).unwrap();
    let http: Http = cloud.client();
    let auth = ClientAuth::basic(CLIENT_SECRET);
    let endpoint = genesys
        .token_endpoint(CLIENT_ID, auth, http.clone())
        .unwrap();
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    ServiceBuilder::new()
        .layer(genesys.rate_limit_retry())
        .layer(genesys.token_refresh(tokens))
        .service(http)
}

fn get(cloud: &LoopbackCloud, target: &str) -> Request<Bytes> {
    let url = format!("{}{target}", cloud.api_url());
    Request::get(url).body(Bytes::new()).unwrap()
}

fn query(cloud: &LoopbackCloud, target: &str, query: &Value) -> Request<Bytes> {
    Request::post(format!("{}{target}", cloud.api_url()))
        .header(header::CONTENT_TYPE, "application/json")
        .extension(ReplaySafe)
        .body(query.to_string().into())
        .unwrap()
}

/// All items, with every token revoked after each page; and how many pages there were.
async fn listed(
    cloud: &LoopbackCloud,
    first: Request<Bytes>,
    paging: impl Paging,
    pointer: &str,
) -> (Vec<Value>, usize) {
    let mut pages = std::pin::pin!(Pages::new(api(cloud), first, paging).stream());
    let (mut all, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        let page: Page = page.unwrap();
        all.extend(page.items::<Value>(pointer).unwrap());
        count += 1;
        cloud.revoke_all();
        // Two mints are at least a second apart.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    (all, count)
}

fn distinct(items: &[Value], id: &str) -> usize {
    let mut ids: Vec<_> = items.iter().map(|item| item[id].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), items.len(), "nothing came twice");
    ids.len()
}

#[tokio::test(start_paused = true)]
async fn users_come_by_page_number_and_by_link_absolute_or_relative() {
    for absolute in [true, false] {
        let cloud = LoopbackCloud::builder()
            .configure(|knobs| knobs.absolute_links = absolute)
            .start_in_memory();
        let users = USERS;
        let first = || get(&cloud, "/api/v2/users?pageSize=10");
        let by_link = listed(&cloud, first(), NextLink::at("/nextUri"), "/entities").await;
        assert_eq!(distinct(&by_link.0, "id"), users);
        let by_number = PageNumber::in_query("pageNumber");
        let by_number = listed(&cloud, first(), by_number, "/entities").await;
        assert_eq!(by_number, by_link);
        assert_eq!(by_link.1, users.div_ceil(10));
        assert!(cloud.mints() >= by_link.1, "tokens died between the pages");
    }
}

#[tokio::test(start_paused = true)]
async fn conversations_come_by_query_and_by_job() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let all = cloud.conversation_ids().len();
    let path = "/api/v2/analytics/conversations/details/query";
    let first = json!({
        "interval": "2026-01-01T00:00:00.000Z/2026-02-01T00:00:00.000Z",
        "paging": {"pageSize": 100, "pageNumber": 1},
    });
    let paging = BodyPaging::items_at("/conversations");
    let (found, pages) = listed(
        &cloud,
        query(&cloud, path, &first),
        paging,
        "/conversations",
    )
    .await;
    assert_eq!(distinct(&found, "conversationId"), all);
    assert_eq!(pages, all.div_ceil(100) + 1, "the last page is empty");

    let path = "/api/v2/analytics/conversations/details/jobs";
    let job = json!({"interval": first["interval"]});
    let job = query(&cloud, path, &job);
    let (by_job, _) = listed(&cloud, job, Job::new(), "/conversations").await;
    assert_eq!(by_job.len(), found.len());
}

#[tokio::test(start_paused = true)]
async fn scim_users_come_by_index() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let first = get(&cloud, "/api/v2/scim/v2/users?count=25");
    let (users, _) = listed(&cloud, first, Scim, "/Resources").await;
    assert_eq!(distinct(&users, "id"), USERS);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_inside_a_page_is_asked_for_again_from_there() {
    let cloud = LoopbackCloud::builder().start_in_memory();
    let (api, paging) = (api(&cloud), NextLink::at("/nextUri"));
    let first = get(&cloud, "/api/v2/users?pageSize=10");
    let replies = [Reply::pass(), Reply::cut_mid_body()];
    cloud.script(Listener::Api, "GET /api/v2/users", replies);
    let pages = Pages::new(api.clone(), first.clone(), paging.clone()).stream();
    let mut pages: Vec<_> = pages.collect().await;
    let error = pages.pop().unwrap().unwrap_err();
    assert!(
        matches!(error.problem(), PageProblem::Unreadable(_)),
        "{error}"
    );
    assert_eq!(error.number(), 2);

    let rest = Pages::new(api, first, paging).resume_from(error.resume().clone());
    let rest: Vec<Value> = items(rest.stream(), "/entities")
        .try_collect()
        .await
        .unwrap();
    let mut all: Vec<Value> = pages.remove(0).unwrap().items("/entities").unwrap();
    all.extend(rest);
    assert_eq!(distinct(&all, "id"), USERS);
}

#[tokio::test]
async fn over_real_sockets_one_page_ahead() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let first = get(&cloud, "/api/v2/users?pageSize=10");
    let pages = Pages::new(api(&cloud), first, NextLink::at("/nextUri")).look_ahead();
    let users: Vec<Value> = items(pages, "/entities").try_collect().await.unwrap();
    assert_eq!(distinct(&users, "id"), USERS);
}
