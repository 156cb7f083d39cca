//! Evaluations: the one operation of the real service that takes an `Idempotency-Key`.

use serde_json::{Value, json};

use super::{Outcome, users::object};
use crate::test_util::{
    answer::Answer,
    data::{self, Data},
    received::Received,
};

pub(super) fn evaluate(data: &mut Data, request: &Received, conversation: &str) -> Outcome {
    let key = match request.headers.get("idempotency-key") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .filter(|key| data::is_uuid(key))
                .ok_or_else(|| {
                    Answer::bad_request("bad.request", "The Idempotency-Key is not a UUID.")
                })?,
        ),
    };
    let body = if request.body.is_empty() {
        serde_json::Map::new()
    } else {
        object(request)?
    };
    if let Some(made) = key.and_then(|key| data.idempotency_keys.get(key)) {
        let entity = data.evaluations.get(*made).ok_or_else(Answer::not_found)?;
        return Ok(Answer::ok(entity));
    }
    let id = data::random_uuid();
    let entity = json!({
        "id": id,
        "conversation": {"id": conversation},
        "status": "PENDING",
        "request": Value::Object(body),
        "selfUri": format!("/api/v2/quality/conversations/{conversation}/evaluations/{id}"),
    });
    if let Some(key) = key {
        data.idempotency_keys
            .insert(key.to_owned(), data.evaluations.len());
    }
    data.evaluations.push(entity.clone());
    Ok(Answer::ok(&entity))
}
