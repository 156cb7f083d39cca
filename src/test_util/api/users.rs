//! `/api/v2/users`.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Caller, Outcome, listing};
use crate::test_util::{
    Knobs,
    answer::Answer,
    data::{Data, User},
    received::Received,
    shared::Shared,
};

pub(super) fn list(cloud: &Shared, data: &Data, request: &Received, knobs: &Knobs) -> Outcome {
    let query = request.query();
    let wanted = match query.get("state") {
        None | Some("any") => None,
        Some(state @ ("active" | "inactive")) => Some(state),
        Some(other) => return Err(listing::invalid_value("state", other)),
    };
    let users: Vec<&User> = data
        .users
        .iter()
        .filter(|user| wanted.is_none_or(|state| user.state == state))
        .collect();
    listing::numbered(cloud, request, knobs, &["state"], users.len(), |range| {
        users[range].iter().map(|user| user.to_json()).collect()
    })
}

pub(super) fn create(data: &mut Data, request: &Received) -> Outcome {
    let body = object(request)?;
    let text = |name| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (Some(name), Some(email)) = (text("name"), text("email")) else {
        return Err(Answer::bad_request(
            "bad.request",
            "A user needs a name and an email.",
        ));
    };
    if data.users.iter().any(|user| user.email == email) {
        return Err(taken(email));
    }
    let user = User::created(name, email);
    let reply = Answer::ok(&user.to_json());
    data.users.push(user);
    Ok(reply)
}

pub(super) fn me(data: &Data, caller: Option<&Caller>) -> Outcome {
    if !caller.is_some_and(|caller| caller.session.user) {
        return Err(Answer::bad_request(
            "bad.request",
            "This request requires a user context. Client credentials cannot be used for requests \
             to this resource.",
        ));
    }
    data.users
        .first()
        .map(|user| Answer::ok(&user.to_json()))
        .ok_or_else(Answer::not_found)
}

pub(super) fn read(data: &Data, id: &str) -> Outcome {
    let user = data.users.iter().find(|user| user.id == id);
    user.map(|user| Answer::ok(&user.to_json()))
        .ok_or_else(Answer::not_found)
}

pub(super) fn update(data: &mut Data, request: &Received, id: &str) -> Outcome {
    let body = object(request)?;
    let email = body.get("email").and_then(Value::as_str);
    if data
        .users
        .iter()
        .any(|user| user.id != id && Some(user.email.as_str()) == email)
    {
        return Err(taken(email.unwrap_or_default()));
    }
    let user = data
        .users
        .iter_mut()
        .find(|user| user.id == id)
        .ok_or_else(Answer::not_found)?;
    let Some(version) = body.get("version").and_then(Value::as_u64) else {
        return Err(Answer::bad_request(
            "bad.request",
            "The version is required.",
        ));
    };
    if version != user.version {
        let message = format!(
            "Version [{version}] is not the current one [{}].",
            user.version
        );
        return Err(conflict(&message));
    }
    for (name, field) in [
        ("name", &mut user.name),
        ("email", &mut user.email),
        ("state", &mut user.state),
    ] {
        if let Some(text) = body.get(name).and_then(Value::as_str) {
            text.clone_into(field);
        }
    }
    user.version += 1;
    Ok(Answer::ok(&user.to_json()))
}

pub(super) fn delete(data: &mut Data, id: &str) -> Outcome {
    let index = data
        .users
        .iter()
        .position(|user| user.id == id)
        .ok_or_else(Answer::not_found)?;
    data.users.remove(index);
    if index < data.first_created {
        data.first_created -= 1;
    }
    Ok(Answer::ok(&json!({})))
}

/// The JSON object in the body.
pub(super) fn object(request: &Received) -> Result<serde_json::Map<String, Value>, Answer> {
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Answer::bad_request(
            "bad.request",
            "The request body is not a JSON object.",
        )),
    }
}

fn taken(email: &str) -> Answer {
    conflict(&format!("A user with the email [{email}] already exists."))
}

fn conflict(message: &str) -> Answer {
    Answer::error(StatusCode::CONFLICT, "general.conflict", message)
}
