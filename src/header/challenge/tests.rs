use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn challenge(scheme: &str, params: &[(&str, &str)]) -> Challenge {
    let params = params.iter();
    Challenge {
        params: params
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Challenge::new(scheme)
    }
}

fn with_token68(scheme: &str, token68: &str) -> Challenge {
    Challenge {
        token68: Some(token68.to_owned()),
        ..Challenge::new(scheme)
    }
}

fn read(line: &str) -> Vec<Challenge> {
    let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
    challenges(&HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]))
}

#[test]
fn a_scheme_may_stand_alone() {
    assert_eq!(read("Bearer"), [challenge("Bearer", &[])]);
    assert_eq!(read("  Bearer  "), [challenge("Bearer", &[])]);
}

#[test]
fn parameters_may_be_tokens_or_quoted() {
    assert_eq!(
        read(r#"Bearer realm="api", error=invalid_token"#),
        [challenge(
            "Bearer",
            &[("realm", "api"), ("error", "invalid_token")]
        )]
    );
}

#[test]
fn the_example_of_rfc_9110_is_read() {
    assert_eq!(
        read(r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#),
        [
            challenge("Basic", &[("realm", "simple")]),
            challenge(
                "Newauth",
                &[
                    ("realm", "apps"),
                    ("type", "1"),
                    ("title", r#"Login to "apps""#)
                ]
            ),
        ]
    );
}

#[test]
fn the_example_of_rfc_9449_is_read() {
    let line = r#"DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof""#;
    let challenges = read(line);
    assert!(challenges[0].is("dpop"));
    assert_eq!(challenges[0].param("error"), Some("use_dpop_nonce"));
}

#[test]
fn letter_case_matters_neither_for_schemes_nor_for_names() {
    let challenges = read(r#"bEaReR ReAlM="Api""#);
    assert_eq!(challenges[0].scheme(), "bEaReR");
    assert!(challenges[0].is("Bearer"));
    assert!(!challenges[0].is("Bear"));
    assert_eq!(challenges[0].param("realm"), Some("Api"));
    assert_eq!(challenges[0].param("error"), None);
}

#[test]
fn challenges_of_many_lines_keep_their_order() {
    let headers = HeaderMap::from_iter([
        (WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate")),
        (
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=a, Bearer"),
        ),
        // A parameter without its challenge does not go to the line before.
        (WWW_AUTHENTICATE, HeaderValue::from_static("error=x, DPoP")),
    ]);
    assert_eq!(
        challenges(&headers),
        [
            challenge("Negotiate", &[]),
            challenge("Basic", &[("realm", "a")]),
            challenge("Bearer", &[]),
            challenge("DPoP", &[]),
        ]
    );
    assert_eq!(challenges(&HeaderMap::new()), []);
}

#[test]
fn commas_and_escapes_in_quotes_are_text() {
    assert_eq!(
        read(r#"Bearer realm="a, b=\"c\", Basic d", scope="read, write", x="\\\"\,\a""#),
        [challenge(
            "Bearer",
            &[
                ("realm", r#"a, b="c", Basic d"#),
                ("scope", "read, write"),
                ("x", r#"\",a"#),
            ]
        )]
    );
    assert_eq!(
        read(r#"Basic realm="""#),
        [challenge("Basic", &[("realm", "")])]
    );
}

#[test]
fn token68_is_told_from_parameters() {
    for text in ["YII=", "a", "abc==", "a-._~+/9", "realm="] {
        assert_eq!(
            read(&format!("Negotiate {text}")),
            [with_token68("Negotiate", text)]
        );
    }
    assert_eq!(
        read("Negotiate YII==, Basic realm=x, NTLM TlRM"),
        [
            with_token68("Negotiate", "YII=="),
            challenge("Basic", &[("realm", "x")]),
            with_token68("NTLM", "TlRM"),
        ]
    );
}

#[test]
fn empty_members_and_blanks_do_not_matter() {
    assert_eq!(
        read(", ,Bearer \t realm\t= \"a\" ,, error =\tb ,\t, , Basic,"),
        [
            challenge("Bearer", &[("realm", "a"), ("error", "b")]),
            challenge("Basic", &[]),
        ]
    );
    assert_eq!(read(""), []);
    assert_eq!(read(" ,, "), []);
}

#[test]
fn what_makes_no_sense_is_skipped_and_its_neighbours_are_kept() {
    let error = challenge("Bearer", &[("realm", "a"), ("error", "b")]);
    for nonsense in [
        "@@@",
        "=x",
        "x=",
        "x=y=z",
        r#"x="y"z"#,
        r#"x=y"z"#,
        r#""quoted""#,
        "x=[y]",
        "(comment)",
        "x:y",
        "é",
    ] {
        let line = format!("Bearer realm=a, {nonsense}, error=b, Basic");
        assert_eq!(
            read(&line),
            [error.clone(), challenge("Basic", &[])],
            "{nonsense}"
        );
    }
}

#[test]
fn a_scheme_before_nonsense_still_counts() {
    for line in ["Bearer realm=a b", "Bearer @", r#"Bearer realm="a"b"#] {
        assert_eq!(read(line), [challenge("Bearer", &[])], "{line}");
    }
}

#[test]
fn a_quote_that_never_ends_does_not_swallow_what_follows() {
    assert_eq!(
        read(r#"Bearer realm="a, error=b, Basic"#),
        [
            challenge("Bearer", &[("error", "b")]),
            challenge("Basic", &[])
        ]
    );
    assert_eq!(
        read(r#"Bearer realm=a"b, error="c", Basic realm="d""#),
        [
            challenge("Bearer", &[("error", "c")]),
            challenge("Basic", &[("realm", "d")]),
        ]
    );
    assert_eq!(read(r#"Bearer realm="a\"#), [challenge("Bearer", &[])]);
}

#[test]
fn of_a_parameter_given_twice_the_first_counts() {
    let challenges = read("Bearer error=a, ERROR=b");
    assert_eq!(challenges[0].param("error"), Some("a"));
    assert_eq!(challenges[0].params().count(), 2);
}

#[test]
fn bytes_that_are_not_utf_8_are_replaced() {
    let value =
        HeaderValue::from_bytes(b"Bearer realm=\"caf\xe9, \xff\", error=b, \xff\xfe, Basic");
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value.unwrap())]);
    assert_eq!(
        challenges(&headers),
        [
            challenge(
                "Bearer",
                &[("realm", "caf\u{fffd}, \u{fffd}"), ("error", "b")]
            ),
            challenge("Basic", &[]),
        ]
    );
}

#[test]
fn utf_8_in_quotes_is_kept() {
    assert_eq!(
        read(r#"Basic realm="Straße""#),
        [challenge("Basic", &[("realm", "Straße")])]
    );
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}"
}

fn any_challenge() -> impl Strategy<Value = Challenge> {
    let quoted = "[\t -~]{0,16}";
    let params = proptest::collection::vec((token(), quoted), 0..4);
    prop_oneof![
        (token(), params).prop_map(|(scheme, params)| Challenge {
            params,
            ..Challenge::new(&scheme)
        }),
        (token(), "[A-Za-z0-9._~+/-]{1,16}={0,2}")
            .prop_map(|(scheme, text)| with_token68(&scheme, &text)),
    ]
}

/// As a server writes it.
fn write(challenge: &Challenge) -> String {
    let escape = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"");
    let params = challenge.params();
    let params = params.map(|(name, value)| format!(r#"{name}="{}""#, escape(value)));
    let params = params.collect::<Vec<_>>().join(", ");
    let rest = challenge.token68().map_or(params, str::to_owned);
    format!("{} {rest}", challenge.scheme())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        line in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            r#"[Bx=", \\]{0,80}"#.prop_map(String::into_bytes),
        ],
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            challenges(&HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]));
        }
    }

    #[test]
    fn what_a_server_writes_is_read_back(written in proptest::collection::vec(any_challenge(), 0..4)) {
        let line = written.iter().map(write).collect::<Vec<_>>().join(", ");
        prop_assert_eq!(read(&line), written);
    }

    #[test]
    fn nonsense_before_it_does_not_hide_a_challenge(nonsense in "[ -~&&[^\"]]{0,30}") {
        let line = format!(r#"{nonsense}, Bearer error="invalid_token""#);
        let challenges = read(&line);
        let last = challenges.last().unwrap();
        prop_assert!(last.is("Bearer"));
        prop_assert_eq!(last.param("error"), Some("invalid_token"));
    }
}
