use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer,
    load_shed::LoadShedLayer, retry::budget::TpsBudget, timeout::TimeoutLayer,
};
use tower_outbound::{
    header::LegacyFields,
    mark::{Deadline, LimitKey, NoRetry, ReplaySafe, ResendCount, Tenant},
    outcome::{Outcome, Stopped},
    rate_limit_retry::{
        RateLimitRetryLayer, RateLimited,
        budget::RetryBudget,
        classify::{Class, Standard, classify_fn},
    },
};

use crate::probe::{self, Probe, get, post, refused, status};

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> RateLimitRetryLayer {
    RateLimitRetryLayer::new()
}

/// The times at which a probe was sent requests, from the first.
fn times(probe: &Probe) -> Vec<Duration> {
    let sent = probe.take_sent();
    sent.iter().map(|request| request.at - sent[0].at).collect()
}

fn request(method: Method) -> Request<Bytes> {
    let mut request = get("/");
    *request.method_mut() = method;
    request
}

// ===== who is replayed =====

/// What comes back at first, how often a GET and a POST are then sent in all, and what is returned.
async fn sends(first: &'static [u16], method: Method) -> (usize, u16) {
    let probe = Probe::statuses(first);
    let response = layer()
        .layer(probe.clone())
        .oneshot(request(method))
        .await
        .unwrap();
    (probe.count(), response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn replays_depend_on_status_and_method() {
    for (first, safe, unsafe_) in [
        (&[429][..], (2, 200), (2, 200)),
        (&[503], (2, 200), (1, 503)),
        (&[502], (2, 200), (1, 502)),
        (&[504], (2, 200), (1, 504)),
        (&[408], (2, 200), (1, 408)),
        (&[421], (2, 200), (2, 200)),
        (&[425], (2, 200), (2, 200)),
        (&[421, 421], (2, 421), (2, 421)),
        (&[500], (1, 500), (1, 500)),
        (&[501], (1, 501), (1, 501)),
        (&[400], (1, 400), (1, 400)),
        (&[401], (1, 401), (1, 401)),
        (&[409], (1, 409), (1, 409)),
        (&[422], (1, 422), (1, 422)),
        (&[301], (1, 301), (1, 301)),
    ] {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::PUT,
            Method::DELETE,
        ] {
            assert_eq!(
                sends(first, method.clone()).await,
                safe,
                "{method} {first:?}"
            );
        }
        for method in [Method::POST, Method::PATCH] {
            assert_eq!(
                sends(first, method.clone()).await,
                unsafe_,
                "{method} {first:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_503_with_a_hint_is_replayed_where_that_is_safe_and_returned_elsewhere() {
    let unavailable = |count: usize| {
        let mut response = status(if count == 1 { 503 } else { 200 });
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        Ok(response)
    };
    let probe = Probe::new(move |count, _| unavailable(count));
    assert_eq!(
        layer()
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert!(times(&probe)[1] >= 7 * SECOND);

    let probe = Probe::new(move |count, _| unavailable(count));
    let response = layer()
        .layer(probe.clone())
        .oneshot(post(""))
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::NotReplaySafe));

    let probe = Probe::new(move |count, _| unavailable(count));
    let promised = layer().retry_unsafe_on(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        promised
            .layer(probe.clone())
            .oneshot(post(""))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(probe.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_post_is_replayed_if_its_caller_or_its_key_says_that_it_may_be() {
    let mut marked = post("");
    marked.extensions_mut().insert(ReplaySafe);
    let mut keyed = post("");
    keyed
        .headers_mut()
        .insert("idempotency-key", HeaderValue::from_static("\"1\""));
    for request in [marked, keyed] {
        let probe = Probe::statuses(&[503]);
        assert_eq!(
            layer()
                .layer(probe.clone())
                .oneshot(request)
                .await
                .unwrap()
                .status(),
            200
        );
        assert_eq!(probe.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_replayed_where_that_is_safe_and_its_error_returned_elsewhere() {
    let lost = || {
        Probe::new(|count, _| match count {
            1 => Err(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)) as BoxError),
            _ => Ok(status(200)),
        })
    };
    let probe = lost();
    assert_eq!(
        layer()
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(probe.count(), 2);

    let probe = lost();
    let error = layer()
        .layer(probe.clone())
        .oneshot(post(""))
        .await
        .unwrap_err();
    assert_eq!(
        error.downcast_ref::<io::Error>().unwrap().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_is_a_lost_request_even_through_a_buffer() {
    let probe = Probe::slow(10 * SECOND, |_, _| Ok(status(200)));
    let api = ServiceBuilder::new()
        .layer(layer())
        .layer(BufferLayer::new(8))
        .layer(TimeoutLayer::new(SECOND))
        .service(probe.clone());
    let error = api.clone().oneshot(get("/")).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_eq!(probe.count(), 4);
    api.oneshot(post("")).await.unwrap_err();
    assert_eq!(probe.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_shed_below_was_never_sent_and_any_request_is_replayed() {
    let probe = Probe::slow(SECOND, |_, _| Ok(status(200)));
    let api = ServiceBuilder::new()
        .layer(layer().max_retries(30))
        .layer(LoadShedLayer::new())
        .concurrency_limit(1)
        .service(probe.clone());
    let answers = join_all((0..3).map(|_| api.clone().oneshot(post("")))).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().status() == 200)
    );
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_replay_counts_itself_for_the_layers_below() {
    let probe = Probe::statuses(&[429, 503]);
    let response = layer()
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    let sent = probe.take_sent();
    let counts: Vec<_> = sent
        .iter()
        .map(|sent| sent.request.extensions().get().copied())
        .collect();
    assert_eq!(counts, [None, Some(ResendCount(1)), Some(ResendCount(2))]);
    let outcome = Outcome::of(&response);
    assert_eq!(
        (outcome.resends, outcome.refusals, outcome.stopped),
        (2, 1, None)
    );
    assert!(outcome.waited >= Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_response_at_the_first_attempt_carries_no_outcome() {
    let response = layer()
        .layer(Probe::statuses(&[]))
        .oneshot(get("/"))
        .await
        .unwrap();
    assert!(response.extensions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_layers_of_retries_do_not_multiply() {
    let probe = Probe::new(|_, _| Ok(status(503)));
    let api = ServiceBuilder::new()
        .layer(layer())
        .layer(layer())
        .service(probe.clone());
    api.oneshot(get("/")).await.unwrap();
    assert_eq!(probe.count(), 4);
}

// ===== when to stop =====

#[tokio::test(start_paused = true)]
async fn failures_and_refusals_are_counted_apart() {
    let probe = Probe::new(|count, _| match count {
        1..=3 => Ok(status(503)),
        _ => Ok(refused("1")),
    });
    let response = layer()
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(probe.count(), 1 + 3 + 16);
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::MaxRefusals));
}

#[tokio::test(start_paused = true)]
async fn the_last_response_is_returned_untouched() {
    let probe = Probe::new(|_, _| Ok(refused("1")));
    let response = layer()
        .max_refusals(2)
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "slow down"
    );
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_marked_request_is_sent_once() {
    let probe = Probe::statuses(&[503]);
    let mut once = get("/");
    once.extensions_mut().insert(NoRetry);
    let response = layer().layer(probe.clone()).oneshot(once).await.unwrap();
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::MarkedNoRetry));
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hint_above_the_longest_wait_returns_the_response_at_once() {
    for hint in [
        "181",
        "30000",
        "86400",
        "99999999999999999999",
        "18446744073709551615",
    ] {
        let probe = Probe::new(move |_, _| Ok(refused(hint)));
        let start = probe::now();
        let response = layer()
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap();
        assert_eq!(response.headers()[header::RETRY_AFTER], hint);
        assert!(matches!(
            Outcome::of(&response).stopped,
            Some(Stopped::MaxWait { .. })
        ));
        assert!(start.elapsed() < SECOND);
        assert_eq!(probe.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn hints_that_say_nothing_lead_to_the_backoff_and_never_to_a_hot_loop() {
    for hint in [
        "0",
        "-1",
        "soon",
        "1e308",
        "NaN",
        "",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "0.0",
    ] {
        let probe = Probe::new(move |_, _| Ok(refused(hint)));
        layer()
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap();
        let times = times(&probe);
        assert_eq!(times.len(), 17, "{hint:?}");
        for pair in times.windows(2) {
            let wait = pair[1] - pair[0];
            assert!(wait >= Duration::from_millis(100), "{hint:?}: {wait:?}");
            assert!(wait <= 23 * SECOND, "{hint:?}: {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_before_the_deadline_is_not_begun() {
    let probe = Probe::new(|_, _| Ok(refused("10")));
    let mut urgent = get("/");
    urgent.extensions_mut().insert(Deadline::within(5 * SECOND));
    let start = probe::now();
    let response = layer().layer(probe.clone()).oneshot(urgent).await.unwrap();
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::Deadline));
    assert!(start.elapsed() < SECOND);
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_limit_beyond_the_deadline_is_an_error_that_says_when_to_come_back() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("60")
        } else {
            status(200)
        })
    });
    let api = layer().layer(probe.clone());
    let first = tokio::spawn(api.clone().oneshot(get("/")));
    sleep(SECOND).await;
    let mut urgent = get("/");
    urgent.extensions_mut().insert(Deadline::within(5 * SECOND));
    let error = api.oneshot(urgent).await.unwrap_err();
    let limited = RateLimited::find(&*error).unwrap();
    assert!(limited.retry_at() >= probe::now() + 58 * SECOND);
    assert_eq!(limited.key().as_str(), "https://api.example.com");
    assert_eq!(probe.count(), 1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_failures_may_cost_and_refusals_cost_nothing() {
    let broken = |count| {
        layer()
            .budget(RetryBudget::new().percent(20).per_second(0))
            .layer(Probe::new(move |_, _| Ok(status(count))))
    };
    let api = broken(503);
    let mut resends = 0;
    for _ in 0..50 {
        resends += Outcome::of(&api.clone().oneshot(get("/")).await.unwrap()).resends;
    }
    assert_eq!(resends, 10);

    let api = broken(429);
    let response = api.oneshot(get("/")).await.unwrap();
    assert_eq!(Outcome::of(&response).resends, 16);
}

#[tokio::test(start_paused = true)]
async fn towers_own_budget_can_be_used_instead() {
    let probe = Probe::new(|_, _| Ok(status(503)));
    let budget = TpsBudget::new(SECOND, 0, 0.0);
    let response = layer()
        .budget(budget)
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!(Outcome::of(&response).stopped, Some(Stopped::Budget));
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_can_veto() {
    let layer = layer().classify(classify_fn(|parts, standard| {
        match parts.headers.contains_key("x-quota-exhausted") {
            true => Class::Done,
            false => standard,
        }
    }));
    let probe = Probe::new(|_, _| {
        let mut response = refused("1");
        response
            .headers_mut()
            .insert("x-quota-exhausted", HeaderValue::from_static("1"));
        Ok(response)
    });
    assert_eq!(
        layer
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        429
    );
    assert_eq!(probe.count(), 1);
}

// ===== hints =====

#[tokio::test(start_paused = true)]
async fn the_next_attempt_is_never_before_the_hint_and_little_after_it() {
    for _ in 0..50 {
        let probe = Probe::new(|count, _| {
            Ok(if count == 1 {
                refused("1")
            } else {
                status(200)
            })
        });
        let answered = probe::now() + Duration::from_millis(10);
        layer()
            .layer(probe.clone())
            .oneshot(get("/"))
            .await
            .unwrap();
        let second = probe.take_sent()[1].at;
        assert!(second >= answered + SECOND, "{:?}", second - answered);
        assert!(
            second <= answered + SECOND + SECOND / 5,
            "{:?}",
            second - answered
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limit_fields_are_hints_where_there_is_no_retry_after() {
    let with = |name: &'static str, value: &'static str| {
        Probe::new(move |count, _| {
            let mut response = status(if count == 1 { 429 } else { 200 });
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
            if name.starts_with("x-") {
                let none = HeaderValue::from_static("0");
                response.headers_mut().insert("x-ratelimit-remaining", none);
            }
            Ok(response)
        })
    };
    let probe = with("ratelimit", r#""default";r=0;t=42"#);
    layer()
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert!(times(&probe)[1] >= 42 * SECOND);

    // An older field means nothing until it is named.
    let probe = with("x-ratelimit-reset", "42");
    layer()
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert!(times(&probe)[1] < 3 * SECOND);
    let probe = with("x-ratelimit-reset", "42");
    let named = Standard::new().legacy_fields([LegacyFields::XRateLimit]);
    layer()
        .classify(named)
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert!(times(&probe)[1] >= 42 * SECOND);
}

// ===== the shared cool-down =====

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_request_holds_those_that_were_not_sent_yet() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("30")
        } else {
            status(200)
        })
    });
    let api = layer().layer(probe.clone());
    let path = |number: usize| format!("/{number}");
    let first = tokio::spawn(api.clone().oneshot(get(&path(0))));
    sleep(SECOND).await;
    let others = join_all((1..=1000).map(|number| api.clone().oneshot(get(&path(number))))).await;
    assert!(
        others
            .into_iter()
            .all(|answer| answer.unwrap().status() == 200)
    );
    first.await.unwrap().unwrap();
    let sent = probe.take_sent();
    let answered = sent[0].at + Duration::from_millis(10);
    let again = &sent[1..];
    assert!(
        again
            .iter()
            .all(|request| request.at >= answered + 30 * SECOND)
    );

    // They go in order of arrival, the one that was refused first.
    let order = again.iter().map(|sent| sent.request.uri().path());
    assert!(order.eq((0..=1000).map(path)));

    // Not all together: a few at a time, with each round trip at most twice as many.
    let mut moments: Vec<(Instant, usize)> = Vec::new();
    for request in again {
        match moments.last_mut() {
            Some((at, count)) if *at == request.at => *count += 1,
            _ => moments.push((request.at, 1)),
        }
    }
    assert!(moments[0].1 <= 4, "{moments:?}");
    for pair in moments.windows(2) {
        assert!(pair[1].1 <= 2 * pair[0].1, "{pair:?}");
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_closes_while_a_request_becomes_ready_holds_it_too() {
    // The second answer closes the limit again, while the other request waits for the one permit.
    let probe = Probe::slow(SECOND, |count, _| {
        Ok(match count {
            1 => refused("5"),
            2 => refused("60"),
            _ => status(200),
        })
    });
    let api = ServiceBuilder::new()
        .layer(layer())
        .concurrency_limit(1)
        .service(probe.clone());
    let calls = (0..2).map(|_| tokio::spawn(api.clone().oneshot(get("/"))));
    for call in join_all(calls).await {
        assert_eq!(call.unwrap().unwrap().status(), 200);
    }
    let times = times(&probe);
    assert_eq!(times.len(), 4);
    assert!(times[2] - times[1] >= 61 * SECOND, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn clones_of_the_layer_share_a_cool_down_and_new_layers_do_not() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("30")
        } else {
            status(200)
        })
    });
    let layer = layer();
    let first = tokio::spawn(layer.clone().layer(probe.clone()).oneshot(get("/")));
    sleep(SECOND).await;
    let start = probe::now();
    RateLimitRetryLayer::new()
        .layer(probe.clone())
        .oneshot(get("/"))
        .await
        .unwrap();
    assert!(start.elapsed() < SECOND);
    layer.layer(probe.clone()).oneshot(get("/")).await.unwrap();
    assert!(start.elapsed() >= 28 * SECOND);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closed_key_does_not_hold_another() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("60")
        } else {
            status(200)
        })
    });
    let api = layer().layer(probe);
    let first = tokio::spawn(api.clone().oneshot(get("/")));
    sleep(SECOND).await;
    let mut tenant = get("/");
    tenant.extensions_mut().insert(Tenant::new("another"));
    let mut key = get("/");
    key.extensions_mut().insert(LimitKey::new("another"));
    let origin = Request::get("https://b.example.com/")
        .body(Bytes::new())
        .unwrap();
    let relative = Request::get("/").body(Bytes::new()).unwrap();
    let start = probe::now();
    for request in [tenant, key, origin, relative] {
        api.clone().oneshot(request).await.unwrap();
    }
    assert!(start.elapsed() < SECOND);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_without_origin_shares_a_limit_with_its_like() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("60")
        } else {
            status(200)
        })
    });
    let api = layer().layer(probe);
    let relative = || Request::get("/").body(Bytes::new()).unwrap();
    let first = tokio::spawn(api.clone().oneshot(relative()));
    sleep(SECOND).await;
    let start = probe::now();
    api.oneshot(relative()).await.unwrap();
    assert!(start.elapsed() >= 58 * SECOND);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_key_may_be_chosen_by_a_closure() {
    let probe = Probe::new(|count, _| {
        Ok(if count == 1 {
            refused("60")
        } else {
            status(200)
        })
    });
    let api = layer()
        .limit_key(|head| LimitKey::new(head.uri.path()))
        .layer(probe);
    let first = tokio::spawn(api.clone().oneshot(get("/search")));
    sleep(SECOND).await;
    let start = probe::now();
    api.oneshot(get("/other")).await.unwrap();
    assert!(start.elapsed() < SECOND);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_503_that_is_returned_still_holds_the_others_back() {
    let probe = Probe::new(|count, _| {
        let mut response = status(if count == 1 { 503 } else { 200 });
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        Ok(response)
    });
    let api = layer().layer(probe.clone());
    assert_eq!(api.clone().oneshot(post("")).await.unwrap().status(), 503);
    api.oneshot(get("/")).await.unwrap();
    assert!(times(&probe)[1] >= 30 * SECOND);
}

// ===== discarded responses =====

/// A server that answers 503 first and 200 then, with a body of so many chunks, each after a pause.
fn chunked(
    chunks: usize,
    pause: Duration,
    read: &Arc<AtomicUsize>,
) -> impl Service<
    Request<Bytes>,
    Response = http::Response<impl http_body::Body<Data = Bytes, Error = BoxError>>,
    Error = BoxError,
> + Clone {
    let (read, sent) = (Arc::clone(read), Arc::<AtomicUsize>::default());
    tower::service_fn(move |_: Request<Bytes>| {
        let code = if sent.fetch_add(1, Ordering::SeqCst) == 0 {
            503
        } else {
            200
        };
        let read = Arc::clone(&read);
        let body = stream::iter(0..chunks).then(move |_| {
            read.fetch_add(1, Ordering::SeqCst);
            async move {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(vec![0; 1000])))
            }
        });
        let response = http::Response::builder()
            .status(code)
            .body(StreamBody::new(body));
        async { Ok::<_, BoxError>(response?) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_discarded_body_is_read_to_its_end() {
    let read = Arc::default();
    let response = layer()
        .layer(chunked(20, Duration::ZERO, &read))
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(read.load(Ordering::SeqCst), 20);
}

#[tokio::test(start_paused = true)]
async fn an_endless_discarded_body_is_given_up() {
    let read = Arc::default();
    let endless = chunked(usize::MAX, Duration::ZERO, &read);
    assert_eq!(
        layer()
            .layer(endless)
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert!(read.load(Ordering::SeqCst) < 100);
}

#[tokio::test(start_paused = true)]
async fn a_slow_discarded_body_does_not_delay_the_replay() {
    let read = Arc::default();
    let slow = chunked(usize::MAX, SECOND, &read);
    let start = probe::now();
    assert_eq!(
        layer()
            .layer(slow)
            .oneshot(get("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    // The backoff is 200 ms at most.
    assert!(
        start.elapsed() <= Duration::from_millis(250),
        "{:?}",
        start.elapsed()
    );
}
