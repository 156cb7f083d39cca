//! The clients that are compared.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use tower_outbound::rate_limit_retry::RateLimitRetryLayer;

use self::with_tower::Hints;
use crate::model::{
    figures::Figures,
    run::{Job, run},
    scenario::Scenario,
    server::Server,
};

mod with_reqwest;
mod with_resilience;
mod with_toolkit;
mod with_tower;

/// A client, to be put in front of a server.
pub struct Peer {
    pub name: &'static str,
    pub package: &'static str,
    pub settings: &'static str,
    make: Box<dyn Fn(Server) -> Boxed>,
}

type Boxed = BoxCloneService<Request<Bytes>, Response<()>, BoxError>;

/// All of them, in the order of the table. Each is there with few retries, as its documentation has it, and with
/// many: "one could just raise the number".
pub fn all() -> Vec<Peer> {
    vec![
        Peer::new(
            "tower, 4",
            "tower",
            "`Retry`, 4 attempts, `ExponentialBackoffMaker` from 1 s to 20 s",
            |server| with_tower::retry(server, 3, Hints::Ignored),
        ),
        Peer::new(
            "tower, hint, 4",
            "tower",
            "`Retry`, 4 attempts, waits for `Retry-After`, or else as above",
            |server| with_tower::retry(server, 3, Hints::Honoured),
        ),
        Peer::new(
            "tower, hint, 11",
            "tower",
            "as before, 11 attempts",
            |server| with_tower::retry(server, 10, Hints::Honoured),
        ),
        Peer::new(
            "reqwest-retry, 4",
            "reqwest-retry",
            "3 retries, its default backoff",
            |server| with_reqwest::retry(server, 3),
        ),
        Peer::new(
            "reqwest-retry, 11",
            "reqwest-retry",
            "as before, 10 retries",
            |server| with_reqwest::retry(server, 10),
        ),
        Peer::new(
            "toolkit, 4",
            "cf-gears-toolkit-http",
            "`RetryLayer`, all its defaults",
            with_toolkit::defaults,
        ),
        Peer::new(
            "toolkit, 11",
            "cf-gears-toolkit-http",
            "10 retries, backoff from 1 s to 60 s, so that hints up to 60 s are honoured",
            with_toolkit::patient,
        ),
        Peer::new(
            "resilience, 4",
            "tower-resilience-retry",
            "4 attempts, exponential backoff from 1 s to 20 s ±50 %",
            |server| with_resilience::retry(server, 4),
        ),
        Peer::new(
            "resilience, 11",
            "tower-resilience-retry",
            "as before, 11 attempts",
            |server| with_resilience::retry(server, 11),
        ),
        Peer::new(
            "this crate",
            "tower-outbound",
            "`RateLimitRetryLayer::new()`",
            |server| RateLimitRetryLayer::new().layer(server),
        ),
    ]
}

impl Peer {
    fn new<S, R>(
        name: &'static str,
        package: &'static str,
        settings: &'static str,
        make: impl Fn(Server) -> S + 'static,
    ) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        let make = move |server| {
            let service = make(server).map_response(|response| response.map(drop));
            BoxCloneService::new(service.map_err(Into::into))
        };
        Self {
            name,
            package,
            settings,
            make: Box::new(make),
        }
    }

    /// # Errors
    /// There is no runtime to be had.
    pub fn run(&self, scenario: &Scenario, job: Job, seed: u64) -> io::Result<Figures> {
        run(scenario, job, seed, |server| (self.make)(server))
    }
}

/// The numbers of the AWS clients for throttling, for those that have none of their own.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);
