use std::{fmt, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use tower::{Layer, retry::budget::Budget};

use super::{
    RateLimitRetry,
    attempts::Limits,
    budget::RetryBudget,
    classify::{Classify, Standard},
    idempotency::{IdempotencyKeys, KeyMaker},
    pacer::Pacer,
};
use crate::{
    backoff::Backoff,
    mark::{LimitKey, RequestHead, Tenant},
    observe::{Observer, Observers},
    origin::Origin,
};

/// Waits and sends again what was refused, held back or lost.
///
/// See the [module](super). The layer *is* the shared state: every service that one layer value, or a
/// clone of it, makes shares what is known of limits, their queues, and one budget.
#[derive(Clone, Debug)]
pub struct RateLimitRetryLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) classify: Arc<dyn Classify>,
    pub(crate) budget: Arc<dyn Budget + Send + Sync>,
    pub(crate) retry_unsafe_on: Vec<StatusCode>,
    pub(crate) idempotency_keys: Option<Arc<KeyMaker>>,
    pub(crate) key: Option<Arc<ChooseKey>>,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) observers: Observers,
}

type ChooseKey = dyn Fn(&RequestHead<'_>) -> LimitKey + Send + Sync;

impl Default for RateLimitRetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl RateLimitRetryLayer {
    /// A layer with the default settings, and a state of its own.
    pub fn new() -> Self {
        let limits = Limits {
            max_retries: MAX_RETRIES,
            max_refusals: MAX_REFUSALS,
            max_wait: MAX_WAIT,
            backoff: BACKOFF,
            refused_backoff: REFUSED_BACKOFF,
        };
        let settings = Settings {
            limits,
            classify: Arc::new(Standard::new()),
            budget: Arc::new(RetryBudget::new()),
            retry_unsafe_on: Vec::new(),
            key: None,
            idempotency_keys: None,
            pacer: Arc::new(Pacer::new()),
            observers: Observers::default(),
        };
        Self {
            settings: Arc::new(settings),
        }
    }

    /// How often a request is sent again because it failed, on top of the first time: 3 by default,
    /// the usual number of the clouds' own clients. Refusals do not count.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.edit().limits.max_retries = max_retries;
        self
    }

    /// How often a request is sent again because a limit refused it: 16 by default. Each is a wait of
    /// the length that the server asked for, so a request that meets with more is not merely
    /// unlucky.
    pub fn max_refusals(mut self, max_refusals: u32) -> Self {
        self.edit().limits.max_refusals = max_refusals;
        self
    }

    /// The longest pause that is honoured: 180 s by default, as in the official Genesys Cloud clients; a daily
    /// quota asks for hours. A response that asks for more is returned at once.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.edit().limits.max_wait = max_wait;
        self
    }

    /// The waits between failures: by default from 200 ms to 20 s with full jitter. It outlasts a
    /// restart behind a load balancer; 20 s is the cap of the AWS clients.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.edit().limits.backoff = backoff;
        self
    }

    /// The waits after refusals that come without a hint: by default from 1 s to 20 s with full jitter,
    /// the base that the AWS clients take for throttling. Never below 100 ms, whatever is set. They hold
    /// while nothing is known of the limit; later the wait is the time that it takes for one request.
    pub fn refused_backoff(mut self, backoff: Backoff) -> Self {
        self.edit().limits.refused_backoff = backoff.at_least(LEAST_REFUSED_WAIT);
        self
    }

    /// Which answers are failures and refusals: [`Standard`] by default.
    pub fn classify(mut self, classify: impl Classify) -> Self {
        self.edit().classify = Arc::new(classify);
        self
    }

    /// The share of requests that may be retries after failures: [`RetryBudget`] with 20 % of
    /// the traffic and 10 a second by default. Refusals, and what was never sent, cost nothing.
    pub fn budget(mut self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.edit().budget = Arc::new(budget);
        self
    }

    /// Replays even requests that are not replay-safe when this status comes back. For servers that
    /// promise that they did nothing: 503 at some vendors. No status by default.
    pub fn retry_unsafe_on(mut self, status: StatusCode) -> Self {
        self.edit().retry_unsafe_on.push(status);
        self
    }

    /// Gives every `POST` and `PATCH` that has none an `Idempotency-Key`, the same on every replay
    /// ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
    /// With such a key they are sent again where a `PUT` is.
    ///
    /// Only for servers whose documentation says that they know these keys: another one runs the request
    /// twice. Off by default.
    ///
    /// A new call of the service is a new request, with a new key. Who tries again above this layer sets
    /// the header himself.
    pub fn idempotency_keys(mut self, form: IdempotencyKeys) -> Self {
        self.edit().idempotency_keys = Some(Arc::new(KeyMaker::new(form)));
        self
    }

    /// Which requests share one limit. By default those to one origin, for one
    /// [`Tenant`]; a [`LimitKey`] mark on the request goes first.
    ///
    /// ```
    /// use tower_outbound::{mark::LimitKey, rate_limit_retry::RateLimitRetryLayer};
    ///
    /// // A server with one limit for searches and another for the rest.
    /// let layer = RateLimitRetryLayer::new().limit_key(|request| {
    ///     LimitKey::new(if request.uri.path().starts_with("/search") { "search" } else { "core" })
    /// });
    /// ```
    pub fn limit_key(
        mut self,
        key: impl Fn(&RequestHead<'_>) -> LimitKey + Send + Sync + 'static,
    ) -> Self {
        self.edit().key = Some(Arc::new(key));
        self
    }

    /// Holds requests back so that they are not refused: [`Pacer::new`] by default, which learns the
    /// limits as they show themselves.
    ///
    /// Taken as `Arc<Pacer>`, it can be looked at later, and shared by layers that call one server.
    pub fn pacer(mut self, pacer: impl Into<Arc<Pacer>>) -> Self {
        self.edit().pacer = pacer.into();
        self
    }

    /// Tells this one what the layer does and decides. Can be repeated.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.edit().observers.add(observer);
        self
    }

    fn edit(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl<S> Layer<S> for RateLimitRetryLayer {
    type Service = RateLimitRetry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitRetry::new(inner, Arc::clone(&self.settings))
    }
}

