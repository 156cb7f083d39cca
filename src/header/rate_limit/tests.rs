use std::time::UNIX_EPOCH;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

/// Thu, 01 Jan 2026 00:00:00 GMT.
const NEW_YEAR_2026: u64 = 1_767_225_600;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NEW_YEAR_2026)
}

/// In whole seconds.
fn exhausted(legacy: &[LegacyFields], pairs: &[(&str, &str)]) -> Option<u64> {
    exhausted_for(&headers(pairs), legacy, now()).map(|wait| wait.as_secs())
}

fn limits(field: &str) -> Vec<(String, u64, Option<u64>)> {
    let limits = rate_limit(&headers(&[("RateLimit", field)])).into_iter();
    limits
        .map(|limit| {
            let reset = limit.reset.map(|reset| reset.as_secs());
            (limit.policy, limit.remaining, reset)
        })
        .collect()
}

fn limit(policy: &str, remaining: u64, reset: Option<u64>) -> (String, u64, Option<u64>) {
    (policy.to_owned(), remaining, reset)
}

// ===== RateLimit and RateLimit-Policy =====

#[test]
fn what_remains_and_when_it_resets_is_read() {
    assert_eq!(
        limits(r#""default";r=50;t=30"#),
        [limit("default", 50, Some(30))]
    );
    assert_eq!(limits(r#""default";r=0"#), [limit("default", 0, None)]);
}

#[test]
fn a_field_may_speak_of_several_limits_in_several_lines() {
    let headers = headers(&[
        ("ratelimit", r#""minute";r=20;t=23, "hour";r=399;t=2402"#),
        ("ratelimit", r#""day";r=4000"#),
    ]);
    let names: Vec<_> = rate_limit(&headers).into_iter().map(|l| l.policy).collect();
    assert_eq!(names, ["minute", "hour", "day"]);
}

#[test]
fn a_partition_key_is_bytes() {
    let headers = headers(&[("ratelimit", r#""default";r=1;pk=:c2Vzc2lvbi03:"#)]);
    let key = rate_limit(&headers).remove(0).partition_key;
    assert_eq!(key.as_deref(), Some(&b"session-7"[..]));
}

#[test]
fn parameters_of_the_servers_own_are_ignored() {
    assert_eq!(
        limits(r#""default";acme-burst=?1;r=50;acme;t=30"#),
        [limit("default", 50, Some(30))]
    );
}

#[test]
fn a_member_that_says_too_little_or_nonsense_is_left_out() {
    for member in [
        r#""no-r";t=30"#,
        r#""negative";r=-1;t=30"#,
        r#""negative";r=0;t=-1"#,
        r#""decimal";r=1.5"#,
        r#""decimal";r=0;t=1.5"#,
        r#""text";r="0""#,
        r#""flag";r"#,
        r#""key";r=0;pk="text""#,
        r#"token;r=0;t=30"#,
        r#"100;r=0;t=30"#,
        r#"("inner" "list");r=0;t=30"#,
    ] {
        let read = limits(&format!(r#"{member}, "good";r=7"#));
        assert_eq!(read, [limit("good", 7, None)], "{member}");
    }
}

#[test]
fn a_malformed_field_is_ignored_whole() {
    for field in [
        r#""good";r=7, "bad";r="#,
        r#""good";r=7,"#,
        r#""good";r=7, "open;r=1"#,
        r#""good";r=9999999999999999"#,
        r#""good";R=7"#,
        "limit=100, remaining=50, reset=5",
        "100",
        "",
    ] {
        assert_eq!(limits(field), [], "{field}");
    }
    let mut bytes = HeaderMap::new();
    bytes.insert(
        "ratelimit",
        HeaderValue::from_bytes(b"\"\xff\";r=0").unwrap(),
    );
    assert_eq!(rate_limit(&bytes), []);
    assert_eq!(rate_limit(&HeaderMap::new()), []);
}

#[test]
fn a_policy_is_read_with_its_unit_and_window() {
    let headers = headers(&[
        (
            "RateLimit-Policy",
            r#""burst";q=100;w=60, "volume";q=65535;qu="content-bytes";w=10"#,
        ),
        (
            "RateLimit-Policy",
            r#""parallel";q=5;qu="concurrent-requests";pk=:AA==:"#,
        ),
        (
            "RateLimit-Policy",
            r#""own";q=9;qu="points", "no-q";w=60, "negative";q=1;w=-1"#,
        ),
    ]);
    let policies = rate_limit_policy(&headers);
    let expected = [
        ("burst", 100, QuotaUnit::Requests, Some(60)),
        ("volume", 65535, QuotaUnit::ContentBytes, Some(10)),
        ("parallel", 5, QuotaUnit::ConcurrentRequests, None),
        ("own", 9, QuotaUnit::Other("points".to_owned()), None),
    ];
    assert_eq!(policies.len(), expected.len());
    for (policy, (name, quota, unit, window)) in policies.iter().zip(expected) {
        assert_eq!((policy.policy.as_str(), policy.quota), (name, quota));
        assert_eq!(policy.unit, unit);
        assert_eq!(policy.window, window.map(Duration::from_secs));
    }
    assert_eq!(policies[2].partition_key.as_deref(), Some(&[0][..]));
}

// ===== the wait that they ask for =====

#[test]
fn only_a_limit_with_nothing_left_asks_to_wait() {
    assert_eq!(
        exhausted(&[], &[("ratelimit", r#""a";r=0;t=30"#)]),
        Some(30)
    );
    assert_eq!(exhausted(&[], &[("ratelimit", r#""a";r=1;t=30"#)]), None);
    assert_eq!(exhausted(&[], &[]), None);
}

#[test]
fn the_longest_reset_of_the_spent_limits_counts() {
    let field = r#""a";r=0;t=30, "b";r=0;t=90, "c";r=5;t=4000, "d";r=0"#;
    assert_eq!(exhausted(&[], &[("ratelimit", field)]), Some(90));
}

#[test]
fn a_spent_limit_that_does_not_say_when_asks_for_nothing() {
    assert_eq!(exhausted(&[], &[("ratelimit", r#""a";r=0"#)]), None);
    assert_eq!(exhausted(&[], &[("ratelimit", r#""a";r=0;t=0"#)]), None);
}

// ===== older fields =====

#[test]
fn older_fields_are_only_read_where_they_are_asked_for() {
    for (fields, pairs) in [
        (
            LegacyFields::Draft07,
            &[("ratelimit", "limit=10, remaining=0, reset=7")][..],
        ),
        (
            LegacyFields::Draft06,
            &[("RateLimit-Remaining", "0"), ("RateLimit-Reset", "7")],
        ),
        (
            LegacyFields::XRateLimit,
            &[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "7")],
        ),
        (
            LegacyFields::Custom {
                remaining: HeaderName::from_static("x-left"),
                reset: HeaderName::from_static("x-back-in"),
                unit: ResetUnit::Seconds,
            },
            &[("x-left", "0"), ("x-back-in", "7")],
        ),
    ] {
        assert_eq!(exhausted(&[], pairs), None, "{fields:?}");
        assert_eq!(exhausted(&[fields], pairs), Some(7));
    }
}

#[test]
fn draft_07_is_a_dictionary_that_must_be_whole() {
    let read = |field| exhausted(&[LegacyFields::Draft07], &[("ratelimit", field)]);
    assert_eq!(read("limit=10;w=60, remaining=0, reset=7"), Some(7));
    for field in [
        "limit=10, remaining=1, reset=7",
        "limit=10, remaining=0",
        "remaining=0, reset=0",
        "remaining=0, reset=-7",
        "remaining=0, reset=7.5",
        "remaining=(0), reset=7",
        "remaining=0; reset=7",
        "remaining=0, reset=",
    ] {
        assert_eq!(read(field), None, "{field}");
    }
}

#[test]
fn a_reset_is_a_delay_or_unix_time() {
    let read = |reset| {
        let pairs = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)];
        exhausted(&[LegacyFields::XRateLimit], &pairs)
    };
    assert_eq!(read("7"), Some(7));
    assert_eq!(read("7.2"), Some(8));
    assert_eq!(read("1767225660"), Some(60));
    for reset in ["1767225600", "1600000000", "0", "-7", "soon", ""] {
        assert_eq!(read(reset), None, "{reset}");
    }
}

#[test]
fn unix_time_is_measured_against_the_servers_own_clock() {
    let pairs = [
        ("date", "Thu, 01 Jan 2026 00:00:50 GMT"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1767225660"),
    ];
    assert_eq!(exhausted(&[LegacyFields::XRateLimit], &pairs), Some(10));
}

#[test]
fn a_reset_may_count_milliseconds() {
    let fields = [LegacyFields::Custom {
        remaining: HeaderName::from_static("x-left"),
        reset: HeaderName::from_static("x-reset-ms"),
        unit: ResetUnit::Milliseconds,
    }];
    let read = |reset| {
        let headers = headers(&[("x-left", "0"), ("x-reset-ms", reset)]);
        exhausted_for(&headers, &fields, now())
    };
    assert_eq!(read("1500"), Some(Duration::from_millis(1500)));
    assert_eq!(read("1767225601250"), Some(Duration::from_millis(1250)));
}

#[test]
fn what_remains_may_carry_parameters_decimals_and_company() {
    let read = |remaining| {
        let pairs = [("ratelimit-remaining", remaining), ("ratelimit-reset", "7")];
        exhausted(&[LegacyFields::Draft06], &pairs)
    };
    for remaining in ["0", "00", " 0 ", "0;w=21600", "0.0", "0.7", "5, 0"] {
        assert_eq!(read(remaining), Some(7), "{remaining}");
    }
    for remaining in [
        "1",
        "10",
        "1.0",
        "76;w=21600",
        "-1",
        "none",
        "",
        ".",
        "0x0",
        "5, 4",
    ] {
        assert_eq!(read(remaining), None, "{remaining}");
    }
}

#[test]
fn what_remains_without_a_reset_asks_for_nothing() {
    let pairs = [("x-ratelimit-remaining", "0")];
    assert_eq!(exhausted(&[LegacyFields::XRateLimit], &pairs), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        field in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            r#"[a-z0-9";=:,. ()?@%*-]{0,60}"#.prop_map(String::into_bytes),
        ],
        reset in prop_oneof!["[0-9.,;-]{0,40}", "[ -~]{0,40}"],
    ) {
        let Ok(field) = HeaderValue::from_bytes(&field) else {
            return Ok(());
        };
        let reset = HeaderValue::from_str(&reset).unwrap();
        let zero = HeaderValue::from_static("0");
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("ratelimit"), field.clone()),
            (HeaderName::from_static("ratelimit-policy"), field),
            (REMAINING.clone(), zero),
            (RESET.clone(), reset),
        ]);
        rate_limit(&headers);
        rate_limit_policy(&headers);
        let legacy = [LegacyFields::Draft07, LegacyFields::Draft06, LegacyFields::XRateLimit];
        prop_assert_ne!(exhausted_for(&headers, &legacy, now()), Some(Duration::ZERO));
    }

    #[test]
    fn what_a_server_writes_by_the_draft_is_read_back(
        policy in r#"[ !#-\[\]-~]{0,20}"#,
        remaining in 0..1_000_000_000_000_000_u64,
        reset in proptest::option::of(0..1_000_000_000_000_000_u64),
    ) {
        let t = reset.map(|reset| format!(";t={reset}")).unwrap_or_default();
        prop_assert_eq!(
            limits(&format!(r#""{policy}";r={remaining}{t}"#)),
            [limit(&policy, remaining, reset)]
        );
    }
}
