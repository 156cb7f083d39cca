use http::HeaderName;
use proptest::prelude::*;

use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example.
const RFC_EXAMPLE: u64 = 784_111_777;

fn at(epoch: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(epoch)
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

/// The wait for one value in whole seconds, asked a minute before the RFC's example.
fn seconds(value: &str) -> Option<u64> {
    let headers = headers(&[(RETRY_AFTER, value)]);
    retry_after(&headers, at(RFC_EXAMPLE - 60)).map(|wait| wait.as_secs())
}

#[test]
fn whole_seconds_are_taken_as_they_are() {
    assert_eq!(seconds("1"), Some(1));
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds("00120"), Some(120));
    assert_eq!(seconds("86400"), Some(86_400));
    assert_eq!(seconds("999999999"), Some(999_999_999));
}

#[test]
fn decimals_are_rounded_up() {
    assert_eq!(seconds("2.0"), Some(2));
    assert_eq!(seconds("2.000000000000000000001"), Some(3));
    assert_eq!(seconds("299.997"), Some(300));
    assert_eq!(seconds("0.001"), Some(1));
    assert_eq!(seconds("18446744073709551615.5"), Some(u64::MAX));
}

#[test]
fn all_three_forms_of_a_date_are_read() {
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(seconds(date), Some(60), "{date}");
    }
}

#[test]
fn blanks_around_the_value_do_not_matter() {
    assert_eq!(seconds("  120\t"), Some(120));
    assert_eq!(seconds("\tSun, 06 Nov 1994 08:49:37 GMT "), Some(60));
}

#[test]
fn what_cannot_be_waited_for_is_absent() {
    for value in [
        "", " ", "0", "0.0", "000", "-1", "-0.5", "+5", "soon", "12s", "1 2", "0x10", "1e3",
        "1e308", "NaN", "inf", "5.", ".5", "1.2.3", "1,000 s", "5;q=1", "٣",
    ] {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.clone())]);
        assert_eq!(retry_after(&headers, at(0)), None, "{value:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), at(0)), None);
}

#[test]
fn a_date_that_is_past_or_unreadable_is_absent() {
    for date in [
        "Sun, 06 Nov 1994 08:48:37 GMT",
        "Sun, 06 Nov 1994 00:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ] {
        assert_eq!(seconds(date), None, "{date}");
    }
}

#[test]
fn a_date_is_measured_against_the_servers_own_clock() {
    let headers = headers(&[
        (DATE, "Sun, 06 Nov 1994 08:49:07 GMT"),
        (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT"),
    ]);
    for ours in [0, RFC_EXAMPLE, 4_000_000_000] {
        let wait = retry_after(&headers, at(ours));
        assert_eq!(wait, Some(Duration::from_secs(30)));
    }
}

#[test]
fn an_unreadable_date_header_leaves_our_own_clock() {
    let headers = headers(&[
        (DATE, "noon"),
        (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT"),
    ]);
    let wait = retry_after(&headers, at(RFC_EXAMPLE - 7));
    assert_eq!(wait, Some(Duration::from_secs(7)));
}

#[test]
fn a_unix_time_between_2020_and_2100_is_waited_until() {
    let now = at(1_767_225_600);
    let wait = |value| retry_after(&headers(&[(RETRY_AFTER, value)]), now);
    assert_eq!(wait("1767225630"), Some(Duration::from_secs(30)));
    assert_eq!(wait("1767225629.5"), Some(Duration::from_secs(30)));
    assert_eq!(wait("1767225600"), None);
    assert_eq!(wait("1577836800"), None);
    assert_eq!(
        wait("4102444799"),
        Some(Duration::from_secs(4_102_444_799 - 1_767_225_600))
    );
}

#[test]
fn ten_digits_outside_those_years_are_a_delay() {
    assert_eq!(seconds("1577836799"), Some(1_577_836_799));
    assert_eq!(seconds("4102444800"), Some(4_102_444_800));
    assert_eq!(seconds("1767225600000"), Some(1_767_225_600_000));
    assert_eq!(seconds("0000000005"), Some(5));
}

#[test]
fn a_unix_time_is_measured_against_the_servers_own_clock() {
    let headers = headers(&[
        (DATE, "Thu, 01 Jan 2026 00:00:00 GMT"),
        (RETRY_AFTER, "1767225610"),
    ]);
    assert_eq!(retry_after(&headers, at(0)), Some(Duration::from_secs(10)));
}

// R8: peers overflow here, or wait without an end.
#[test]
fn digits_beyond_any_integer_are_the_longest_wait() {
    assert_eq!(seconds("18446744073709551615"), Some(u64::MAX));
    for digits in ["18446744073709551616", &"9".repeat(400)] {
        let headers = headers(&[(RETRY_AFTER, digits)]);
        assert_eq!(retry_after(&headers, at(0)), Some(Duration::MAX));
    }
}

#[test]
fn the_longest_of_several_values_counts() {
    let lines = |values: &[&'static str]| {
        let pairs: Vec<_> = values.iter().map(|&value| (RETRY_AFTER, value)).collect();
        retry_after(&headers(&pairs), at(RFC_EXAMPLE - 60)).map(|wait| wait.as_secs())
    };
    assert_eq!(lines(&["5", "60.5", "7"]), Some(61));
    assert_eq!(lines(&["5", "Sun, 06 Nov 1994 08:49:37 GMT"]), Some(60));
    assert_eq!(lines(&["soon", "0", "5", "-9"]), Some(5));
    assert_eq!(lines(&["5, 60 ,7"]), Some(60));
    assert_eq!(lines(&["5, soon"]), None);
}

#[test]
fn bytes_beyond_ascii_are_absent() {
    let value = HeaderValue::from_bytes(b"\xff\xfe12").unwrap();
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    assert_eq!(retry_after(&headers, at(0)), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        value in prop_oneof![
            "[ -~]{0,40}",
            "[0-9]{0,30}\\.?[0-9]{0,30}",
            "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        ].prop_map(String::into_bytes).boxed().prop_union(
            proptest::collection::vec(0x20..=0xff_u8, 0..40).boxed()
        ),
        date in "[ -~]{0,32}",
        now: u32,
    ) {
        let Ok(value) = HeaderValue::from_bytes(&value) else {
            return Ok(());
        };
        let date = HeaderValue::from_str(&date).unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value), (DATE, date)]);
        let wait = retry_after(&headers, at(now.into()));
        prop_assert_ne!(wait, Some(Duration::ZERO));
    }

    #[test]
    fn every_date_to_come_is_waited_for(now in 0..4_000_000_000_u64, wait in 1..1_000_000_u64) {
        let date = httpdate::fmt_http_date(at(now + wait));
        let headers = headers(&[(RETRY_AFTER, &date)]);
        prop_assert_eq!(retry_after(&headers, at(now)), Some(Duration::from_secs(wait)));
    }

    #[test]
    fn every_shorter_number_of_seconds_is_itself(wait in 1..1_000_000_000_u64, now: u32) {
        let headers = headers(&[(RETRY_AFTER, &wait.to_string())]);
        prop_assert_eq!(
            retry_after(&headers, at(now.into())),
            Some(Duration::from_secs(wait))
        );
    }
}
