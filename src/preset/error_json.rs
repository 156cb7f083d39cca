use http::response;
use serde_json::Value;

use crate::buffer_body::ErrorBody;

/// The JSON of an error's body; `None` if it is none, or no layer below shows it.
pub(super) fn error_json(parts: &response::Parts) -> Option<Value> {
    let body = parts.extensions.get::<ErrorBody>()?;
    serde_json::from_slice(body.bytes()).ok()
}
