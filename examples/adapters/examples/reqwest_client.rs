//! reqwest with the layers: `cargo run --example reqwest_client` in `examples/adapters`.
//!
//! The API is a cloud on this machine: its tokens are revoked on the way, and it refuses a call.

use adapters::reqwest_client::{Api, SendThrough, http_service};
use reqwest::{Body, Client, redirect::Policy};
use serde_json::{Value, json};
use tower::{BoxError, ServiceBuilder};
use tower_outbound::{
    buffer_body::{BufferBodyLayer, BufferErrorBodyLayer, BufferedBody},
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply},
    token::TokenCache,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // For this package alone: see its Cargo.toml.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let cloud = LoopbackCloud::builder().start().await?;
    let client = Client::builder().redirect(Policy::none()).build()?;
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url())?;
    let api = api(&genesys, client.clone())?;
    let users = format!("{}/api/v2/users", genesys.api_url());

    let listing = client.get(&users).query(&[("pageSize", "5")]);
    let listing = listing.send_through(&api).await?.error_for_status()?;
    let listing: Value = listing.json().await?;
    println!("{} users", listing["total"]);

    cloud.revoke_all();
    let refusal = Reply::too_many_requests(Some("1"));
    cloud.script(Listener::Api, "POST /api/v2/users", [refusal]);
    let user = json!({"name": "Ada Lovelace", "email": "ada@example.com"});
    let created = client.post(&users).json(&user).send_through(&api).await?;
    println!("{}: {}", created.status(), created.url());
    assert_eq!(created.status(), 200);
    let created: Value = created.json().await?;
    println!("{} has the id {}", created["name"], created["id"]);
    println!(
        "{} calls were sent, with {} tokens",
        cloud.api_calls(),
        cloud.mints()
    );
    Ok(())
}

fn api(genesys: &GenesysCloud, client: Client) -> Result<Api, BoxError> {
    let http = http_service(client);
    let endpoint =
        genesys.token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())?;
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let stack = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| response.map(Body::wrap))
        .layer(BufferBodyLayer::new()) // any body of reqwest's can be sent again
        .layer(genesys.rate_limit_retry())
        .layer(genesys.token_refresh(tokens))
        .layer(BufferErrorBodyLayer::new())
        .map_request(|request: http::Request<BufferedBody>| request.map(Body::wrap))
        .service(http);
    Ok(Api::new(stack))
}
