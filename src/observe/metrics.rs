//! Counters and histograms of events, by way of the `metrics` crate.

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::uri::Authority;
use metrics::{
    Label, SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use super::{Event, Observer};
use crate::{
    mark::LimitKey,
    outcome::Stopped,
    rate_limit_retry::{Pacer, Reason, budget::RetryBudget},
    token::{Cause, TokenError, TokenErrorKind},
};

/// An [`Observer`] that counts, with the [`metrics`] crate: for Prometheus, StatsD, and whatever
/// else that has exporters for.
///
/// ```
/// use std::sync::Arc;
/// use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
/// use tower_outbound::{
///     observe::Metrics,
///     rate_limit_retry::{Pacer, RateLimitRetryLayer, budget::RetryBudget},
///     token::{Grant, TokenCache, source_fn},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// // The recorder comes first: what is counted before is lost. With buckets histograms do not grow,
/// // and those of several processes can be added up.
/// let prometheus = PrometheusBuilder::new()
///     .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.01, 0.1, 1.0, 10.0, 100.0])?
///     .install_recorder()?;
///
/// let metrics = Metrics::new("genesys");
/// let tokens = TokenCache::builder()
///     .observer(metrics.clone())
///     .build(source_fn(|_cause| async { Ok(Grant::new("a token")) }));
/// let (pacer, budget) = (Arc::new(Pacer::new()), RetryBudget::new());
/// let layer = RateLimitRetryLayer::new()
///     .pacer(Arc::clone(&pacer))
///     .budget(budget.clone())
///     .observer(metrics.clone());
/// # drop(layer);
///
/// tokens.token().await?;
/// // In the handler of `/metrics`:
/// metrics.sample_pacer(&pacer);
/// metrics.sample_budget(&budget);
/// let page = prometheus.render();
/// assert!(page.contains("tower_outbound_renewals_total"));
/// # Ok(())
/// # }
/// ```
///
/// # What is counted
///
/// All have the label `client`, which is the name given here. Times are in seconds.
///
/// | name | kind | labels | what |
/// |---|---|---|---|
/// | `tower_outbound_renewals_total` | counter | `cause`, `outcome` | renewals that ended |
/// | `tower_outbound_renewal_seconds` | histogram | `outcome` | how long they took |
/// | `tower_outbound_token_lifetime_left_seconds` | histogram | `cause` | how long the token that is to be replaced could still be used |
/// | `tower_outbound_logins_ended_total` | counter | | times that somebody had to log in again |
/// | `tower_outbound_store_failures_total` | counter | | tokens that could not be stored |
/// | `tower_outbound_tokens_left_out_total` | counter | `authority` | requests to where the token may not go |
/// | `tower_outbound_token_refusals_total` | counter | `authority` | tokens that a server refused |
/// | `tower_outbound_token_replays_total` | counter | `authority` | requests sent again with a token |
/// | `tower_outbound_token_not_replayed_total` | counter | `authority`, `reason` | requests whose token was refused, and that were not |
/// | `tower_outbound_refusals_total` | counter | `limit_key`, `hint` | refusals by a limit, with a hint or without |
/// | `tower_outbound_overloads_total` | counter | `limit_key` | servers that said for how long they are down |
/// | `tower_outbound_paced_seconds` | histogram | `limit_key` | how long requests waited for their turn |
/// | `tower_outbound_turned_away_total` | counter | `limit_key`, `reason` | requests that were not sent because of a limit |
/// | `tower_outbound_retries_total` | counter | `limit_key` | requests sent again after a refusal or a failure |
/// | `tower_outbound_backoff_seconds` | histogram | `limit_key` | how long they waited before, if not for their turn |
/// | `tower_outbound_not_retried_total` | counter | `limit_key`, `reason` | requests that failed, and were not sent again |
/// | `tower_outbound_queue_length` | gauge | `limit_key` | requests that wait for their turn, when [sampled](Self::sample_pacer) |
/// | `tower_outbound_under_way` | gauge | `limit_key` | requests that were sent and not answered, likewise |
/// | `tower_outbound_closed_seconds` | gauge | `limit_key` | how long nothing is sent, likewise |
/// | `tower_outbound_retry_budget_left` | gauge | | retries that would be granted, when [sampled](Self::sample_budget) |
///
/// # Cardinality
///
/// The values of `limit_key` and `authority` come from requests, and with tenants there may be
/// thousands. The first hundred of each have a series of their own, or as many as
/// [`max_values`](Self::max_values) says; the others share the value `other`. All other labels have
/// a handful of values.
///
/// Clones count together.
#[derive(Clone)]
pub struct Metrics {
    client: Arc<str>,
    max_values: usize,
    known: Arc<Mutex<Known>>,
}

/// The values of labels that have a series of their own.
#[derive(Default)]
struct Known {
    limit_keys: HashSet<Arc<str>>,
    authorities: HashSet<Arc<str>>,
    /// The limits whose gauges are set.
    sampled: HashSet<Arc<str>>,
}

impl Metrics {
    /// Counts under this name: of the vendor, say, or of the job.
    ///
    /// The recorder is told here what the metrics mean, so install it before.
    pub fn new(client: impl Into<Arc<str>>) -> Self {
        describe();
        Self {
            client: client.into(),
            max_values: MAX_VALUES,
            known: Arc::default(),
        }
    }

    /// So many limit keys have series of their own, and so many authorities: 100 by default, which is
    /// more than the servers that a program calls, and nothing that a Prometheus feels.
    #[must_use]
    pub fn max_values(mut self, values: usize) -> Self {
        self.max_values = values;
        self
    }

    /// Sets the gauges of limits to what they are now. To be called before the metrics are read.
    pub fn sample_pacer(&self, pacer: &Pacer) {
        // Those that share a value are one.
        let mut sums = HashMap::<Arc<str>, [f64; 3]>::new();
        for limit in pacer.snapshot() {
            let [waiting, under_way, closed] = sums.entry(self.limit_key(&limit.key)).or_default();
            *waiting += limit.waiting as f64;
            *under_way += f64::from(limit.under_way);
            *closed = closed.max(limit.closed_for.unwrap_or_default().as_secs_f64());
        }
        let sampled = sums.keys().cloned().collect();
        for gone in mem::replace(&mut self.known().sampled, sampled) {
            sums.entry(gone).or_default();
        }
        for (key, [waiting, under_way, closed]) in sums {
            let labels = self.labels([("limit_key", key)]);
            gauge!(QUEUE_LENGTH, labels.clone()).set(waiting);
            gauge!(UNDER_WAY, labels.clone()).set(under_way);
            gauge!(CLOSED, labels).set(closed);
        }
    }

    /// Sets the gauge of the budget to what is left of it now. To be called before the metrics are
    /// read.
    pub fn sample_budget(&self, budget: &RetryBudget) {
        gauge!(RETRY_BUDGET_LEFT, self.labels([])).set(budget.left() as f64);
    }

    fn limit_key(&self, key: &LimitKey) -> Arc<str> {
        self.bounded(|known| &mut known.limit_keys, key.as_str())
    }

    fn authority(&self, authority: Option<&Authority>) -> Arc<str> {
        let authority = authority.map_or("", Authority::as_str);
        self.bounded(|known| &mut known.authorities, authority)
    }

    /// The value itself while there are few, [`OTHER`] beyond.
    fn bounded(&self, of: impl Fn(&mut Known) -> &mut HashSet<Arc<str>>, value: &str) -> Arc<str> {
        let mut known = self.known();
        let values = of(&mut known);
        if let Some(known) = values.get(value) {
            return Arc::clone(known);
        }
        if values.len() >= self.max_values {
            return OTHER.into();
        }
        let value = Arc::<str>::from(value);
        values.insert(Arc::clone(&value));
        value
    }

    fn labels<const N: usize>(&self, labels: [(&'static str, Arc<str>); N]) -> Vec<Label> {
        let client = ("client", Arc::clone(&self.client));
        let labels = [client].into_iter().chain(labels);
        let label = |(name, value)| Label::new(name, SharedString::from_shared(value));
        labels.map(label).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Metrics {
    fn event(&self, event: &Event<'_>) {
        let authority = |authority| ("authority", self.authority(authority));
        let limit_key = |key| ("limit_key", self.limit_key(key));
        let count = |name, labels| counter!(name, labels).increment(1);
        match event {
            Event::Renewing { cause, left, .. } => {
                // Without an end that is known there is nothing to tell of it.
                if let Some(left) = left {
                    let labels = self.labels([("cause", cause.name().into())]);
                    histogram!(LIFETIME_LEFT, labels).record(*left);
                }
            }
            Event::Renewed { cause, took, .. } => self.renewal(cause, "renewed", *took),
            Event::RenewalFailed { cause, error, took } => {
                self.renewal(cause, failure(error), *took);
            }
            Event::LoginEnded { .. } => count(LOGINS_ENDED, self.labels([])),
            Event::StoreFailed { .. } => count(STORE_FAILURES, self.labels([])),
            Event::TokenLeftOut { authority: to } => {
                count(TOKENS_LEFT_OUT, self.labels([authority(*to)]));
            }
            Event::TokenRefused { authority: by, .. } => {
                count(TOKEN_REFUSALS, self.labels([authority(*by)]));
            }
            Event::TokenReplay { authority: to, .. } => {
                count(TOKEN_REPLAYS, self.labels([authority(*to)]));
            }
            Event::TokenNotReplayed {
                authority: to,
                reason,
            } => {
                let labels = self.labels([authority(*to), ("reason", stopped(*reason).into())]);
                count(TOKEN_NOT_REPLAYED, labels);
            }
            Event::Refused { key, retry_after } => {
                let hint = if retry_after.is_some() { "yes" } else { "no" };
                count(
                    REFUSALS,
                    self.labels([limit_key(key), ("hint", hint.into())]),
                );
            }
            Event::Overloaded { key, .. } => count(OVERLOADS, self.labels([limit_key(key)])),
            // The queue's length is sampled.
            Event::Held { .. } => {}
            Event::Released { key, waited } => {
                histogram!(PACED, self.labels([limit_key(key)])).record(*waited);
            }
            Event::TurnedAway { error } => {
                let reason = ("reason", turned_away(error.reason()).into());
                count(TURNED_AWAY, self.labels([limit_key(error.key()), reason]));
            }
            Event::Retrying { key, pause, .. } => {
                let labels = self.labels([limit_key(key)]);
                if let Some(pause) = pause {
                    histogram!(BACKOFF, labels.clone()).record(*pause);
                }
                count(RETRIES, labels);
            }
            Event::NotRetried { key, reason } => {
                let reason = ("reason", stopped(*reason).into());
                count(NOT_RETRIED, self.labels([limit_key(key), reason]));
            }
        }
    }
}

impl Metrics {
    fn renewal(&self, cause: &Cause, outcome: &'static str, took: Duration) {
        let outcome = ("outcome", Arc::<str>::from(outcome));
        histogram!(RENEWAL, self.labels([outcome.clone()])).record(took);
        let cause = ("cause", cause.name().into());
        counter!(RENEWALS, self.labels([cause, outcome])).increment(1);
    }
}

fn failure(error: &TokenError) -> &'static str {
    match error.kind() {
        _ if error.is_login_required() => "login_required",
        TokenErrorKind::Transient => "transient",
        TokenErrorKind::Throttled => "throttled",
        TokenErrorKind::Rejected => "rejected",
    }
}

fn turned_away(reason: Reason) -> &'static str {
    match reason {
        Reason::Deadline => "deadline",
        Reason::Spent => "spent",
        Reason::QueueFull => "queue_full",
    }
}

fn stopped(reason: Stopped) -> &'static str {
    match reason {
        Stopped::NotReplaySafe => "not_replay_safe",
        Stopped::BodyNotReplayable => "body_not_replayable",
        Stopped::MarkedNoRetry => "marked_no_retry",
        Stopped::MaxRetries => "max_retries",
        Stopped::MaxRefusals => "max_refusals",
        Stopped::Budget => "budget",
        Stopped::MaxWait { .. } => "max_wait",
        Stopped::Deadline => "deadline",
        Stopped::RenewalFailed => "renewal_failed",
        Stopped::RefusedAgain => "refused_again",
        Stopped::RenewalWithheld => "renewal_withheld",
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("client", &self.client)
            .field("max_values", &self.max_values)
            .finish_non_exhaustive()
    }
}

/// Tells the recorder what each means.
fn describe() {
    for (name, what) in [
        (RENEWALS, "Renewals that ended"),
        (LOGINS_ENDED, "Times that somebody had to log in again"),
        (STORE_FAILURES, "Tokens that could not be stored"),
        (TOKENS_LEFT_OUT, "Requests to where the token may not go"),
        (TOKEN_REFUSALS, "Tokens that a server refused"),
        (TOKEN_REPLAYS, "Requests sent again with a token"),
        (
            TOKEN_NOT_REPLAYED,
            "Requests whose token was refused, and that were not sent again",
        ),
        (REFUSALS, "Refusals by a limit"),
        (OVERLOADS, "Servers that said for how long they are down"),
        (
            TURNED_AWAY,
            "Requests that were not sent because of a limit",
        ),
        (RETRIES, "Requests sent again after a refusal or a failure"),
        (NOT_RETRIED, "Requests that failed, and were not sent again"),
    ] {
        describe_counter!(name, what);
    }
    for (name, what) in [
        (RENEWAL, "How long renewals took"),
        (
            LIFETIME_LEFT,
            "How long the token that is to be replaced could still be used",
        ),
        (PACED, "How long requests waited for their turn"),
        (
            BACKOFF,
            "How long requests waited before they were sent again, if not for their turn",
        ),
    ] {
        describe_histogram!(name, what);
    }
    for (name, what) in [
        (QUEUE_LENGTH, "Requests that wait for their turn"),
        (UNDER_WAY, "Requests that were sent and not answered"),
        (CLOSED, "How long nothing is sent"),
        (RETRY_BUDGET_LEFT, "Retries that would be granted"),
    ] {
        describe_gauge!(name, what);
    }
}

const RENEWALS: &str = "tower_outbound_renewals_total";
const RENEWAL: &str = "tower_outbound_renewal_seconds";
const LIFETIME_LEFT: &str = "tower_outbound_token_lifetime_left_seconds";
const LOGINS_ENDED: &str = "tower_outbound_logins_ended_total";
const STORE_FAILURES: &str = "tower_outbound_store_failures_total";
const TOKENS_LEFT_OUT: &str = "tower_outbound_tokens_left_out_total";
const TOKEN_REFUSALS: &str = "tower_outbound_token_refusals_total";
const TOKEN_REPLAYS: &str = "tower_outbound_token_replays_total";
const TOKEN_NOT_REPLAYED: &str = "tower_outbound_token_not_replayed_total";
const REFUSALS: &str = "tower_outbound_refusals_total";
const OVERLOADS: &str = "tower_outbound_overloads_total";
const PACED: &str = "tower_outbound_paced_seconds";
const TURNED_AWAY: &str = "tower_outbound_turned_away_total";
const RETRIES: &str = "tower_outbound_retries_total";
const BACKOFF: &str = "tower_outbound_backoff_seconds";
const NOT_RETRIED: &str = "tower_outbound_not_retried_total";
const QUEUE_LENGTH: &str = "tower_outbound_queue_length";
const UNDER_WAY: &str = "tower_outbound_under_way";
const CLOSED: &str = "tower_outbound_closed_seconds";
const RETRY_BUDGET_LEFT: &str = "tower_outbound_retry_budget_left";

/// Enough for the servers that a program calls; a Prometheus does not feel it.
const MAX_VALUES: usize = 100;

/// The value that those beyond the bound share.
const OTHER: &str = "other";
