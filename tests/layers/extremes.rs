//! Settings and marks of any size: the documented effect, or none, but no panic.

use std::time::Duration;

use http::{HeaderValue, header};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_outbound::{
    backoff::Backoff,
    buffer_body::BufferErrorBodyLayer,
    mark::Deadline,
    rate_limit_retry::RateLimitRetryLayer,
    token::{ExpiryPolicy, Grant, TokenCache, source_fn},
};

use crate::probe::{Probe, get, refused, status, token_layer, tokens};

const EXTREMES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(u32::MAX as u64),
    Duration::MAX,
];

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn durations_of_the_rate_limit_layer_may_have_any_size() {
    for one in EXTREMES {
        for other in EXTREMES {
            let backoff = Backoff::new(one, other).at_least(one.min(other));
            let layer = RateLimitRetryLayer::new()
                .max_wait(one)
                .max_retries(u32::MAX)
                .max_refusals(if other.is_zero() { 0 } else { 2 })
                .backoff(backoff)
                .refused_backoff(backoff);
            let probe = Probe::new(|count, _| match count {
                1 => Ok(status(503)),
                2 => Ok(refused("18446744073709551615")),
                3 => Ok(refused("0")),
                _ => Ok(status(200)),
            });
            let api = layer.layer(probe);
            // It may wait for a century.
            let _ = timeout(HOUR, api.clone().oneshot(get("/"))).await;
            let mut request = get("/");
            request.extensions_mut().insert(Deadline::within(other));
            let _ = timeout(HOUR, api.oneshot(request)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn durations_of_the_token_side_may_have_any_size() {
    for one in EXTREMES {
        for other in EXTREMES {
            let policy = ExpiryPolicy::default().margin(one).window(other);
            let tokens = TokenCache::builder()
                .expiry(policy)
                .renewal_timeout(one)
                .build(source_fn(move |_| async move {
                    sleep(Duration::from_millis(1)).await;
                    Ok(Grant::new("token").expires_in(other))
                }));
            let layer = token_layer(&tokens).fresh_token_lag(one);
            let probe = Probe::statuses(&[401, 401, 401]);
            let _ = timeout(HOUR, layer.layer(probe).oneshot(get("/"))).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_of_the_error_body_layer_may_be_anything() {
    for limit in [0, 1, usize::MAX] {
        for time in EXTREMES {
            let layer = BufferErrorBodyLayer::new().limit(limit).timeout(time);
            let response = layer
                .layer(Probe::statuses(&[500]))
                .oneshot(get("/"))
                .await
                .unwrap();
            assert_eq!(response.status(), 500);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_hold_no_text_are_read_as_if_they_were_not_there() {
    for garbage in [
        &b"\xff\xfe"[..],
        b"\x80",
        b"=;,\"",
        b",,,,",
        b"Bearer error=\"\xff\"",
    ] {
        let probe = Probe::new(move |count, _| {
            let mut response = status(match count {
                1 => 401,
                2 => 429,
                3 => 503,
                _ => 200,
            });
            for name in [
                "retry-after",
                "www-authenticate",
                "ratelimit",
                "ratelimit-policy",
                "date",
            ] {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_bytes(garbage)?);
            }
            Ok(response)
        });
        let api = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer(&tokens()))
            .service(probe.clone());
        let response = api.oneshot(get("/")).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), probe.count()),
            (200, 4),
            "{garbage:?}"
        );
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
