use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service, service_fn};

use super::*;

const BASE: &str = "https://api.test";

/// What a server was asked for: `<method> <path and query> <body>`.
type Log = Arc<Mutex<Vec<String>>>;

/// A server that answers each request by what a table has for it; 404 for the rest.
fn server(
    table: Vec<(&str, Value)>,
) -> (
    impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + 'static,
    Log,
) {
    let table: Vec<_> = table
        .into_iter()
        .map(|(request, answer)| (request.to_owned(), answer))
        .collect();
    let (table, log) = (Arc::new(table), Log::default());
    let service = {
        let log = Arc::clone(&log);
        service_fn(move |request: Request<Full<Bytes>>| {
            let (table, log) = (Arc::clone(&table), Arc::clone(&log));
            async move {
                use http_body_util::BodyExt;
                let (head, body) = request.into_parts();
                let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
                let target = head.uri.path_and_query().unwrap().as_str();
                let asked = format!("{} {target} {body}", head.method);
                let asked = asked.trim().to_owned();
                let found = table.iter().find(|(request, _)| *request == asked);
                log.lock().unwrap().push(asked);
                let mut response = Response::new(Full::from(match found {
                    Some((_, Value::String(text))) => text.clone(),
                    Some((_, answer)) => answer.to_string(),
                    None => "not found".to_owned(),
                }));
                if found.is_none() {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                Ok(response)
            }
        })
    };
    (service, log)
}

fn get(target: &str) -> Request<Bytes> {
    Request::get(format!("{BASE}{target}"))
        .body(Bytes::new())
        .unwrap()
}

fn post(target: &str, body: &Value) -> Request<Bytes> {
    Request::post(format!("{BASE}{target}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into())
        .unwrap()
}

/// All items, and what was asked for.
async fn listed(
    table: Vec<(&str, Value)>,
    first: Request<Bytes>,
    paging: impl Paging,
) -> (Result<Vec<u32>, PageError>, Vec<String>) {
    let (service, log) = server(table);
    let pages = Pages::new(service, first, paging).stream();
    let items = items::<u32>(pages, "/items").try_collect().await;
    let asked = log.lock().unwrap().clone();
    (items, asked)
}

// ===== strategies =====

#[tokio::test]
async fn a_cursor_goes_into_the_query_and_the_rest_stays_as_it_is_written() {
    let (items, asked) = listed(
        vec![
            ("GET /x?q=%7e", json!({"items": [1, 2], "next": "a/b c"})),
            ("GET /x?q=%7e&c=a%2Fb+c", json!({"items": [3], "next": 7})),
            ("GET /x?q=%7e&c=7", json!({"items": [], "next": ""})),
        ],
        get("/x?q=%7e"),
        Cursor::at("/next").to_query("c"),
    )
    .await;
    assert_eq!(items.unwrap(), [1, 2, 3]);
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn a_cursor_goes_into_the_body_and_the_objects_on_its_way_are_made() {
    let (items, _) = listed(
        vec![
            (r#"POST /q {"f":1}"#, json!({"items": [1], "cursor": "n"})),
            (
                r#"POST /q {"f":1,"page":{"after":"n"}}"#,
                json!({"items": [2]}),
            ),
        ],
        post("/q", &json!({"f": 1})),
        Cursor::at("/cursor").to_body("/page/after"),
    )
    .await;
    assert_eq!(items.unwrap(), [1, 2]);
}

#[tokio::test]
async fn pages_are_counted_up_to_the_count_that_they_tell() {
    let (items, asked) = listed(
        vec![
            ("GET /x?size=2", json!({"items": [1, 2], "pageCount": 2})),
            (
                "GET /x?size=2&pageNumber=2",
                json!({"items": [3], "pageCount": 2}),
            ),
        ],
        get("/x?size=2"),
        PageNumber::in_query("pageNumber"),
    )
    .await;
    assert_eq!(items.unwrap(), [1, 2, 3]);
    assert_eq!(asked.len(), 2);
    let empty = vec![("GET /x", json!({"items": [], "pageCount": 0}))];
    let (items, asked) = listed(empty, get("/x"), PageNumber::in_query("n")).await;
    assert_eq!((items.unwrap().len(), asked.len()), (0, 1));
}

#[tokio::test]
async fn a_query_is_paged_in_its_body_until_a_page_is_empty() {
    let (items, asked) = listed(
        vec![
            (
                r#"POST /q {"paging":{"pageNumber":1,"pageSize":2}}"#,
                json!({"items": [1, 2]}),
            ),
            (
                r#"POST /q {"paging":{"pageNumber":2,"pageSize":2}}"#,
                json!({"items": [3]}),
            ),
            (
                r#"POST /q {"paging":{"pageNumber":3,"pageSize":2}}"#,
                json!({"totalHits": 3}),
            ),
        ],
        post("/q", &json!({"paging": {"pageSize": 2, "pageNumber": 1}})),
        BodyPaging::items_at("/items"),
    )
    .await;
    assert_eq!(items.unwrap(), [1, 2, 3]);
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn a_link_is_followed_absolute_or_relative_and_not_encoded_again() {
    for link in [
        "https://api.test/v2/y?c=a%2Fb%20c+d#part",
        "/v2/y?c=a%2Fb%20c+d",
        "y?c=a%2Fb%20c+d",
        "//api.test:443/v2/y?c=a%2Fb%20c+d",
    ] {
        let (items, _) = listed(
            vec![
                ("GET /v2/x", json!({"items": [1], "nextUri": link})),
                (
                    "GET /v2/y?c=a%2Fb%20c+d",
                    json!({"items": [2], "nextUri": null}),
                ),
            ],
            get("/v2/x"),
            NextLink::at("/nextUri"),
        )
        .await;
        assert_eq!(items.unwrap(), [1, 2], "{link}");
    }
}

#[tokio::test]
async fn a_link_may_be_in_the_header() {
    let service = service_fn(|request: Request<Full<Bytes>>| async move {
        let mut response = Response::new(Full::<Bytes>::from(r#"{"items":[1]}"#));
        if request.uri().query().is_none() {
            let link = r#"</x?page=2>; rel="next", </x?page=9>; rel="last""#;
            response
                .headers_mut()
                .insert(header::LINK, link.parse().unwrap());
        }
        Ok::<_, BoxError>(response)
    });
    let pages = Pages::new(service, get("/x"), NextLink::header()).stream();
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[0].next().unwrap().uri(), "https://api.test/x?page=2");
    assert_eq!((pages[1].number(), pages[1].next()), (2, None));
}

#[tokio::test]
async fn scim_goes_on_behind_what_the_page_has_brought() {
    let (items, asked) = listed(
        vec![
            (
                "GET /u?count=50",
                json!({"items": [1, 2], "totalResults": 3, "itemsPerPage": 2}),
            ),
            (
                "GET /u?count=50&startIndex=3",
                json!({"items": [3], "totalResults": 3, "itemsPerPage": 1}),
            ),
        ],
        get("/u?count=50"),
        Scim,
    )
    .await;
    assert_eq!(items.unwrap(), [1, 2, 3]);
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn an_empty_page_of_scim_is_the_end_only_if_there_is_nothing_more() {
    let none = vec![("GET /u", json!({"items": [], "totalResults": 0}))];
    let (items, asked) = listed(none, get("/u"), Scim).await;
    assert_eq!((items.unwrap().len(), asked.len()), (0, 1));
    let stuck = vec![(
        "GET /u",
        json!({"items": [], "totalResults": 3, "itemsPerPage": 0}),
    )];
    let (items, _) = listed(stuck, get("/u"), Scim).await;
    assert!(
        items
            .unwrap_err()
            .to_string()
            .contains("is empty, and there are 3")
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_is_asked_for_until_it_is_done_and_only_results_are_pages() {
    let polls = Arc::new(Mutex::new(0));
    let count = Arc::clone(&polls);
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let is_typed = request.headers().contains_key(header::CONTENT_TYPE);
        assert_eq!(is_typed, request.method() == Method::POST);
        let answer = match (request.uri().path(), request.uri().query()) {
            ("/jobs", _) => json!({"jobId": "7"}),
            ("/jobs/7", _) => {
                let mut count = count.lock().unwrap();
                *count += 1;
                let state = ["QUEUED", "PENDING", "FULFILLED"][*count - 1];
                json!({"state": state})
            }
            ("/jobs/7/results", None) => json!({"items": [1], "cursor": "c"}),
            ("/jobs/7/results", Some("cursor=c")) => json!({"items": [2]}),
            other => panic!("{other:?}"),
        };
        async move { Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(answer.to_string()))) }
    });
    #[allow(clippy::disallowed_methods)] // the test's only look at the (paused) clock
    let began = Instant::now();
    let job = Job::new().every(Duration::from_secs(5));
    let pages = Pages::new(service, post("/jobs", &json!({})), job).stream();
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(pages.iter().map(Page::number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(*polls.lock().unwrap(), 3);
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn the_results_of_a_job_come_in_pages_of_the_size_that_was_asked_for() {
    let table = vec![
        ("POST /jobs {}", json!({"jobId": "7"})),
        ("GET /jobs/7", json!({"state": "FULFILLED"})),
        (
            "GET /jobs/7/results?pageSize=2",
            json!({"items": [1, 2], "cursor": "c"}),
        ),
        (
            "GET /jobs/7/results?pageSize=2&cursor=c",
            json!({"items": [3]}),
        ),
    ];
    let job = Job::new().page_size(2);
    let (items, _) = listed(table, post("/jobs", &json!({})), job).await;
    assert_eq!(items.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_job_that_failed_is_an_error_that_says_so() {
    let table = vec![
        ("POST /jobs {}", json!({"jobId": "7"})),
        ("GET /jobs/7", json!({"state": "FAILED"})),
    ];
    let (items, _) = listed(table, post("/jobs", &json!({})), Job::new()).await;
    assert!(items.unwrap_err().to_string().contains("the job is FAILED"));
}

// ===== where it ends =====

async fn problem(table: Vec<(&str, Value)>) -> (PageError, Vec<String>) {
    let (items, asked) = listed(table, get("/x"), Cursor::at("/c")).await;
    (items.unwrap_err(), asked)
}

#[tokio::test]
async fn a_cursor_that_repeats_is_an_error_after_the_page_that_tells_it() {
    let (service, log) = server(vec![
        ("GET /x", json!({"items": [1], "c": "a"})),
        ("GET /x?cursor=a", json!({"items": [2], "c": "b"})),
        ("GET /x?cursor=b", json!({"items": [3], "c": "a"})),
    ]);
    let pages: Vec<_> = Pages::new(service, get("/x"), Cursor::at("/c"))
        .stream()
        .collect()
        .await;
    assert_eq!(pages.len(), 4);
    assert_eq!(
        pages[2].as_ref().unwrap().items::<u32>("/items").unwrap(),
        [3]
    );
    let error = pages[3].as_ref().unwrap_err();
    assert!(matches!(error.problem(), PageProblem::Repeats), "{error}");
    assert_eq!(error.number(), 4);
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_link_to_another_origin_is_an_error_and_nothing_is_sent_there() {
    for link in [
        "https://evil.test/x",
        "http://api.test/x",
        "https://api.test:8443/x",
        "//evil.test/",
    ] {
        let (items, asked) = listed(
            vec![("GET /x", json!({"items": [1], "n": link}))],
            get("/x"),
            NextLink::at("/n"),
        )
        .await;
        let error = items.unwrap_err();
        assert!(
            matches!(error.problem(), PageProblem::OtherOrigin(_)),
            "{link}: {error}"
        );
        assert_eq!(asked.len(), 1);
    }
}

#[tokio::test]
async fn a_page_past_the_end_or_refused_tells_status_body_and_place() {
    let (error, _) = problem(vec![("GET /x", json!({"items": [1], "c": "gone"}))]).await;
    let PageProblem::Refused { status, body } = error.problem() else {
        panic!("{error:?}")
    };
    assert_eq!((status.as_u16(), &body[..]), (404, &b"not found"[..]));
    assert_eq!((error.number(), error.resume().page()), (2, 2));
    assert_eq!(error.resume().uri(), "https://api.test/x?cursor=gone");
}

#[tokio::test]
async fn a_body_that_is_not_json_or_makes_no_sense_is_an_error_of_its_page() {
    for (page, expected) in [
        (json!("<html>"), "not what was expected"),
        (
            json!({"items": [1], "c": {"a": 1}}),
            "neither text nor number",
        ),
        (json!({"items": ["x"]}), "not what was expected"),
        (json!({"items": 7}), "not what was expected"),
    ] {
        let (error, asked) = problem(vec![("GET /x", page)]).await;
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.number(), asked.len()), (1, 1));
        assert_eq!(error.resume().uri(), "https://api.test/x");
    }
}

#[tokio::test]
async fn counts_that_are_missing_are_errors_and_no_silent_end() {
    let table = || vec![("GET /x", json!({"items": [1]}))];
    for error in [
        listed(table(), get("/x"), PageNumber::in_query("n"))
            .await
            .0,
        listed(table(), get("/x"), Scim).await.0,
    ] {
        assert!(matches!(
            error.unwrap_err().problem(),
            PageProblem::Nonsense(_)
        ));
    }
}

#[tokio::test]
async fn a_service_that_fails_is_an_error_from_where_the_listing_goes_on() {
    let (good, _) = server(vec![
        ("GET /x", json!({"items": [1], "c": "a"})),
        ("GET /x?cursor=a", json!({"items": [2]})),
    ]);
    let failing = service_fn({
        let good = good.clone();
        move |request: Request<Full<Bytes>>| {
            let (mut good, is_first) = (good.clone(), request.uri().query().is_none());
            async move {
                if is_first {
                    good.call(request).await
                } else {
                    Err("the connection broke".into())
                }
            }
        }
    });
    let pages: Vec<_> = Pages::new(failing, get("/x"), Cursor::at("/c"))
        .stream()
        .collect()
        .await;
    let error = pages.into_iter().next_back().unwrap().unwrap_err();
    assert!(matches!(error.problem(), PageProblem::Failed(_)));
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), "the connection broke");

    let written = error.resume().to_string();
    let rest = Pages::new(good, get("/x"), Cursor::at("/c"))
        .resume_from(written.parse().unwrap())
        .stream();
    let rest: Vec<u32> = items::<u32>(rest, "/items").try_collect().await.unwrap();
    assert_eq!(rest, [2]);
}

#[tokio::test]
async fn a_listing_goes_on_from_any_page_as_if_it_had_not_stopped() {
    let table = || {
        vec![
            (
                r#"POST /q {"paging":{"pageNumber":1}}"#,
                json!({"items": [1]}),
            ),
            (
                r#"POST /q {"paging":{"pageNumber":2}}"#,
                json!({"items": [2]}),
            ),
            (
                r#"POST /q {"paging":{"pageNumber":3}}"#,
                json!({"items": [3]}),
            ),
            (
                r#"POST /q {"paging":{"pageNumber":4}}"#,
                json!({"items": []}),
            ),
        ]
    };
    let first = || post("/q", &json!({"paging": {"pageNumber": 1}}));
    let paging = || BodyPaging::items_at("/items");
    let (service, _) = server(table());
    let pages: Vec<_> = Pages::new(service, first(), paging())
        .stream()
        .try_collect()
        .await
        .unwrap();
    for (done, page) in pages.iter().enumerate().take(3) {
        let position: Position = page.next().unwrap().to_string().parse().unwrap();
        let (service, log) = server(table());
        let rest: Vec<Page> = Pages::new(service, first(), paging())
            .resume_from(position)
            .stream()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(log.lock().unwrap().len(), 3 - done);
        let numbers: Vec<_> = rest.iter().map(Page::number).collect();
        assert_eq!(numbers, (done as u64 + 2..=4).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn too_many_pages_are_an_error_or_an_end_as_the_user_chose_and_never_silent() {
    let table = || {
        vec![
            ("GET /x", json!({"items": [1], "c": "a"})),
            ("GET /x?cursor=a", json!({"items": [2], "c": "b"})),
            ("GET /x?cursor=b", json!({"items": [3]})),
        ]
    };
    let pages = async |at_most| {
        let (service, log) = server(table());
        let pages = Pages::new(service, get("/x"), Cursor::at("/c")).at_most(at_most);
        let pages: Vec<_> = pages.stream().collect().await;
        assert!(log.lock().unwrap().len() as u64 <= 3);
        pages
    };
    let cut = pages(AtMost::ThenEnd(2)).await;
    assert_eq!(cut.len(), 2);
    assert!(
        cut[1].as_ref().unwrap().next().is_some(),
        "one can see that there is more"
    );
    let failed = pages(AtMost::OrFail(2)).await;
    assert_eq!(failed.len(), 3);
    let error = failed[2].as_ref().unwrap_err();
    assert!(
        matches!(error.problem(), PageProblem::TooMany(2)),
        "{error}"
    );
    assert_eq!(error.resume().page(), 3);
    // As many as there are is not too many.
    assert!(pages(AtMost::OrFail(3)).await.iter().all(Result::is_ok));
    assert!(pages(AtMost::ThenEnd(0)).await.is_empty());
}

#[tokio::test]
async fn a_page_that_is_too_long_is_not_read() {
    let (service, _) = server(vec![("GET /x", json!({"items": [1, 2, 3]}))]);
    let pages = Pages::new(service, get("/x"), Cursor::at("/c")).max_page_bytes(5);
    let error = pages.stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(
        matches!(error.problem(), PageProblem::Unreadable(_)),
        "{error}"
    );
}

// ===== when what is sent =====

/// Numbered pages without end, 10 ms each; counts how many were asked for.
fn endless(
    asked: &Arc<Mutex<u32>>,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
+ Send
+ 'static {
    let count = Arc::clone(asked);
    service_fn(move |_: Request<Full<Bytes>>| {
        let number = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count
        };
        async move {
            sleep(Duration::from_millis(10)).await;
            let page = json!({"items": [number], "c": number}).to_string();
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(page)))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_polled_sends_nothing() {
    let asked = Arc::default();
    let service = endless(&asked);
    let mut pages = std::pin::pin!(Pages::new(service, get("/x"), Cursor::at("/c")).stream());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*asked.lock().unwrap(), 0);
    pages.next().await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn looking_ahead_gets_one_page_more_and_no_further() {
    let asked = Arc::default();
    let service = endless(&asked);
    let pages = Pages::new(service, get("/x"), Cursor::at("/c")).look_ahead();
    let mut pages = Box::pin(pages);
    for taken in 1..=3 {
        let page = pages.next().await.unwrap().unwrap();
        assert_eq!(page.number(), taken);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(u64::from(*asked.lock().unwrap()), taken + 1);
    }
    drop(pages);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*asked.lock().unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn looking_ahead_changes_neither_order_nor_end_nor_errors() {
    let table = vec![
        ("GET /x", json!({"items": [1], "c": "a"})),
        ("GET /x?cursor=a", json!({"items": [2], "c": "gone"})),
    ];
    let (service, _) = server(table);
    let pages = Pages::new(service, get("/x"), Cursor::at("/c")).look_ahead();
    let pages: Vec<_> = pages.collect().await;
    assert_eq!(pages.len(), 3);
    assert!(pages[..2].iter().all(Result::is_ok));
    assert_eq!(pages[2].as_ref().unwrap_err().number(), 3);
}

#[tokio::test]
async fn headers_and_marks_stay_on_every_request() {
    #[derive(Clone)]
    struct Mark;
    let service = service_fn(|request: Request<Full<Bytes>>| {
        assert_eq!(request.headers()["x-tenant"], "acme");
        assert!(request.extensions().get::<Mark>().is_some());
        let page = if request.uri().query().is_none() {
            r#"{"c":1}"#
        } else {
            "{}"
        };
        future::ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(page))))
    });
    let mut first = get("/x");
    first
        .headers_mut()
        .insert("x-tenant", "acme".parse().unwrap());
    first.extensions_mut().insert(Mark);
    let pages = Pages::new(service, first, Cursor::at("/c")).stream();
    assert_eq!(pages.try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[test]
fn a_position_is_one_line_of_text_without_headers() {
    let mut request = post("/q?a=b", &json!({"x": "\n\""}));
    request
        .headers_mut()
        .insert("authorization", "hunter2".parse().unwrap());
    let position = Position::of(3, &request);
    let text = position.to_string();
    assert!(!text.contains('\n') && !text.contains("hunter2"), "{text}");
    assert_eq!(text.parse::<Position>().unwrap(), position);
    for damaged in [
        "",
        "{}",
        r#"{"page":1,"method":"GET","uri":"::","body":""}"#,
    ] {
        assert!(damaged.parse::<Position>().is_err(), "{damaged}");
    }
}
