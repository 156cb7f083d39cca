use proptest::prelude::*;

use super::*;

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

fn error(text: &str) -> String {
    text.parse::<Origin>().unwrap_err().to_string()
}

#[test]
fn an_origin_is_shown_in_lower_case_and_without_its_default_port() {
    for (text, shown) in [
        ("https://api.example.com", "https://api.example.com"),
        ("HTTPS://API.Example.COM:443/", "https://api.example.com"),
        (
            "https://api.example.com:8443",
            "https://api.example.com:8443",
        ),
        ("https://api.example.com:00443", "https://api.example.com"),
        ("https://api.example.com:", "https://api.example.com"),
        ("https://api.example.com:80", "https://api.example.com:80"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("https://api.example.com.", "https://api.example.com."),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
        ("http://[::1]:9", "http://[::1]:9"),
    ] {
        assert_eq!(origin(text).to_string(), shown, "{text}");
    }
}

#[test]
fn its_parts_can_be_asked_for() {
    let name = origin("HTTPS://Api.Example.com");
    assert_eq!(
        (name.scheme(), name.host().as_ref(), name.port()),
        ("https", "api.example.com", 443)
    );
    let address = origin("http://[0:0::1]:81");
    assert_eq!(
        (address.scheme(), address.host().as_ref(), address.port()),
        ("http", "[::1]", 81)
    );
}

#[test]
fn spellings_of_one_origin_are_equal() {
    for (one, other) in [
        ("https://a.test", "HTTPS://A.TEST:443/"),
        ("http://a.test:80", "http://a.test"),
        ("https://[::1]", "https://[0:0:0:0:0:0:0:1]:443"),
    ] {
        assert_eq!(origin(one), origin(other));
    }
    for (one, other) in [
        ("https://a.test", "http://a.test"),
        ("https://a.test", "https://a.test:444"),
        ("https://a.test", "https://a.test."),
        ("https://a.test", "https://b.a.test"),
        ("http://127.0.0.1", "http://localhost"),
        ("http://[::ffff:127.0.0.1]", "http://127.0.0.1"),
    ] {
        assert_ne!(origin(one), origin(other));
    }
}

#[test]
fn what_is_not_an_origin_is_refused_with_what_to_write() {
    for (text, hint) in [
        ("", "has no scheme: write \"https://…\""),
        ("api.example.com", "has no scheme"),
        ("localhost:8080", "has no scheme"),
        ("//api.example.com", "has no scheme"),
        ("https:api.example.com", "has no scheme"),
        ("https://api.example.com/v2", "is more than an origin"),
        ("https://api.example.com//", "is more than an origin"),
        ("https://api.example.com?", "is more than an origin"),
        ("https://api.example.com/#top", "contains a fragment"),
        ("https://me:pw@api.example.com", "contains a user"),
        ("https://@api.example.com", "contains a user"),
        ("ftp://api.example.com", "scheme other than http and https"),
        (
            "httpss://api.example.com",
            "scheme other than http and https",
        ),
        ("https://", "has no host"),
        ("https://:443", "has no host"),
        ("https:///users", "has no host"),
        ("https://a.test:0", "1 to 65535"),
        ("https://a.test:65536", "1 to 65535"),
        ("https://a.test:4e3", "is not a URL"),
        ("https://a.test:+443", "is not a URL"),
        ("https://[127.0.0.1]", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://[fe80::1%25eth0]", "is not a URL"),
        (
            "https://[v1.fe80]",
            "neither a plain name nor an IP address",
        ),
        (
            "https://ex%61mple.com",
            "neither a plain name nor an IP address",
        ),
        ("https://bücher.example", "is not a URL"),
        (" https://api.example.com", "is not a URL"),
        ("https://api.example.com\n", "is not a URL"),
        ("https://api.example.com\\@evil.test", "is not a URL"),
        ("https://*.example.com:443:443", "is not a URL"),
    ] {
        let error = error(text);
        assert!(error.contains(hint), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn an_error_names_the_value_but_not_its_secrets() {
    assert_eq!(
        error("https://api.example.com/v2"),
        r#""https://api.example.com/v2" is more than an origin: write scheme, host and port only"#
    );
    assert!(error("https://me:pw@a.test/v2?x=1").starts_with("\"https://…@a.test/v2?…\" "));
    for text in [
        "https://me:hunter2@api.example.com",
        "https://me:hunter2?@api.example.com",
        "me:hunter2@api.example.com",
        "https://api.example.com/?token=hunter2",
        "https://api.example.com/#hunter2",
        "https://a b/?email=a@b&token=hunter2#hunter2",
    ] {
        let error = text.parse::<Origin>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn the_origin_of_a_request_is_where_its_connection_goes() {
    for (request, shown) in [
        (
            "https://api.example.com/v2?page=2",
            "https://api.example.com",
        ),
        ("HTTPS://API.example.com:443", "https://api.example.com"),
        ("https://api.example.com:/v2", "https://api.example.com"),
        ("http://me:pw@a.test:81/", "http://a.test:81"),
        ("https://api.example.com@evil.test/", "https://evil.test"),
        (
            "https://api.example.com:443@evil.test/",
            "https://evil.test",
        ),
        ("https://a@api.example.com@evil.test/", "https://evil.test"),
        ("https://[::1]:443@evil.test/", "https://evil.test"),
        ("https://[0::1]:8443/", "https://[::1]:8443"),
    ] {
        let origin = Origin::of(&uri(request)).unwrap();
        assert_eq!(origin.to_string(), shown, "{request}");
        assert!(origin.is_of(&uri(request)));
    }
}

#[test]
fn a_request_that_could_go_anywhere_has_no_origin() {
    for request in [
        "/users",
        "*",
        "api.example.com",
        "api.example.com:443",
        "ftp://api.example.com/",
        "wss://api.example.com/",
        "https://api.example.com:0/",
        "https://api.example.com:99999/",
        "https://api.example.com:+443/",
        "https://api.example.com:https/",
        "https://:443/",
        "https://[127.0.0.1]/",
        "https://[api.example.com]/",
        "https://[::1]api.example.com/",
        "https://api[::1]:443/",
        "https://[fe80::1%25eth0]/",
    ] {
        // What `http::Uri` refuses cannot be sent in the first place.
        if let Ok(uri) = request.parse::<Uri>() {
            assert_eq!(Origin::of(&uri), None, "{request}");
        }
    }
}

#[test]
fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
    for host in [
        "127.0.0.1",
        "127.8.9.10:80",
        "[::1]:80",
        "localhost",
        "LOCALHOST:8080",
        "api.localhost",
    ] {
        assert!(origin(&format!("http://{host}")).is_loopback(), "{host}");
    }
    for host in [
        "128.0.0.1",
        "127.1",
        "127.0.0.1.evil.test",
        "0.0.0.0",
        "0177.0.0.1",
        "[::]",
        "[::ffff:127.0.0.1]",
        "localhost.evil.test",
        "notlocalhost",
        "localhost.",
    ] {
        assert!(!origin(&format!("http://{host}")).is_loopback(), "{host}");
    }
}

#[test]
fn only_the_listed_origins_are_allowed() {
    let ours = Origins::only(["https://api.example.com", "https://[::1]:8443"]).unwrap();
    for (request, verdict) in [
        ("https://api.example.com/", Verdict::Allowed),
        ("hTTps://aPI.example.com:443/v2", Verdict::Allowed),
        ("https://me@api.example.com/", Verdict::Allowed),
        ("https://[0:0::1]:8443/", Verdict::Allowed),
        ("http://api.example.com/", Verdict::Elsewhere),
        ("http://api.example.com:443/", Verdict::Elsewhere),
        ("https://api.example.com:8443/", Verdict::Elsewhere),
        ("https://api.example.com./", Verdict::Elsewhere),
        ("https://api.example.com.evil.test/", Verdict::Elsewhere),
        ("https://xapi.example.com/", Verdict::Elsewhere),
        ("https://example.com/", Verdict::Elsewhere),
        ("https://api.example.com@evil.test/", Verdict::Elsewhere),
        (
            "https://evil.test/https://api.example.com/",
            Verdict::Elsewhere,
        ),
        ("https://[::1]/", Verdict::Elsewhere),
        ("https://api.example.com:0/", Verdict::Unknown),
        ("https://api.example.com:99999/", Verdict::Unknown),
        ("/v2", Verdict::Unknown),
        ("api.example.com:443", Verdict::Unknown),
    ] {
        if let Ok(uri) = request.parse::<Uri>() {
            assert_eq!(ours.allows(&uri), verdict, "{request}");
        }
    }
}

#[test]
fn any_allows_everything_even_where_nobody_knows_the_origin() {
    for request in [
        "https://evil.test/",
        "http://a.test",
        "/users",
        "a.test:443",
    ] {
        assert_eq!(Origins::any().allows(&uri(request)), Verdict::Allowed);
    }
}

#[test]
fn plain_http_must_be_allowed_by_name_unless_it_is_loopback() {
    let error = Origins::only(["http://billing.internal:8080"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"http://billing.internal:8080\" is not encrypted: write \"https://…\", or allow it with \
         `Origins::and_plain_http`"
    );
    let request = uri("http://billing.internal:8080/invoices");
    let allows = |origins: Origins| origins.allows(&request);

    let ours = Origins::only(["http://localhost:1"]).unwrap();
    assert_eq!(allows(ours.clone()), Verdict::Elsewhere);
    let by_name = ours.and_plain_http("http://billing.internal:8080").unwrap();
    assert_eq!(allows(by_name), Verdict::Allowed);
    let alone = Origins::only_plain_http(["http://billing.internal:8080"]).unwrap();
    assert_eq!(allows(alone), Verdict::Allowed);
    let any = Origins::any().and_plain_http("http://a.test").unwrap();
    assert_eq!(allows(any), Verdict::Allowed);
}

#[test]
fn a_list_without_origins_is_a_mistake() {
    let error = Origins::only(Vec::<String>::new()).unwrap_err().to_string();
    assert!(error.contains("Origins::any()"), "{error}");
}

#[test]
fn an_endpoint_keeps_its_path_and_query() {
    let text = "https://login.example.com:8443/oauth/token?tenant=7&x=%20";
    let url = parse_http_url(text, PlainHttp::OnLoopback).unwrap();
    assert_eq!(url.to_string(), text);
    let bare = parse_http_url("https://login.example.com", PlainHttp::OnLoopback).unwrap();
    assert_eq!(bare.path(), "/");
}

#[test]
fn an_endpoint_that_is_not_an_absolute_http_url_is_refused() {
    for (text, hint) in [
        ("login.example.com", "has no scheme"),
        ("login.example.com/oauth/token", "has no scheme"),
        ("/oauth/token", "has no scheme"),
        ("ftp://login.example.com/", "scheme other than"),
        ("https:///oauth/token", "has no host"),
        ("https://login.example.com/#token", "contains a fragment"),
        ("https://login.example.com/#", "contains a fragment"),
        ("https://id:secret@login.example.com/", "contains a user"),
        ("https://login.example.com:0/", "1 to 65535"),
        ("https://login.example.com/a b", "is not a URL"),
        ("http://login.example.com/", "is not encrypted"),
    ] {
        let error = parse_http_url(text, PlainHttp::OnLoopback).unwrap_err();
        assert!(error.to_string().contains(hint), "{text}: {error}");
    }
    let long = format!("https://login.example.com/{}", "a".repeat(70_000));
    let error = parse_http_url(&long, PlainHttp::OnLoopback).unwrap_err();
    assert!(error.to_string().contains("cannot hold"));
}

#[test]
fn a_plain_endpoint_needs_loopback_or_leave() {
    let plain = "http://login.internal/token";
    assert!(parse_http_url(plain, PlainHttp::Anywhere).is_ok());
    assert!(parse_http_url(plain, PlainHttp::OnLoopback).is_err());
    assert!(parse_http_url("http://127.0.0.1:9/token", PlainHttp::OnLoopback).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = text.parse::<Origin>();
        let _ = parse_http_url(&text, PlainHttp::Anywhere);
    }

    #[test]
    fn no_request_makes_it_panic_and_the_ways_to_ask_agree(
        authority in "[a-cA-C0-9.:@\\[\\]+%-]{0,24}",
        scheme in "(https?://|HTTP://|ftp://|)",
    ) {
        let Ok(uri) = format!("{scheme}{authority}/").parse::<Uri>() else {
            return Ok(());
        };
        let ours = Origins::only(["https://a.c"]).unwrap();
        let origin = Origin::of(&uri);
        prop_assert_eq!(ours.allows(&uri) == Verdict::Unknown, origin.is_none());
        if let Some(origin) = origin {
            prop_assert!(origin.is_of(&uri));
        }
    }

    #[test]
    fn what_an_origin_shows_reads_back_as_itself(
        https: bool,
        host in "([a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?\\.){0,3}[a-zA-Z]{1,9}",
        port in proptest::option::of(1..=u16::MAX),
    ) {
        let scheme = if https { "https" } else { "http" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("{scheme}://{host}{port}");
        let read = origin(&text);
        prop_assert_eq!(&origin(&read.to_string()), &read);
        prop_assert_eq!(Origin::of(&uri(&text)), Some(read));
    }

    #[test]
    fn every_ipv6_address_reads_back_as_itself(address: u128) {
        let text = format!("https://[{}]", Ipv6Addr::from(address));
        prop_assert_eq!(origin(&text).to_string(), text.clone());
        prop_assert_eq!(Origin::of(&uri(&text)), Some(origin(&text)));
    }
}
