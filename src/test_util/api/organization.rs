//! The organisation: the token's own page, limits, queues.

use serde_json::json;

use super::{Caller, Outcome, listing};
use crate::test_util::{
    Knobs,
    answer::Answer,
    data::{self, Data, Kind},
    received::Received,
    shared::Shared,
};

pub(super) fn token(caller: Option<&Caller>) -> Outcome {
    let client = caller.map_or("", |caller| &caller.session.client);
    Ok(Answer::ok(&json!({
        "organization": {"id": data::uuid(Kind::Organization, 0), "name": "Loopback"},
        "OAuthClient": {"id": client, "name": "tower-outbound"},
    })))
}

pub(super) fn limits(namespace: &str) -> Outcome {
    if namespace != "platform.api" {
        return Err(Answer::not_found());
    }
    let limits = [
        ("client.credentials.token.rate.per.minute", 300),
        ("token.rate.per.minute", 300),
        ("ui.token.rate.per.minute", 300),
        ("org.app.user.rate.per.minute", 3000),
        ("org.user.rate.per.minute", 3000),
        ("request.bytes.max", 512_000),
    ];
    let entities =
        limits.map(|(key, value)| json!({"key": key, "namespace": namespace, "value": value}));
    Ok(Answer::ok(&json!({"entities": entities})))
}

pub(super) fn queues(cloud: &Shared, data: &Data, request: &Received, knobs: &Knobs) -> Outcome {
    listing::numbered(cloud, request, knobs, &[], data.queues, |range| {
        range.map(data::queue).collect()
    })
}
