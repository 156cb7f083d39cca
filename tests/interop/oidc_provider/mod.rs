use std::process::Command;

use http::StatusCode;
use serde_json::{Value, json};
use tower_outbound::oauth2::{
    AuthorizationCode, AuthorizationRequest, ClientAuth, Metadata, TokenEndpoint,
};

use super::{
    calls::{browse, get, granted, http},
    process::{Process, installed},
};

/// oidc-provider, and an API that takes its tokens.
pub struct OidcProvider {
    _process: Process,
    issuer: String,
    api: String,
}

/// Who may ask it for tokens, and what it wants to see in DPoP proofs.
#[derive(Default)]
pub struct Settings {
    pub clients: Vec<Value>,
    /// Access tokens that end after three seconds. Otherwise they outlive the test.
    pub short_lived: bool,
    /// Without it the server does not know of DPoP.
    pub dpop: bool,
    pub server_nonces: bool,
    /// The API wants a nonce too, another after each response.
    pub api_nonces: bool,
}

impl OidcProvider {
    pub fn of(clients: impl IntoIterator<Item = Value>) -> Self {
        let clients = clients.into_iter().collect();
        Self::start(Settings {
            clients,
            ..Settings::default()
        })
    }

    pub fn start(settings: Settings) -> Self {
        let settings = json!({
            "clients": settings.clients,
            "shortLived": settings.short_lived,
            "dpop": settings.dpop,
            "serverNonces": settings.server_nonces,
            "apiNonces": settings.api_nonces,
        });
        let (process, said) = Process::start(
            Command::new(installed("node/bin/node"))
                // What it imports is looked for where it runs.
                .current_dir(installed("oidc_provider"))
                .args([
                    "--input-type=module",
                    "--eval",
                    include_str!("server.mjs"),
                    "--",
                ])
                .arg(settings.to_string()),
        );
        let url = |name: &str| said[name].as_str().unwrap().to_owned();
        Self {
            _process: process,
            issuer: url("issuer"),
            api: url("api"),
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The origin of the API.
    pub fn api(&self) -> &str {
        &self.api
    }

    pub async fn metadata(&self) -> Metadata {
        Metadata::discover(&self.issuer, http()).await.unwrap()
    }

    pub async fn endpoint(&self, client_id: &str, auth: ClientAuth) -> TokenEndpoint {
        self.metadata()
            .await
            .token_endpoint(client_id, auth)
            .unwrap()
    }

    /// A person logs in with a browser.
    pub async fn log_in(&self, client_id: &str) -> AuthorizationCode {
        let metadata = self.metadata().await;
        assert!(metadata.names_issuer_in_callback());
        let url = metadata.authorization_endpoint().unwrap();
        let request = AuthorizationRequest::new(url, client_id, REDIRECT_URI)
            .unwrap()
            .scope("openid")
            .require_issuer(&self.issuer);
        let query = browse(&request.url(), REDIRECT_URI).await;
        request.finish(&query).unwrap()
    }

    /// All that it remembers is gone: tokens, sessions, nonces.
    pub async fn restart(&self) {
        granted(get(http(), &format!("{}/restart", self.api)).await);
    }

    /// What it was asked so far, and what it answered.
    pub async fn log(&self) -> Vec<Entry> {
        let log = granted(get(http(), &format!("{}/log", self.api)).await);
        log.as_array().unwrap().iter().map(Entry::read).collect()
    }
}

/// One request, to the authorization server or to the API.
#[derive(Debug)]
pub struct Entry {
    pub route: String,
    pub status: StatusCode,
    pub error: Option<String>,
    pub refresh_token: Option<String>,
}

impl Entry {
    fn read(entry: &Value) -> Self {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let status = entry["status"].as_u64().unwrap();
        Self {
            route: text("route").unwrap(),
            status: StatusCode::from_u16(status.try_into().unwrap()).unwrap(),
            error: text("error"),
            refresh_token: text("refresh_token"),
        }
    }
}

/// A client that gets tokens for itself.
pub fn client(id: &str, auth: &str, more: Value) -> Value {
    let mut client = json!({
        "client_id": id,
        "token_endpoint_auth_method": auth,
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
    });
    client
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    client
}

/// A command-line tool that people log in with.
pub fn tool(id: &str) -> Value {
    json!({
        "client_id": id,
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": [REDIRECT_URI],
    })
}

const REDIRECT_URI: &str = "http://127.0.0.1/callback";
