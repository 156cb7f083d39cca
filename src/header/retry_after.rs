//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};

/// How long the server asks to wait: `Retry-After` (RFC 9110 §10.2.3), `None` where it says nothing
/// that can be waited for.
///
/// `now` is only asked where a point in time is given and the response has no readable `Date`
/// (RFC 9110 §6.6.1): the server's own clock is the one that it meant.
///
/// | value | wait |
/// |---|---|
/// | `120` | that many seconds |
/// | `2.5` | rounded up to whole seconds: some servers write decimals |
/// | `Sun, 06 Nov 1994 08:49:37 GMT` | until then; also the two obsolete forms (§5.6.7) |
/// | `1767225600` | until then, if read as Unix time it lies in the years 2020 to 2099; some servers confuse the two, and nobody means to wait for fifty years |
/// | digits beyond any integer | [`Duration::MAX`]: it asks for more than anyone waits |
/// | zero, negative, in the past | `None` |
/// | anything else | `None` |
///
/// Blanks around the value do not matter. Of several values, in lines of their own or joined with
/// commas, the longest wait counts.
///
/// Dates are read by the crate `httpdate`. It reads two digits of a year as 1970 to 2069, and
/// refuses a weekday that is not the date's own and a leap second (`:60`, which §5.6.7 allows); such
/// a value counts as absent.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let server_now = server_time(headers, now);
    let lines = headers.get_all(RETRY_AFTER).into_iter().filter_map(text);
    let waits =
        lines.filter_map(|line| numbers(line, server_now).or_else(|| date(line, server_now)));
    waits.filter(|wait| !wait.is_zero()).max()
}

/// The time at the server when it answered: its `Date`, or else ours.
pub(super) fn server_time(headers: &HeaderMap, now: SystemTime) -> SystemTime {
    let date = headers.get(DATE).and_then(text);
    date.and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now)
}

/// Digits with or without a fraction, rounded up.
pub(super) fn whole_seconds(number: &str) -> Option<Duration> {
    let number = number.trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // Nothing but digits: it can only fail by being too large.
    let Ok(seconds) = whole.parse::<u64>() else {
        return Some(Duration::MAX);
    };
    let begun = fraction.bytes().any(|digit| digit != b'0');
    Some(Duration::from_secs(
        seconds.saturating_add(u64::from(begun)),
    ))
}

/// What is a Unix time in our days is waited until, anything else is waited for.
pub(super) fn delay_or_until(delay: Duration, server_now: SystemTime) -> Duration {
    if (YEAR_2020..YEAR_2100).contains(&delay) {
        until(UNIX_EPOCH + delay, server_now)
    } else {
        delay
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

/// One number, or some that a proxy has joined; all must be readable.
fn numbers(line: &str, server_now: SystemTime) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for number in line.split(',') {
        longest = longest.max(delay_or_until(whole_seconds(number)?, server_now));
    }
    Some(longest)
}

fn date(line: &str, server_now: SystemTime) -> Option<Duration> {
    let date = httpdate::parse_http_date(line).ok()?;
    Some(until(date, server_now))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Zero if it is past.
fn until(date: SystemTime, server_now: SystemTime) -> Duration {
    date.duration_since(server_now).unwrap_or_default()
}

/// `2020-01-01T00:00:00Z` as Unix time.
const YEAR_2020: Duration = Duration::from_secs(1_577_836_800);
/// `2100-01-01T00:00:00Z` as Unix time.
const YEAR_2100: Duration = Duration::from_secs(4_102_444_800);

#[cfg(test)]
mod tests;
