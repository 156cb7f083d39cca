//! Over HTTP/1.1 a response that the layers discard must not cost its connection.
//!
//! The calls are made in a task, as most are: what `block_on` itself polls comes after all tasks, so
//! that there hyper's pool always has the connection back in time, and nothing would be shown.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    backoff::Backoff,
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::{RateLimitRetry, RateLimitRetryLayer},
    test_util::{
        CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, LoopbackCloudBuilder, LoopbackConnector,
        Reply,
    },
    token::TokenCache,
    token_refresh::TokenRefresh,
};

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_of_which_each_tenth_is_refused_need_one_connection() {
    let cloud = with_long_errors().start_in_memory();
    let api = api(&cloud, |rate_limit| rate_limit);
    let calls = {
        let cloud = cloud.clone();
        async move {
            for n in 0..1000 {
                match n % 20 {
                    4 => cloud.revoke_all(),
                    14 => refuse(&cloud, Some("1")),
                    _ => {}
                }
                get(&api, &cloud).await;
            }
        }
    };
    tokio::spawn(calls).await.unwrap();
    // Each of the hundred was sent twice, and every second of them for a token that was dead.
    assert_eq!((cloud.api_calls(), cloud.mints()), (1100, 51));
    assert_eq!(cloud.connections(Listener::Api), 1);
    assert_eq!(cloud.connections(Listener::Login), 1);
}

#[tokio::test]
async fn over_sockets_too_a_refusal_does_not_cost_a_connection() {
    let cloud = with_long_errors().start().await.unwrap();
    // A refusal that names no time is waited for as shortly as it goes, for time is real here.
    let shortest = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let api = api(&cloud, |rate_limit| rate_limit.refused_backoff(shortest));
    let calls = {
        let cloud = cloud.clone();
        async move {
            for n in 0..40 {
                match n {
                    4 | 14 | 24 => refuse(&cloud, None),
                    34 => cloud.revoke_all(),
                    _ => {}
                }
                get(&api, &cloud).await;
            }
        }
    };
    tokio::spawn(calls).await.unwrap();
    assert_eq!((cloud.api_calls(), cloud.mints()), (44, 2));
    assert_eq!(cloud.connections(Listener::Api), 1);
    assert_eq!(cloud.connections(Listener::Login), 1);
}

type Http = Client<LoopbackConnector, Full<Bytes>>;
type Api = RateLimitRetry<TokenRefresh<Http>>;

/// Without a layer that reads error bodies ahead: what is drained here is drained by the layers.
fn api(
    cloud: &LoopbackCloud,
    change: impl FnOnce(RateLimitRetryLayer) -> RateLimitRetryLayer,
) -> Api {
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).expect("it is on loopback");
    let http: Http = cloud.client();
    let endpoint =
        genesys.token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone());
    let endpoint = endpoint.expect("it is on loopback");
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    ServiceBuilder::new()
        .layer(change(genesys.rate_limit_retry()))
        .layer(genesys.token_refresh(tokens))
        .service(http)
}

/// Error bodies of 20 kB: more than arrives with a head.
fn with_long_errors() -> LoopbackCloudBuilder {
    LoopbackCloud::builder().configure(|knobs| {
        knobs.error_padding = 20_000;
        knobs.quota = None;
    })
}

fn refuse(cloud: &LoopbackCloud, retry_after: Option<&str>) {
    let refusal = Reply::too_many_requests(retry_after);
    cloud.script(Listener::Api, "*", [refusal]);
}

async fn get(api: &Api, cloud: &LoopbackCloud) {
    let request = Request::get(format!("{}/api/v2/tokens/me", cloud.api_url()));
    let request = request.body(Full::default()).expect("a valid request");
    let response = api.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await;
    body.expect("the caller reads its responses to the end");
}
