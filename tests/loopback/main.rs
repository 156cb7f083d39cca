//! The loopback servers, seen by a plain client.

#![allow(clippy::disallowed_methods)] // tests read tokio's clock, paused

mod api;
mod connections;
mod login;
mod routes;
mod scripts;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use serde_json::Value;
use tower_outbound::test_util::{
    CLIENT_ID, CLIENT_SECRET, LoopbackCloud, LoopbackCloudBuilder, LoopbackConnector,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The servers and one client.
struct Bench {
    cloud: LoopbackCloud,
    http: Client<LoopbackConnector, Full<Bytes>>,
}

/// A reply that has been read.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Bench {
    fn in_memory(builder: LoopbackCloudBuilder) -> Self {
        Self::new(builder.start_in_memory())
    }

    async fn on_sockets(builder: LoopbackCloudBuilder) -> Self {
        Self::new(builder.start().await.expect("ports are free"))
    }

    fn new(cloud: LoopbackCloud) -> Self {
        let http = cloud.client();
        Self { cloud, http }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Seen, Error> {
        let (parts, body) = self.http.request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok(Seen {
            status: parts.status,
            headers: parts.headers,
            bytes,
        })
    }

    /// A form to the token endpoint, with the credentials of the usual client.
    async fn grant(&self, form: &str) -> Seen {
        self.grant_as(&basic(CLIENT_ID, CLIENT_SECRET), form).await
    }

    async fn grant_as(&self, authorization: &str, form: &str) -> Seen {
        let request = Request::post(self.cloud.token_url())
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request
            .body(Full::from(form.to_owned()))
            .expect("a valid request");
        self.send(request).await.expect("an answer")
    }

    async fn token(&self) -> String {
        let reply = self.grant("grant_type=client_credentials").await;
        reply.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    fn request(&self, token: &str, method: &str, target: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.cloud.api_url()))
            .header(AUTHORIZATION, format!("Bearer {token}"))
    }

    async fn get(&self, token: &str, target: &str) -> Seen {
        let request = self.request(token, "GET", target).body(Full::default());
        self.send(request.expect("a valid request"))
            .await
            .expect("an answer")
    }

    async fn call(&self, token: &str, method: &str, target: &str, body: &Value) -> Seen {
        let request = self
            .request(token, method, target)
            .header(CONTENT_TYPE, "application/json");
        let request = request
            .body(Full::from(body.to_string()))
            .expect("a valid request");
        self.send(request).await.expect("an answer")
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
