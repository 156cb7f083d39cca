//! What a program says about one request, in headers that go no further.

use http::{HeaderValue, Request};
use tower_outbound::mark::{Deadline, NoRetry, Priority, ReplaySafe};

use super::{args::seconds, failure::Failure, headers::OURS};

/// Reads `Outbound-…` headers into marks; [`end_here`](super::headers::end_here) drops them later.
pub(crate) fn read<B>(request: &mut Request<B>) -> Result<(), Failure> {
    let (names, extensions) = (request.headers().clone(), request.extensions_mut());
    let ours = names
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(OURS));
    for (name, value) in ours {
        let wrong = |what: &str| Failure::bad_request(format!("`{name}`: {what}"));
        let text = value.to_str().unwrap_or_default().trim();
        match &name.as_str()[OURS.len()..] {
            "timeout" => {
                let timeout = seconds(text).map_err(|what| wrong(&what))?;
                extensions.insert(Deadline::within(timeout));
            }
            "replay-safe" if is_true(value) => drop(extensions.insert(ReplaySafe)),
            "no-retry" if is_true(value) => drop(extensions.insert(NoRetry)),
            "replay-safe" | "no-retry" => return Err(wrong("write `true`, or leave it out")),
            "priority" => {
                let priority = text.parse();
                let priority = priority.map_err(|_| wrong("give a number from -128 to 127"))?;
                extensions.insert(Priority(priority));
            }
            _ => {
                return Err(wrong(
                    "there are `outbound-timeout`, `-replay-safe`, `-no-retry` and `-priority`",
                ));
            }
        }
    }
    Ok(())
}

fn is_true(value: &HeaderValue) -> bool {
    value == "true"
}
