//! Analytics: the query with paging in its body, one conversation, the turns of a bot flow.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{Outcome, listing, users::object};
use crate::test_util::{
    Knobs,
    answer::Answer,
    data::{self, Data},
    form::encoded,
    received::Received,
    shared::Shared,
};

pub(super) fn query(data: &Data, request: &Received) -> Outcome {
    let body = object(request)?;
    let found = found(data, &body)?;
    let (size, page) = paging(&body)?;
    if size.saturating_mul(page) > PAGING_CEILING {
        return Err(Answer::bad_request(
            "pagination.limit.exceeded",
            "Pagination may not exceed 100000 results.",
        ));
    }
    let total = found.len();
    let window = listing::window(size, page, total);
    let mut reply = Map::new();
    reply.insert("totalHits".into(), total.into());
    if !window.is_empty() {
        let descending = body.get("order").and_then(Value::as_str) == Some("desc");
        let conversations: Vec<Value> = window
            .map(|offset| {
                if descending {
                    found.end - 1 - offset
                } else {
                    found.start + offset
                }
            })
            .map(|index| data::conversation(index, data.conversations))
            .collect();
        reply.insert("conversations".into(), conversations.into());
    }
    Ok(Answer::ok(&Value::Object(reply)))
}

pub(super) fn read(data: &Data, id: &str) -> Outcome {
    data::conversation_index(id)
        .filter(|index| *index < data.conversations)
        .map(|index| Answer::ok(&data::conversation(index, data.conversations)))
        .ok_or_else(Answer::not_found)
}

pub(super) fn turns(
    cloud: &Shared,
    data: &Data,
    request: &Received,
    knobs: &Knobs,
    flow: &str,
) -> Outcome {
    let query = request.query();
    let size = listing::number(&query, "pageSize", 50, 1..=250)?;
    let start = match query.get("after") {
        None => 0,
        Some(after) => Cursor::read(after).ok_or_else(|| listing::invalid_value("after", after))?,
    };
    let end = start.saturating_add(size).min(data.turns);
    let entities: Vec<Value> = (start..end).map(|index| data::turn(flow, index)).collect();
    let mut reply = Map::new();
    reply.insert("entities".into(), entities.into());
    reply.insert("pageSize".into(), size.into());
    if end < data.turns {
        let base = listing::base(cloud, knobs);
        let after = encoded(&Cursor::write(end));
        let next = format!("{base}{}?after={after}&pageSize={size}", request.path());
        reply.insert("nextUri".into(), next.into());
    }
    Ok(Answer::ok(&Value::Object(reply)))
}

/// The conversations that a query's interval takes in, by index. Filters are accepted and let
/// everything through.
pub(super) fn found(data: &Data, body: &Map<String, Value>) -> Result<Range<usize>, Answer> {
    if let Some(unknown) = body
        .keys()
        .find(|name| !PROPERTIES.contains(&name.as_str()))
    {
        return Err(Answer::bad_request(
            "invalid.property",
            &format!("Property [{unknown}] is not valid for this resource."),
        ));
    }
    let total = data.conversations;
    let Some(interval) = body.get("interval") else {
        return Ok(0..total);
    };
    let (start, end) = interval
        .as_str()
        .and_then(|interval| interval.split_once('/'))
        .filter(|(start, end)| [start, end].iter().all(|time| is_utc_time(time)) && start <= end)
        .ok_or_else(|| Answer::bad_request("bad.request", "The interval is not valid."))?;
    Ok(first_from(start, total)..first_from(end, total))
}

/// The index of the first conversation that starts at `time` or later.
fn first_from(time: &str, total: usize) -> usize {
    let time = time.trim_end_matches('Z');
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = low.midpoint(high);
        // Times of one form compare as their texts do; a fraction may be missing.
        if data::conversation_start(middle, total).trim_end_matches('Z') < time {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// `2026-01-31T00:00:00Z`, with or without a fraction or the `Z`.
fn is_utc_time(text: &str) -> bool {
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    let text = text.trim_end_matches('Z').as_bytes();
    text.len() >= pattern.len()
        && pattern
            .iter()
            .zip(text)
            .all(|(wanted, given)| match wanted {
                b'd' => given.is_ascii_digit(),
                _ => wanted == given,
            })
}

fn paging(body: &Map<String, Value>) -> Result<(usize, usize), Answer> {
    let Some(paging) = body.get("paging") else {
        return Ok((listing::DEFAULT_PAGE_SIZE, 1));
    };
    let number = |name, max| {
        let number = paging.get(name).and_then(Value::as_u64).unwrap_or(0);
        usize::try_from(number)
            .ok()
            .filter(|number| (1..=max).contains(number))
            .ok_or_else(|| {
                Answer::bad_request(
                    "bad.request",
                    &format!("paging.{name} is missing or not valid."),
                )
            })
    };
    Ok((number("pageSize", 100)?, number("pageNumber", usize::MAX)?))
}

/// A position in a list that looks like the real one's: opaque, and in need of encoding.
pub(super) struct Cursor;

impl Cursor {
    pub(super) fn write(position: usize) -> String {
        format!("c/{position}+==")
    }

    pub(super) fn read(text: &str) -> Option<usize> {
        text.strip_prefix("c/")?.strip_suffix("+==")?.parse().ok()
    }
}

/// How far the real one lets a query page; the rest needs smaller intervals or a job.
const PAGING_CEILING: usize = 100_000;

const PROPERTIES: [&str; 12] = [
    "interval",
    "conversationFilters",
    "segmentFilters",
    "evaluationFilters",
    "surveyFilters",
    "resolutionFilters",
    "mediaEndpointStatFilters",
    "aggregations",
    "order",
    "orderBy",
    "paging",
    "startOfDayIntervalMatching",
];
