//! A job against a real nginx that limits requests, at 20 a second, in each of its ways.
//!
//! ```sh
//! cargo test --test nginx -- --ignored --nocapture
//! ```
//!
//! It needs nginx, in the path or where Debian has it, and half a minute of real time, because the limit takes
//! that long. Counts and order are asserted; the time and the number of refusals are printed.

mod job;
mod server;

use std::{sync::OnceLock, time::Duration};

use http::StatusCode;
use tokio::runtime;
use tower_outbound::rate_limit_retry::{
    Pacer, RateLimitRetryLayer,
    classify::{Class, classify_fn},
};

use job::Report;
use server::Nginx;

/// The layer that does the job, as a user makes it who knows nothing of the limit, but what 503 means.
fn layer(case: &Case) -> RateLimitRetryLayer {
    let layer = RateLimitRetryLayer::new().pacer(Pacer::new().gentle_start(8));
    if case.refusal == StatusCode::SERVICE_UNAVAILABLE {
        layer.classify(classify_fn(|parts, standard| match parts.status {
            StatusCode::SERVICE_UNAVAILABLE => Class::Refused { wait: None },
            _ => standard,
        }))
    } else {
        layer
    }
}

/// One way to limit: a location of the server, with a zone of its own.
#[derive(Debug)]
struct Case {
    name: &'static str,
    /// What follows the zone in `limit_req`.
    burst: &'static str,
    refusal: StatusCode,
    retry_after: Option<u32>,
}

const CASES: [Case; 7] = [
    Case::refusing("no_burst", "", None),
    Case::refusing("no_burst_hint", "", Some(1)),
    Case::refusing("burst_5", "burst=5 nodelay", None),
    Case::refusing("burst_5_hint", "burst=5 nodelay", Some(1)),
    Case::refusing("delay_20", "burst=20", None),
    Case::refusing("delay_20_hint", "burst=20", Some(1)),
    // What `limit_req` does when it is left alone.
    Case {
        refusal: StatusCode::SERVICE_UNAVAILABLE,
        ..Case::refusing("default_503", "", None)
    },
];

impl Case {
    const fn refusing(name: &'static str, burst: &'static str, retry_after: Option<u32>) -> Self {
        Self {
            name,
            burst,
            refusal: StatusCode::TOO_MANY_REQUESTS,
            retry_after,
        }
    }
}

#[test]
#[ignore = "needs nginx"]
fn every_request_of_a_job_succeeds_once_behind_nginx() {
    for report in reports() {
        assert!(report.failed.is_empty(), "{report}: {:?}", report.failed);
        let mut accepted = report.accepted.clone();
        accepted.sort_unstable();
        assert!(accepted.into_iter().eq(0..REQUESTS), "{report}");
    }
}

#[test]
#[ignore = "needs nginx"]
fn requests_are_accepted_in_the_order_in_which_they_were_made() {
    for report in reports() {
        assert!(report.most_overtaken() <= MAY_OVERTAKE, "{report}");
    }
}

/// All jobs run once, at the same time, for all tests.
fn reports() -> &'static [Report] {
    static REPORTS: OnceLock<Vec<Report>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        // One thread: between being numbered and being called, no request loses its place.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let nginx = Nginx::start(RATE, &CASES);
        println!(
            "{REQUESTS} requests, {WORKERS} workers, {RATE} requests a second: {IDEAL:?} at best"
        );
        println!("{}", Report::HEADING);
        runtime.unwrap().block_on(job::run_all(&nginx))
    })
}

const REQUESTS: usize = 600;
const WORKERS: usize = 100;
const RATE: u32 = 20;
const IDEAL: Duration = Duration::from_secs(REQUESTS as u64 / RATE as u64);

/// So many later requests may be accepted before an earlier one: those in flight when it is refused, for it
/// comes back after them.
const MAY_OVERTAKE: usize = 16;
