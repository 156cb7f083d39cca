//! What a request costs that needs nothing: a good token, an open limit, a success at once.
//!
//! `cargo bench --bench hot_path` prints instructions and allocations per request over the bare service, for
//! each layer, for both, and for what a user writes by hand. Instructions are counted by valgrind's
//! callgrind, as the difference between two runs of this program with different numbers of requests; where
//! there is no valgrind, they are left out. Nothing here depends on how fast the machine is.

use std::{
    alloc::System,
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    process::{Command, ExitCode},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Empty;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{runtime, sync::RwLock};
use tower::{BoxError, Service, ServiceBuilder, retry, service_fn};
use tower_outbound::{
    origin::Origins,
    rate_limit_retry::RateLimitRetryLayer,
    token::{Grant, TokenCache, source_fn},
    token_refresh::TokenRefreshLayer,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sends so many requests with these headers, and returns the size of a future.
type Run = fn(Headers, usize) -> usize;

const SUBJECTS: [(&str, Run); 6] = [
    ("bare", |headers, count| run(bare(), headers, count)),
    ("attach", |headers, count| {
        run(attach_by_hand(), headers, count)
    }),
    ("token", |headers, count| {
        run(
            ServiceBuilder::new().layer(token_layer()).service(bare()),
            headers,
            count,
        )
    }),
    ("limit", |headers, count| {
        run(
            ServiceBuilder::new()
                .layer(RateLimitRetryLayer::new())
                .service(bare()),
            headers,
            count,
        )
    }),
    ("both", |headers, count| {
        let both = ServiceBuilder::new()
            .layer(RateLimitRetryLayer::new())
            .layer(token_layer())
            .service(bare());
        run(both, headers, count)
    }),
    ("by hand", |headers, count| run(by_hand(), headers, count)),
];

/// What the requests carry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Headers {
    /// Six, their values made for each request: one more makes the map grow.
    Six,
    /// Five: there is room for one more.
    Five,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, subject, headers, count] = &arguments[..]
        && mode == "--run"
    {
        let headers = if headers == "Six" {
            Headers::Six
        } else {
            Headers::Five
        };
        let subject = SUBJECTS.iter().find(|(name, _)| name == subject);
        let count = count.parse().ok();
        return match subject.zip(count) {
            Some(((_, run), count)) => {
                black_box(run(headers, count));
                ExitCode::SUCCESS
            }
            None => ExitCode::FAILURE,
        };
    }
    table();
    ExitCode::SUCCESS
}

fn table() {
    println!(
        "over the bare service, a request     Ir, six  Ir, five   allocations + reallocations   future"
    );
    let bare_size = SUBJECTS[0].1(Headers::Six, 1);
    let bare = [Headers::Six, Headers::Five].map(|headers| instructions("bare", headers));
    let bare_allocations = allocations(SUBJECTS[0].1);
    for (name, run) in SUBJECTS {
        let over = |headers, bare: Option<u64>| match (instructions(name, headers), bare) {
            (Some(all), Some(bare)) if name != "bare" => format!("{}", all.saturating_sub(bare)),
            (Some(all), _) => format!("{all}"),
            (None, _) => "-".to_owned(),
        };
        let (all, bare_all) = (allocations(run), bare_allocations);
        let allocations = match name {
            "bare" => all,
            _ => (all.0 - bare_all.0, all.1 - bare_all.1),
        };
        println!(
            "{name:34} {:>9} {:>9}   {:>10.1} + {:.1} {:>18} B",
            over(Headers::Six, bare[0]),
            over(Headers::Five, bare[1]),
            allocations.0,
            allocations.1,
            run(Headers::Six, 1) - if name == "bare" { 0 } else { bare_size },
        );
    }
}

/// Instructions per request, setting up not counted.
fn instructions(subject: &str, headers: Headers) -> Option<u64> {
    let few = collected(subject, headers, 100)?;
    let many = collected(subject, headers, 1_100)?;
    Some((many - few) / 1_000)
}

fn collected(subject: &str, headers: Headers, count: usize) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .args([
            "--run",
            subject,
            &format!("{headers:?}"),
            &count.to_string(),
        ])
        .output()
        .ok()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    printed
        .split_once("Collected : ")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn allocations(run: Run) -> (f64, f64) {
    let count = |count| {
        let region = Region::new(ALLOCATOR);
        run(Headers::Six, count);
        let change = region.change();
        (change.allocations as f64, change.reallocations as f64)
    };
    let (few, many) = (count(100), count(1_100));
    ((many.0 - few.0) / 1_000.0, (many.1 - few.1) / 1_000.0)
}