impl Settings {
    /// The key under which this request is limited.
    pub(crate) fn key_of<B>(&self, request: &Request<B>) -> LimitKey {
        let extensions = request.extensions();
        if let Some(key) = extensions.get::<LimitKey>() {
            return key.clone();
        }
        if let Some(choose) = &self.key {
            return choose(&RequestHead::of(request));
        }
        let origin = Origin::of(request.uri());
        let origin = origin.map_or_else(|| NO_ORIGIN.to_owned(), |origin| origin.to_string());
        match extensions.get::<Tenant>() {
            // A space cannot stand in an origin, so no two pairs make one key.
            Some(tenant) => LimitKey::new(format!("{origin} {}", tenant.as_str())),
            None => LimitKey::new(origin),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limits", &self.limits)
            .field("retry_unsafe_on", &self.retry_unsafe_on)
            .field("pacer", &self.pacer)
            .finish_non_exhaustive()
    }
}

/// The usual number of the clouds' own clients.
const MAX_RETRIES: u32 = 3;

/// More refusals than this are not bad luck: each is a wait of the length that the server named.
const MAX_REFUSALS: u32 = 16;

/// The official Genesys Cloud clients wait no longer.
const MAX_WAIT: Duration = Duration::from_secs(180);

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));

const REFUSED_BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(20)).at_least(LEAST_REFUSED_WAIT);

/// A refused request that comes back at once is refused at once.
const LEAST_REFUSED_WAIT: Duration = Duration::from_millis(100);

const NO_ORIGIN: &str = "(no origin)";
