//! What a server says about its limit: when to come back, and how much is left.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::{super::clock::whole_seconds, quota::Remaining};

/// What `Retry-After` says on a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The true time, rounded up to whole seconds as the field demands.
    Exact,
    /// Always so many seconds, whatever the truth.
    Constant {
        seconds: u64,
    },
    /// A date, with the server's own in `Date`.
    Date,
    /// Half of the true time, and at least a second.
    TooEarly,
    /// Double the true time.
    TooLate,
    Absent,
}

/// What every answer says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    None,
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    RateLimit,
    /// `X-RateLimit-Limit`, `-Remaining`, and `-Reset` in seconds.
    XRateLimit,
}

/// Before which time a client that got a hint must not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBefore {
    /// So long after it got the answer.
    After(Duration),
    /// A time at the server.
    At(Duration),
}

impl Hint {
    /// Writes the hint, if there is anything to say, and returns what it asks for.
    pub fn write(
        self,
        opens_in: Duration,
        now: Duration,
        headers: &mut HeaderMap,
    ) -> Option<NotBefore> {
        let exact = whole_seconds(opens_in);
        let seconds = match self {
            Hint::Exact => exact,
            Hint::Constant { seconds } => seconds,
            Hint::TooEarly => (exact / 2).max(1),
            Hint::TooLate => 2 * exact,
            Hint::Date => {
                let opens = whole_seconds(now + opens_in);
                headers.insert(header::DATE, http_date(now.as_secs()));
                headers.insert(header::RETRY_AFTER, http_date(opens));
                return Some(NotBefore::At(Duration::from_secs(opens)));
            }
            Hint::Absent => return None,
        };
        if seconds == 0 {
            return None;
        }
        headers.insert(header::RETRY_AFTER, seconds.into());
        Some(NotBefore::After(Duration::from_secs(seconds)))
    }
}

impl Fields {
    pub fn write(self, remaining: &[Remaining], headers: &mut HeaderMap) {
        match self {
            Fields::None => {}
            Fields::RateLimit => {
                let name = |index: usize| match remaining.len() {
                    1 => "default".to_owned(),
                    _ => format!("limit-{index}"),
                };
                let (mut limits, mut policies) = (Vec::new(), Vec::new());
                for (index, left) in remaining.iter().enumerate() {
                    let (name, r, q) = (name(index), left.remaining, left.quota);
                    match left.window {
                        Some(window) => {
                            let (t, w) = (whole_seconds(left.reset), window.as_secs());
                            limits.push(format!("\"{name}\";r={r};t={t}"));
                            policies.push(format!("\"{name}\";q={q};w={w}"));
                        }
                        None => {
                            limits.push(format!("\"{name}\";r={r}"));
                            policies.push(format!("\"{name}\";q={q};qu=\"concurrent-requests\""));
                        }
                    }
                }
                insert(headers, "ratelimit", &limits.join(", "));
                insert(headers, "ratelimit-policy", &policies.join(", "));
            }
            Fields::XRateLimit => {
                // These fields know one limit only: the tightest.
                let Some(left) = remaining.iter().min_by_key(|left| left.remaining) else {
                    return;
                };
                insert(headers, "x-ratelimit-limit", &left.quota.to_string());
                insert(
                    headers,
                    "x-ratelimit-remaining",
                    &left.remaining.to_string(),
                );
                insert(
                    headers,
                    "x-ratelimit-reset",
                    &whole_seconds(left.reset).to_string(),
                );
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

/// So many seconds after the run began, which was at the start of the year 2026, a Thursday.
///
/// Runs end within the January.
fn http_date(seconds: u64) -> HeaderValue {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let text = format!(
        "{}, {:02} Jan 2026 {:02}:{:02}:{:02} GMT",
        DAYS[days as usize % 7],
        days + 1,
        second / 3600,
        second / 60 % 60,
        second % 60,
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
