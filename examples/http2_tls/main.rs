//! HTTP/2 over TLS, with rustls: `cargo run --example http2_tls`.
//!
//! Nothing about the layers is different. One connection carries all calls, however many are under
//! way; it stays when a token dies. With the feature `h2` of this crate, what a server says that it
//! has not processed (`REFUSED_STREAM`, or GOAWAY before the stream) is sent again, a `POST` too.
//!
//! `front.rs` plays the load balancer, with a certificate of its own, before a cloud on this machine.

mod front;
mod tls;

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetry,
    test_util::{CLIENT_ID, CLIENT_SECRET, LoopbackCloud},
    token::TokenCache,
    token_refresh::TokenRefresh,
};

use crate::{
    front::Front,
    tls::{HttpClient, Offer},
};

type Api = RateLimitRetry<TokenRefresh<HttpClient>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for offer in [Offer::Http1, Offer::Http1AndHttp2, Offer::Http2] {
        let cloud = LoopbackCloud::builder().start_in_memory();
        let front = Front::start(&cloud).await?;
        let api = api(&front, front.client(offer)?)?;
        for _ in 0..2 {
            let calls = (0..50).map(|_| count_users(&api, &front));
            let versions = try_join_all(calls).await?;
            println!("50 calls at a time over {:?} ({offer:?})", versions[0]);
            cloud.revoke_all();
        }
        println!(
            "  {} requests, {} tokens, connections: {}",
            cloud.api_calls(),
            cloud.mints(),
            front.connections()
        );
        if offer != Offer::Http1 {
            front.reset(1, h2::Reason::REFUSED_STREAM);
            count_users(&api, &front).await?;
            println!("  a stream that the server refused was sent again");
        }
    }
    Ok(())
}

fn api(front: &Front, http: HttpClient) -> Result<Api, BoxError> {
    let genesys = GenesysCloud::at(&front.token_url(), front.url())?;
    let endpoint =
        genesys.token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())?;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    Ok(ServiceBuilder::new()
        .layer(genesys.rate_limit_retry())
        .layer(genesys.token_refresh(tokens))
        .service(http))
}

async fn count_users(api: &Api, front: &Front) -> Result<Version, BoxError> {
    let request = Request::get(format!("{}/api/v2/users?pageSize=1", front.url()));
    let request = request.body(Full::<Bytes>::default())?;
    let response = api.clone().oneshot(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the API answered {}", response.status()).into());
    }
    let version = response.version();
    response.into_body().collect().await?;
    Ok(version)
}
