//! A web service that calls somebody else's API from its handlers: `cargo run --example axum_upstream`.
//!
//! The stack is in the `State`; every handler gets a clone, and clones share the token and what is known of
//! limits. Here the API is a cloud on this machine whose tokens are revoked between the calls.

use axum::{Json, Router, extract::State, http::StatusCode, routing};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetry,
    test_util::{CLIENT_ID, CLIENT_SECRET, LoopbackCloud, LoopbackConnector},
    token::{TokenCache, TokenError},
    token_refresh::TokenRefresh,
};

/// What handlers share. In a service of yours the connector is one for TLS.
#[derive(Clone)]
struct Upstream {
    api: RateLimitRetry<TokenRefresh<Http>>,
    url: String,
}

type Http = Client<LoopbackConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let cloud = LoopbackCloud::builder().start().await?;
    let upstream = upstream(&cloud)?;
    let app = Router::new()
        .route("/users/count", routing::get(count_users))
        .with_state(upstream);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    let browser: Http = cloud.client();
    for _ in 0..3 {
        let answer = browser
            .get(format!("http://{address}/users/count").parse()?)
            .await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        println!("{status}: {}", String::from_utf8_lossy(&body));
        assert_eq!(status, StatusCode::OK);
        cloud.revoke_all();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    println!("{} tokens were minted", cloud.mints());
    server.abort();
    Ok(())
}

fn upstream(cloud: &LoopbackCloud) -> Result<Upstream, BoxError> {
    let http: Http = cloud.client();
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url())?;
    let endpoint =
        genesys.token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())?;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let api = ServiceBuilder::new()
        .layer(genesys.rate_limit_retry())
        .layer(genesys.token_refresh(tokens))
        .service(http);
    let url = genesys.api_url().to_owned();
    Ok(Upstream { api, url })
}

async fn count_users(
    State(upstream): State<Upstream>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let users = upstream.users().await.map_err(|error| {
        // Whether our own credentials are wrong or the upstream is down, it is not the caller's fault.
        let rejected = TokenError::find(&*error).is_some_and(TokenError::is_rejected);
        let status = if rejected {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::BAD_GATEWAY
        };
        (status, error.to_string())
    })?;
    Ok(Json(json!({"users": users["total"]})))
}

impl Upstream {
    async fn users(self) -> Result<Value, BoxError> {
        let request = Request::get(format!("{}/api/v2/users?pageSize=1", self.url));
        let response = self.api.oneshot(request.body(Full::default())?).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the upstream answered {}", response.status()).into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }
}