// ===== the subjects =====

type Answer = Result<Response<Empty<Bytes>>, Infallible>;

fn bare() -> impl Service<
    Request<Bytes>,
    Response = Response<Empty<Bytes>>,
    Error = Infallible,
    Future = Ready<Answer>,
> + Clone {
    service_fn(|request: Request<Bytes>| {
        black_box(&request);
        ready(Ok(Response::new(Empty::new())))
    })
}

/// The floor: a header value that was made before is inserted.
fn attach_by_hand() -> impl Service<
    Request<Bytes>,
    Response = Response<Empty<Bytes>>,
    Error = Infallible,
    Future = Ready<Answer>,
> + Clone {
    let value = HeaderValue::from_static("Bearer 0123456789abcdef0123456789abcdef0123456789a");
    let mut inner = bare();
    service_fn(move |mut request: Request<Bytes>| {
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, value.clone());
        inner.call(request)
    })
}

fn token_layer() -> TokenRefreshLayer {
    let tokens = TokenCache::new(source_fn(|_| async {
        Ok(Grant::new("0123456789abcdef0123456789abcdef0123456789a")
            .expires_in(std::time::Duration::from_secs(24 * 3600)))
    }));
    let warm = runtime::Builder::new_current_thread().enable_time().build();
    if let Err(error) = warm.map(|runtime| runtime.block_on(tokens.token())) {
        eprintln!("no runtime to get the first token in: {error}");
    }
    match Origins::only(["https://api.example.com"]) {
        Ok(origins) => TokenRefreshLayer::new(tokens, origins),
        Err(_) => TokenRefreshLayer::new(tokens, Origins::any()),
    }
}

/// What users write: tower's `Retry` over a closure that reads the token from behind a lock.
fn by_hand()
-> impl Service<Request<Bytes>, Response = Response<Empty<Bytes>>, Error = BoxError> + Clone {
    let token = Arc::new(RwLock::new(
        "0123456789abcdef0123456789abcdef0123456789a".to_owned(),
    ));
    let with_token = service_fn(move |mut request: Request<Bytes>| {
        let (token, mut inner) = (Arc::clone(&token), bare());
        async move {
            let value = format!("Bearer {}", token.read().await);
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, HeaderValue::try_from(value)?);
            Ok::<_, BoxError>(inner.call(request).await?)
        }
    });
    ServiceBuilder::new()
        .layer(retry::RetryLayer::new(Attempts(3)))
        .service(with_token)
}

#[derive(Clone)]
struct Attempts(usize);

impl retry::Policy<Request<Bytes>, Response<Empty<Bytes>>, BoxError> for Attempts {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Bytes>,
        result: &mut Result<Response<Empty<Bytes>>, BoxError>,
    ) -> Option<Ready<()>> {
        let failed = match result {
            Ok(response) => matches!(response.status().as_u16(), 401 | 429 | 503),
            Err(_) => true,
        };
        self.0 = self.0.checked_sub(usize::from(failed))?;
        failed.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        Some(request.clone())
    }
}

// ===== driving them =====

/// Sends so many requests, one after the other, and returns the size of a future.
fn run<S>(service: S, headers: Headers, count: usize) -> usize
where
    S: Service<Request<Bytes>, Response = Response<Empty<Bytes>>> + Clone,
{
    let mut service = service;
    let body = Bytes::from(vec![b'x'; 1024]);
    let mut size = 0;
    for number in 0..count {
        let request = request(&body, headers, number);
        let mut context = Context::from_waker(Waker::noop());
        let _ = black_box(service.poll_ready(&mut context));
        let future = service.call(request);
        size = size_of_val(&future);
        let mut future = pin!(future);
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => drop(black_box(answer)),
            Poll::Pending => panic!("the hot path waits for nothing"),
        }
    }
    size
}

fn request(body: &Bytes, headers: Headers, number: usize) -> Request<Bytes> {
    let mut request = Request::new(body.clone());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("https://api.example.com/api/v2/users?pageSize=25");
    let map = request.headers_mut();
    map.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    map.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    map.insert(header::USER_AGENT, HeaderValue::from_static("exporter/1.0"));
    map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    map.insert(
        HeaderName::from_static("x-request-id"),
        HeaderValue::from(number),
    );
    if headers == Headers::Six {
        map.insert(
            HeaderName::from_static("x-trace-id"),
            HeaderValue::from(number),
        );
    }
    request
}
