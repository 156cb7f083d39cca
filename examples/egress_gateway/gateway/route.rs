//! Which upstream a request is for: a decision on its target, byte for byte.

use http::{Uri, uri::PathAndQuery};

use super::{failure::Failure, upstream::Upstream};

/// The upstream, and the target there.
pub(crate) fn route<'a>(
    upstreams: &'a [Upstream],
    target: &Uri,
) -> Result<(&'a Upstream, PathAndQuery), Failure> {
    let path_and_query = target.path_and_query();
    let path_and_query = path_and_query.filter(|target| target.as_str().starts_with('/'));
    let Some(path_and_query) = path_and_query else {
        return Err(Failure::bad_request(
            "only requests for a path are forwarded",
        ));
    };
    if let [only @ Upstream { name: None, .. }] = upstreams {
        return Ok((only, path_and_query.clone()));
    }
    let (first, rest) = split(path_and_query.as_str());
    let named = upstreams
        .iter()
        .find(|one| one.name.as_deref() == Some(first));
    named
        .and_then(|upstream| Some((upstream, rest.parse().ok()?)))
        .ok_or_else(|| {
            let names = upstreams.iter().filter_map(|one| one.name.as_deref());
            let paths: Vec<_> = names.map(|name| format!("/{name}/…")).collect();
            Failure::no_upstream(format!("there are {}", paths.join(", ")))
        })
}

/// `/genesys/api?page=2` as `genesys` and `/api?page=2`.
fn split(target: &str) -> (&str, String) {
    let target = &target[1..];
    let end = target.find(['/', '?']).unwrap_or(target.len());
    let (first, rest) = target.split_at(end);
    if rest.starts_with('/') {
        (first, rest.to_owned())
    } else {
        (first, format!("/{rest}"))
    }
}
