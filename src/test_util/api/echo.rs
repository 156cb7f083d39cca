//! `/echo`: shows that a replay was the same to the last byte.

use serde_json::{Value, json};

use crate::test_util::{answer::Answer, received::Received};

pub(super) fn echo(request: &Received) -> Answer {
    let headers: Vec<Value> = request
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    Answer::ok(&json!({
        "method": request.method.as_str(),
        "uri": request.uri.to_string(),
        "headers": headers,
        "bodyLength": request.body_len,
        "bodySha256": request.body_sha256,
    }))
}
