//! The loopback Genesys Cloud, as the vendor's own SDK sees it.

use std::process::Command;

use http::Uri;
use serde_json::{Value, json};
use tower_outbound::test_util::{CLIENT_ID, CLIENT_SECRET, LoopbackCloud};

use super::process::installed;

#[tokio::test]
#[ignore = "needs the SDK; .ci/run installs what it needs"]
async fn the_official_sdk_logs_in_lists_users_and_queries_conversations() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let ports = [cloud.login_url().to_owned(), cloud.api_url().to_owned()].map(|url| {
        let url: Uri = url.parse().unwrap();
        url.port_u16().unwrap().to_string()
    });
    let said = tokio::task::spawn_blocking(move || {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/interop/genesys_sdk/calls.py"
        );
        let output = Command::new(installed("venv/bin/python"))
            .arg(script)
            .args(ports)
            .args([CLIENT_ID, CLIENT_SECRET, INTERVAL])
            .output()
            .expect("`.ci/run` installs what this needs");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    let said = said.await.unwrap();

    assert_eq!(distinct(&said["users"]), USERS);
    let mut ids = cloud.conversation_ids();
    ids.sort();
    let mut found: Vec<_> = texts(&said["conversations"]);
    found.sort();
    assert_eq!(found, ids);
    assert_eq!(said["total"], ids.len());
    assert_eq!(
        said["unknown_token"],
        json!({"status": 401, "code": "bad.credentials"})
    );
    assert_eq!(cloud.mints(), 1);
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn distinct(list: &Value) -> usize {
    let mut texts = texts(list);
    texts.sort();
    texts.dedup();
    texts.len()
}

/// Those that the cloud knows from the start.
const USERS: usize = 60;

/// All of its conversations.
const INTERVAL: &str = "2026-01-01T00:00:00.000Z/2026-02-01T00:00:00.000Z";
