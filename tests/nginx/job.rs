use std::{
    cell::{Cell, RefCell},
    fmt,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_outbound::{outcome::Outcome, rate_limit_retry::RateLimitRetry};

use super::{CASES, Case, IDEAL, REQUESTS, WORKERS, layer, server::Nginx};

/// What came of the job that one case is.
#[derive(Debug)]
pub struct Report {
    pub case: &'static str,
    pub took: Duration,
    /// What the caller got that was not a success.
    pub failed: Vec<String>,
    /// How often nginx refused.
    pub refused: usize,
    /// The numbers of the requests that nginx accepted, in its order.
    pub accepted: Vec<usize>,
}

impl Report {
    pub const HEADING: &str =
        "case            time / best   refused / accepted   failed   most overtaken by";

    /// How many later requests were accepted before the request that was overtaken most.
    pub fn most_overtaken(&self) -> usize {
        let overtaken = self.accepted.iter().enumerate().map(|(place, number)| {
            let before = &self.accepted[..place];
            before.iter().filter(|earlier| *earlier > number).count()
        });
        overtaken.max().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:15} {:>11.3} {:>20.3} {:>8} {:>19}",
            self.case,
            self.took.as_secs_f64() / IDEAL.as_secs_f64(),
            self.refused as f64 / self.accepted.len() as f64,
            self.failed.len(),
            self.most_overtaken(),
        )
    }
}

/// All cases at the same time: each has a limit, and a layer, of its own.
pub async fn run_all(nginx: &Nginx) -> Vec<Report> {
    join_all(CASES.iter().map(|case| run(nginx, case))).await
}

async fn run(nginx: &Nginx, case: &'static Case) -> Report {
    let api = ServiceBuilder::new()
        .layer(layer(case))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let uri = format!("http://{}/{}", nginx.address(), case.name);
    let (numbers, failed) = (Numbers::default(), RefCell::default());

    #[allow(clippy::disallowed_methods)] // a stopwatch; nothing is decided by it
    let start = time::Instant::now();
    let workers = (0..WORKERS).map(|_| work(api.clone(), &uri, &numbers, &failed));
    join_all(workers).await;
    let took = start.elapsed();

    let failed = failed.into_inner();
    let (accepted, refused) = answered(nginx, case, REQUESTS - failed.len()).await;
    let report = Report {
        case: case.name,
        took,
        failed,
        refused,
        accepted,
    };
    println!("{report}");
    report
}

type Api = RateLimitRetry<Client<HttpConnector, Empty<Bytes>>>;

/// Makes one request after the other, until all are made.
async fn work(mut api: Api, uri: &str, numbers: &Numbers, failed: &RefCell<Vec<String>>) {
    // Nothing is awaited between the number and the call: they have one order.
    while let (Ok(api), Some(number)) = (api.ready().await, numbers.next()) {
        let request = Request::get(uri).header("x-number", number);
        let response = api.call(request.body(Empty::new()).unwrap()).await;
        let failure = match response {
            Err(error) => format!("{number}: {error}"),
            Ok(response) if response.status() != StatusCode::OK => {
                format!("{number}: {:?}", Outcome::of(&response))
            }
            // To its end, so that the connection can be used again.
            Ok(response) => match response.into_body().collect().await {
                Err(error) => format!("{number}: {error}"),
                Ok(_) => continue,
            },
        };
        failed.borrow_mut().push(failure);
    }
}

/// What requests are called by, in the order in which they are made.
#[derive(Default)]
struct Numbers(Cell<usize>);

impl Numbers {
    fn next(&self) -> Option<usize> {
        let number = self.0.get();
        self.0.set(number + 1);
        (number < REQUESTS).then_some(number)
    }
}

/// The accepted requests, and how many were refused. The last line of the log may come a little after the
/// response that it is about.
async fn answered(nginx: &Nginx, case: &Case, succeeded: usize) -> (Vec<usize>, usize) {
    let mut tries = 0;
    loop {
        let answered = nginx.answered(case);
        let (accepted, refused): (Vec<_>, Vec<_>) =
            answered.into_iter().partition(|(_, status)| *status == 200);
        if accepted.len() >= succeeded || tries == 100 {
            let accepted = accepted.into_iter().map(|(number, _)| number);
            return (accepted.collect(), refused.len());
        }
        tries += 1;
        time::sleep(Duration::from_millis(10)).await;
    }
}
