//! The two forms of a listing in pages, and the reading of their parameters.

use std::ops::Range;

use serde_json::{Map, Value};

use super::Outcome;
use crate::test_util::{
    Knobs,
    answer::Answer,
    form::{Form, encoded},
    received::Received,
    shared::Shared,
};

/// A number from the query: within `range`, or `default` if it is not there.
pub(super) fn number(
    query: &Form,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Answer> {
    let Some(text) = query.get(name) else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| invalid_value(name, text))
}

pub(super) fn invalid_value(name: &str, value: &str) -> Answer {
    Answer::bad_request(
        "invalid.query.param.value",
        &format!("Value [{value}] is not valid for parameter [{name}]."),
    )
}

/// A page by number: `pageSize` and `pageNumber` in, the links to all sides out. `keep` names
/// parameters that the links repeat.
pub(super) fn numbered(
    cloud: &Shared,
    request: &Received,
    knobs: &Knobs,
    keep: &[&str],
    total: usize,
    entities: impl FnOnce(Range<usize>) -> Vec<Value>,
) -> Outcome {
    let query = request.query();
    let size = number(&query, "pageSize", DEFAULT_PAGE_SIZE, 1..=MAX_PAGE_SIZE)?;
    let page = number(&query, "pageNumber", 1, 1..=usize::MAX)?;
    let pages = total.div_ceil(size);

    let mut kept = String::new();
    for name in keep {
        if let Some(value) = query.get(name) {
            kept.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let base = base(cloud, knobs);
    let path = request.path();
    let link = |page: usize| -> Value {
        format!("{base}{path}?pageSize={size}&pageNumber={page}{kept}").into()
    };
    let mut reply = Map::new();
    reply.insert(
        "entities".into(),
        entities(window(size, page, total)).into(),
    );
    reply.insert("pageSize".into(), size.into());
    reply.insert("pageNumber".into(), page.into());
    reply.insert("pageCount".into(), pages.into());
    reply.insert("total".into(), total.into());
    reply.insert("selfUri".into(), link(page));
    reply.insert("firstUri".into(), link(1));
    reply.insert("lastUri".into(), link(pages.max(1)));
    if page < pages {
        reply.insert("nextUri".into(), link(page + 1));
    }
    if page > 1 {
        reply.insert("previousUri".into(), link(page - 1));
    }
    Ok(Answer::ok(&Value::Object(reply)))
}

/// What links start with: nothing, or scheme and host.
pub(super) fn base<'a>(cloud: &'a Shared, knobs: &Knobs) -> &'a str {
    if knobs.absolute_links {
        cloud.api_url()
    } else {
        ""
    }
}

/// The indices of a page, none beyond the end.
pub(super) fn window(size: usize, page: usize, total: usize) -> Range<usize> {
    let start = size.saturating_mul(page - 1).min(total);
    start..start.saturating_add(size).min(total)
}

pub(super) const DEFAULT_PAGE_SIZE: usize = 25;

/// What users' listings take; other endpoints of the real one take less.
const MAX_PAGE_SIZE: usize = 500;
