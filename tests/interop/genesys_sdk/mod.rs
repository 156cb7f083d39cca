//! The loopback Genesys Cloud, as the vendor's own SDK sees it.

mod through_gateway;

use std::{path::Path, process::Command};

use http::Uri;
use serde_json::{Value, json};
use tower_outbound::test_util::{CLIENT_ID, CLIENT_SECRET, LoopbackCloud};

use super::process::installed;

#[tokio::test]
#[ignore = "needs the SDK; .ci/run installs what it needs"]
async fn the_official_sdk_logs_in_lists_users_and_queries_conversations() {
    let cloud = LoopbackCloud::builder().start().await.unwrap();
    let [login, api] = [cloud.login_url(), cloud.api_url()].map(|url| {
        let url: Uri = url.parse().unwrap();
        url.port_u16().unwrap().to_string()
    });
    let arguments = [&login, &api, CLIENT_ID, CLIENT_SECRET, INTERVAL];
    let said = run("calls.py", &arguments).await;

    is_all_there_is(&said, &cloud);
    assert_eq!(
        said["unknown_token"],
        json!({"status": 401, "code": "bad.credentials"})
    );
    assert_eq!(cloud.mints(), 1);
}

/// Runs a script beside this file; returns the JSON that it prints.
async fn run(script: &str, arguments: &[&str]) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/genesys_sdk");
    let mut command = Command::new(installed("venv/bin/python"));
    // Not a cache beside the sources.
    command
        .arg("-B")
        .arg(directory.join(script))
        .args(arguments);
    let said = tokio::task::spawn_blocking(move || {
        let output = command.output();
        let output = output.expect("`.ci/run` installs what this needs");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        serde_json::from_slice(&output.stdout).unwrap()
    });
    said.await.unwrap()
}

/// That the SDK has found every user and every conversation.
fn is_all_there_is(said: &Value, cloud: &LoopbackCloud) {
    assert_eq!(distinct(&said["users"]), USERS);
    let mut ids = cloud.conversation_ids();
    ids.sort();
    let mut found: Vec<_> = texts(&said["conversations"]);
    found.sort();
    assert_eq!(found, ids);
    assert_eq!(said["total"], ids.len());
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
