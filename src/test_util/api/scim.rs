//! `/api/v2/scim/v2/users`: other paging, other errors, and a limit on what one call may cost.

use http::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::{Outcome, listing};
use crate::test_util::{
    answer::Answer,
    data::{Data, User},
    received::Received,
};

pub(super) fn list(data: &Data, request: &Received) -> Outcome {
    let query = request.query();
    let count =
        listing::number(&query, "count", listing::DEFAULT_PAGE_SIZE, 0..=500).map_err(|_| {
            error(
                StatusCode::BAD_REQUEST,
                "invalidValue",
                "count is not valid",
            )
        })?;
    let start = listing::number(&query, "startIndex", 1, 1..=usize::MAX).map_err(|_| {
        error(
            StatusCode::BAD_REQUEST,
            "invalidValue",
            "startIndex is not valid",
        )
    })?;
    let narrowed = ["attributes", "excludedAttributes"]
        .iter()
        .any(|name| query.get(name).is_some());
    if count > WHOLE_USERS && !narrowed {
        // The call is too dear, not too early: the same one is refused again after the wait.
        return Err(Answer::too_many_requests(1));
    }
    let resources: Vec<Value> = data
        .users
        .iter()
        .skip(start - 1)
        .take(count)
        .map(resource)
        .collect();
    Ok(scim(
        StatusCode::OK,
        &json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": data.users.len(),
            "startIndex": start,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        }),
    ))
}

pub(super) fn read(data: &Data, id: &str) -> Outcome {
    let user = data.users.iter().find(|user| user.id == id);
    user.map(|user| scim(StatusCode::OK, &resource(user)))
        .ok_or_else(|| error(StatusCode::NOT_FOUND, "notFound", "user not found"))
}

fn resource(user: &User) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": user.id,
        "userName": user.email,
        "displayName": user.name,
        "active": user.state == "active",
        "meta": {"resourceType": "User", "version": user.version.to_string()},
    })
}

/// SCIM's own envelope, in which the status is a string.
fn error(status: StatusCode, scim_type: &str, detail: &str) -> Answer {
    scim(
        status,
        &json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.as_str(),
            "scimType": scim_type,
            "detail": detail,
        }),
    )
}

fn scim(status: StatusCode, body: &Value) -> Answer {
    let media_type = HeaderValue::from_static("application/scim+json");
    Answer::json(status, body).header(CONTENT_TYPE, media_type)
}

/// A page of whole users beyond this size costs more than one call may.
const WHOLE_USERS: usize = 25;
