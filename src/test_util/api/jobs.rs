//! `/api/v2/analytics/conversations/details/jobs`: a query that takes its time.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    conversations::{Cursor, found},
    listing,
    users::object,
};
use crate::test_util::{
    Knobs,
    answer::Answer,
    data::{self, Data, Job},
    received::Received,
};

pub(super) fn create(data: &mut Data, request: &Received, knobs: &Knobs) -> Outcome {
    let found = found(data, &object(request)?)?;
    let id = data::random_uuid();
    let reply = Answer::json(StatusCode::ACCEPTED, &json!({"jobId": id}));
    data.jobs.insert(
        id,
        Job {
            polls_left: knobs.job_polls,
            polled: false,
            found,
        },
    );
    Ok(reply)
}

/// 202 while it is not done, 200 from then on.
pub(super) fn status(data: &mut Data, id: &str) -> Outcome {
    let job = data.jobs.get_mut(id).ok_or_else(Answer::not_found)?;
    let (status, state) = match (job.polls_left, job.polled) {
        (0, _) => (StatusCode::OK, "FULFILLED"),
        (_, false) => (StatusCode::ACCEPTED, "QUEUED"),
        (_, true) => (StatusCode::ACCEPTED, "PENDING"),
    };
    job.polls_left = job.polls_left.saturating_sub(1);
    job.polled = true;
    let mut reply = Map::new();
    reply.insert("state".into(), state.into());
    reply.insert("submissionDate".into(), "2026-02-01T00:00:00.000Z".into());
    if state == "FULFILLED" {
        reply.insert("completionDate".into(), "2026-02-01T00:00:03.000Z".into());
    }
    Ok(Answer::json(status, &Value::Object(reply)))
}

pub(super) fn results(data: &Data, request: &Received, id: &str) -> Outcome {
    let job = data.jobs.get(id).ok_or_else(Answer::not_found)?;
    if job.polls_left > 0 {
        return Err(Answer::bad_request(
            "bad.request",
            "The job is not fulfilled.",
        ));
    }
    let query = request.query();
    let size = listing::number(&query, "pageSize", 1000, 1..=10_000)?;
    let position = match query.get("cursor") {
        None => 0,
        Some(cursor) => {
            Cursor::read(cursor).ok_or_else(|| listing::invalid_value("cursor", cursor))?
        }
    };
    let start = job.found.start.saturating_add(position).min(job.found.end);
    let end = start.saturating_add(size).min(job.found.end);
    let conversations: Vec<Value> = (start..end)
        .map(|index| data::conversation(index, data.conversations))
        .collect();
    let mut reply = Map::new();
    reply.insert("conversations".into(), conversations.into());
    reply.insert(
        "dataAvailabilityDate".into(),
        "2026-02-01T00:00:00.000Z".into(),
    );
    if end < job.found.end {
        reply.insert("cursor".into(), Cursor::write(end - job.found.start).into());
    }
    Ok(Answer::ok(&Value::Object(reply)))
}

pub(super) fn delete(data: &mut Data, id: &str) -> Outcome {
    data.jobs.remove(id).ok_or_else(Answer::not_found)?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
