//! The clients that are compared: models of what users have today, and this crate's layer.

use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use tower_outbound::rate_limit_retry::{Pacer, RateLimitRetryLayer};

pub use self::policy::full_jitter;
use self::{
    adaptive::Adaptive,
    policy::{Policy, Retrying},
};
use crate::model::{
    figures::Figures,
    run::{Job, run},
    scenario::Scenario,
    server::Server,
};

mod adaptive;
mod policy;

/// A client, to be put in front of a server.
pub struct Client {
    pub name: &'static str,
    /// Whether it is a variant of this crate's layer.
    pub is_ours: bool,
    /// With how many workers it is run, unless that is asked for.
    pub most_workers: usize,
    make: Box<dyn Fn(Server) -> BoxedClient + Send + Sync>,
}

pub type BoxedClient = BoxCloneService<Request<Bytes>, Response<Empty<Bytes>>, BoxError>;

/// All of them, in the order of the tables.
pub fn all() -> Vec<Client> {
    let policy = |policy| move |server| Retrying::new(server, policy);
    vec![
        Client::model("no retry", |server| server),
        Client::model("full jitter, 4", policy(Policy::Jitter { attempts: 4 })),
        Client::model("Retry-After, 4", policy(Policy::RetryAfter { attempts: 4 })),
        Client::model(
            "Retry-After, 11",
            policy(Policy::RetryAfter { attempts: 11 }),
        ),
        // Ten thousand that loop are refused a thousand times per success, which takes minutes to count.
        Client::model("wait and loop", policy(Policy::WaitAndLoop)).up_to(1000),
        Client::model("AWS adaptive", Adaptive::new),
        // A variant of the layer is one line.
        Client::ours("this crate", RateLimitRetryLayer::new),
        Client::ours("this crate, gentle", || {
            RateLimitRetryLayer::new().pacer(Pacer::new().gentle_start(8))
        }),
    ]
}

impl Client {
    fn model<S>(name: &'static str, make: impl Fn(Server) -> S + Send + Sync + 'static) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<Empty<Bytes>>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        Self {
            name,
            is_ours: false,
            most_workers: usize::MAX,
            make: Box::new(move |server| BoxCloneService::new(make(server).map_err(Into::into))),
        }
    }

    fn ours(
        name: &'static str,
        layer: impl Fn() -> RateLimitRetryLayer + Send + Sync + 'static,
    ) -> Self {
        Self {
            is_ours: true,
            ..Self::model(name, move |server| layer().layer(server))
        }
    }

    fn up_to(self, most_workers: usize) -> Self {
        Self {
            most_workers,
            ..self
        }
    }

    /// A client of its own for one process.
    pub fn make(&self, server: Server) -> BoxedClient {
        (self.make)(server)
    }

    /// # Errors
    /// There is no runtime to be had.
    pub fn run(&self, scenario: &Scenario, job: Job, seed: u64) -> io::Result<Figures> {
        run(scenario, job, seed, |server| self.make(server))
    }
}
