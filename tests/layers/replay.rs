//! What is replayed equals what was sent.

use std::mem;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use proptest::{collection::vec, prelude::*};
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    mark::{ReplaySafe, ResendCount},
    origin::Origins,
    rate_limit_retry::RateLimitRetryLayer,
    token_refresh::TokenRefreshLayer,
};

use crate::probe::{Probe, get, tokens};

/// An extension that a caller may have set.
#[derive(Clone, Debug, PartialEq)]
struct Custom(u64);

#[derive(Debug)]
struct Parts {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    custom: u64,
    body: Vec<u8>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let method = prop_oneof![
        Just("GET".to_owned()),
        Just("POST".to_owned()),
        Just("PUT".to_owned()),
        "[A-Z]{3,10}"
    ];
    let uri = "https://[a-z]{1,9}\\.test(:[1-9][0-9]{0,3})?/([a-zA-Z0-9._~%-]{0,8}/){0,3}(\\?[a-zA-Z0-9=&+/%?-]{0,30})?";
    let version = prop_oneof![
        Just(Version::HTTP_11),
        Just(Version::HTTP_2),
        Just(Version::HTTP_10)
    ];
    let name = prop_oneof![
        Just(header::ACCEPT),
        Just(header::COOKIE),
        Just(header::CONTENT_TYPE),
        "x-[a-z]{1,12}".prop_map(|name| HeaderName::try_from(name).unwrap()),
    ];
    let value = (
        vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..20),
        any::<bool>(),
    );
    let value = value.prop_map(|(bytes, is_sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(is_sensitive);
        value
    });
    (
        method,
        uri,
        version,
        vec((name, value), 0..12),
        any::<u64>(),
        vec(any::<u8>(), 0..2000),
    )
        .prop_filter_map(
            "a URI that `http` takes",
            |(method, uri, version, headers, custom, body)| {
                let (method, uri) = (method.parse().ok()?, uri.parse().ok()?);
                Some(Parts {
                    method,
                    uri,
                    version,
                    headers,
                    custom,
                    body,
                })
            },
        )
}

fn request(parts: &Parts) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(parts.body.clone()));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    for (name, value) in &parts.headers {
        request.headers_mut().append(name.clone(), value.clone());
    }
    request.extensions_mut().insert(Custom(parts.custom));
    // Without it, nothing but a refusal would be replayed.
    request.extensions_mut().insert(ReplaySafe);
    request
}

/// Headers in their order, with whether each is sensitive.
fn flat(headers: &HeaderMap) -> Vec<(String, Vec<u8>, bool)> {
    let flat = |(name, value): (&HeaderName, &HeaderValue)| {
        (
            name.to_string(),
            value.as_bytes().to_vec(),
            value.is_sensitive(),
        )
    };
    headers.iter().map(flat).collect()
}

fn marks(extensions: &Extensions) -> (Option<&Custom>, Option<&ReplaySafe>, usize) {
    let resends = usize::from(extensions.get::<ResendCount>().is_some());
    (
        extensions.get(),
        extensions.get(),
        extensions.len() - resends,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_the_credential_differs_between_attempts(parts in parts()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let probe = Probe::statuses(&[401, 429, 503, 421]);
        runtime.block_on(async {
            let api = ServiceBuilder::new()
                .layer(RateLimitRetryLayer::new())
                .layer(TokenRefreshLayer::new(tokens(), Origins::any()))
                .service(probe.clone());
            api.oneshot(request(&parts)).await.unwrap();
        });
        let sent = probe.take_sent();
        prop_assert_eq!(sent.len(), 5);
        prop_assert_eq!(sent[0].token(), Some("Bearer token 1"));

        let original = request(&parts);
        for (count, sent) in sent.into_iter().enumerate() {
            let mut request = sent.request;
            if count > 0 {
                prop_assert_eq!(request.headers()[header::AUTHORIZATION].as_bytes(), b"Bearer token 2");
                let resends = request.extensions().get().copied();
                prop_assert_eq!(resends, Some(ResendCount(count as u32)));
            }
            prop_assert_eq!(request.headers_mut().get_all(header::AUTHORIZATION).iter().count(), 1);
            // Taking the last header out leaves the others' order alone.
            let (name, _) = request.headers().iter().last().unwrap();
            prop_assert_eq!(name, header::AUTHORIZATION);
            request.headers_mut().remove(header::AUTHORIZATION);

            prop_assert_eq!(request.method(), original.method());
            prop_assert_eq!(request.uri(), original.uri());
            prop_assert_eq!(request.version(), original.version());
            prop_assert_eq!(flat(request.headers()), flat(original.headers()));
            prop_assert_eq!(marks(request.extensions()), marks(original.extensions()));
            prop_assert_eq!(request.body(), original.body());
        }
    }
}

/// The headers of five attempts of a request, without the credential.
async fn attempts(headers: &HeaderMap) -> Vec<HeaderMap> {
    let probe = Probe::statuses(&[429, 401, 429, 503]);
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(TokenRefreshLayer::new(tokens(), Origins::any()))
        .service(probe.clone());
    let mut request = get("/");
    *request.headers_mut() = headers.clone();
    api.oneshot(request).await.unwrap();
    let mut attempts = Vec::new();
    for mut sent in probe.take_sent() {
        sent.request.headers_mut().remove(header::AUTHORIZATION);
        attempts.push(mem::take(sent.request.headers_mut()));
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn headers_are_replayed_in_the_order_that_removing_one_has_left() {
    let mut headers = HeaderMap::new();
    for name in ["x-a", "x-b", "x-c", "x-d", "x-b", "x-a", "x-e"] {
        let value = HeaderValue::from(headers.len());
        headers.append(HeaderName::from_static(name), value);
    }
    headers.remove("x-a");
    let attempts = attempts(&headers).await;
    assert_eq!(attempts.len(), 5);
    for attempt in attempts {
        assert_eq!(flat(&attempt), flat(&headers));
    }
}

#[tokio::test(start_paused = true)]
async fn more_values_of_a_name_than_a_map_has_places_are_replayed() {
    let mut headers = HeaderMap::new();
    for number in 0..40_000 {
        headers.append(header::COOKIE, HeaderValue::from(number));
    }
    let attempts = attempts(&headers).await;
    assert_eq!(attempts.len(), 5);
    for attempt in attempts {
        assert!(flat(&attempt) == flat(&headers));
    }
}
