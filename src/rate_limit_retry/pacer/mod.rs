use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use self::{
    gate::Gate,
    limits::{Learning, Limits},
};
use super::error::RateLimited;
use crate::{
    header::{RateLimit, RateLimitPolicy},
    mark::LimitKey,
    time,
};

mod buckets;
mod concurrency;
mod gate;
mod history;
mod learned;
mod limits;
mod permit;
mod queue;
mod quota;
mod ramp;
mod recent;
mod second;
mod told;
mod waiting;

pub(super) use self::learned::Pause;
pub use self::quota::Quota;
pub(super) use self::{
    gate::{Ask, Comeback, Entry},
    permit::Permit,
    queue::Place,
    waiting::Waiting,
};

/// Holds back the requests that would be refused, and lets them go in the order of their arrival.
///
/// Every [`RateLimitRetryLayer`](super::RateLimitRetryLayer) has one. To choose its options, or to
/// look at it later, make one and keep a handle:
///
/// ```
/// use std::sync::Arc;
/// use tower_outbound::rate_limit_retry::{Pacer, RateLimitRetryLayer};
///
/// let pacer = Arc::new(Pacer::new().gentle_start(8));
/// let layer = RateLimitRetryLayer::new().pacer(Arc::clone(&pacer));
/// // At three in the morning:
/// for limit in pacer.snapshot() {
///     println!("{limit}");
/// }
/// # let _ = layer;
/// ```
///
/// # What it does
///
/// Each limit key (see [`limit_key`](super::RateLimitRetryLayer::limit_key)) has limits and a queue of
/// its own. Nothing is held back before a limit shows itself by a refusal or a `RateLimit` field; until
/// then a request costs one atomic load. From then on the pacer
///
/// - sends nothing before the time that the server named; from the fourth refusal in a row on, twice as
///   late each time, up to 20 s, since it names times that are too early;
/// - opens in the order of arrival, those first that come back after a refusal or a failure; but who is
///   refused more than three times goes behind the others, so that a request which is refused whatever the
///   pace does not stand in their way, and so does who fails twice, so that not the same one asks again and
///   again whether the server is back;
/// - learns the rate and the burst by what was let through between two refusals, sends at that pace and
///   slowly ever faster, so that a quota that has grown is found and a refusal is rare; where refusals come
///   as if by chance, others use the limit, too, and a small share is soon asked for more;
/// - tells a limit of so many requests in each second by their number, and sends them evenly, since it saves
///   nothing up;
/// - takes a limit that is closed for long for a window: it sends what that held at once when it opens, and
///   one request more after a quarter of the pause. Where that is let through it is a bucket, whose server
///   names the same time at every refusal;
/// - or learns how many may be under way at the same time, where refusals show that the limit is on
///   that, and tries one more the more rarely, the longer a refusal closes the limit;
/// - sends no more than a `RateLimit` field says is left; where that is refused all the same, since others
///   use the quota too, what it learns holds as well; a quota of a second or two that refuses when nobody
///   else need have used it is a window, and is used evenly whatever is said to be left;
/// - tells callers at once, and locally, when a pause is longer than
///   [`max_wait`](super::RateLimitRetryLayer::max_wait): a daily quota is spent;
/// - forgets a limit that has not shown itself for ten minutes.
///
/// Waiting here is no attempt. A waiting request holds no permit, no connection and no lock.
///
/// # Cancellation
///
/// A dropped request gives its place to the next. A request that waits must be polled, as with tokio's
/// locks: the first in a queue is the one that looks at the clock for all.
pub struct Pacer {
    rules: Rules,
    /// How many keys there are; written under their lock.
    count: AtomicUsize,
    gates: Mutex<Gates>,
}

#[derive(Default)]
struct Gates {
    by_key: HashMap<LimitKey, Arc<Gate>>,
    /// When those that are forgotten were dropped.
    swept: Option<Instant>,
}

struct Rules {
    mode: Mode,
    gentle_start: Option<u32>,
    quotas: Vec<Quota>,
    quotas_by_key: Option<Box<QuotasByKey>>,
    most_under_way: Option<u32>,
    most_waiting: usize,
}

type QuotasByKey = dyn Fn(&LimitKey) -> Vec<Quota> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    GivenOnly,
    Learning,
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new()
    }
}

impl Pacer {
    /// A pacer that learns the limits as they show themselves, and knows none at first.
    pub fn new() -> Self {
        Self::with_mode(Mode::Learning)
    }

    /// None: each request waits for itself, with jitter, and the others do not learn of it.
    pub fn off() -> Self {
        Self::with_mode(Mode::Off)
    }

    fn with_mode(mode: Mode) -> Self {
        Self {
            rules: Rules {
                mode,
                gentle_start: None,
                quotas: Vec::new(),
                quotas_by_key: None,
                most_under_way: None,
                most_waiting: usize::MAX,
            },
            count: AtomicUsize::new(0),
            gates: Mutex::default(),
        }
    }

    /// Learns no limit: only those given here hold, and the pauses that a server asks for. For
    /// limits that are known to the last request.
    #[must_use]
    pub fn without_learning(mut self) -> Self {
        if self.rules.mode == Mode::Learning {
            self.rules.mode = Mode::GivenOnly;
        }
        self
    }

    /// A limit that every key has, from the first request on. Several hold at once. None by default.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.rules.quotas.push(quota);
        self
    }

    /// The limits of each key, beside those that all have. The closure is asked when a key is
    /// met, and again when it has been forgotten since.
    ///
    /// ```
    /// use tower_outbound::rate_limit_retry::{Pacer, Quota};
    ///
    /// let pacer = Pacer::new().quotas_by_key(|key| match key.as_str() {
    ///     "search" => vec![Quota::per_minute(30)],
    ///     _ => vec![Quota::per_second(10), Quota::per_hour(5000)],
    /// });
    /// ```
    #[must_use]
    pub fn quotas_by_key(
        mut self,
        quotas: impl Fn(&LimitKey) -> Vec<Quota> + Send + Sync + 'static,
    ) -> Self {
        self.rules.quotas_by_key = Some(Box::new(quotas));
        self
    }

    /// So many requests of one key under way at the same time, at most; none is read as one. No bound
    /// by default.
    ///
    /// A request counts from its turn until the head of its response, or its error, has come.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.rules.most_under_way = Some(requests.max(1));
        self
    }

    /// Starts each key with so many requests at a time, and one more for each that is let through.
    ///
    /// For bulk jobs: what is under way when the quota ends is refused. By default there is no ramp,
    /// since long polls must not queue behind each other. Without learning there is none either.
    #[must_use]
    pub fn gentle_start(mut self, requests: u32) -> Self {
        self.rules.gentle_start = Some(requests.max(1));
        self
    }

    /// So many requests of one key may wait, at most; who comes then gets
    /// [`RateLimited`] at once. No bound by default: a job has as many requests as it has.
    #[must_use]
    pub fn max_queue(mut self, requests: usize) -> Self {
        self.rules.most_waiting = requests;
        self
    }

    /// What is known of each limit now, in the order of the keys' names.
    pub fn snapshot(&self) -> Vec<LimitSnapshot> {
        let now = time::now();
        let gates: Vec<_> = self.gates().by_key.values().cloned().collect();
        let mut limits: Vec<_> = gates.iter().map(|gate| gate.snapshot(now)).collect();
        limits.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
        limits
    }

    /// Whether the pacer does anything.
    pub(super) fn is_off(&self) -> bool {
        self.rules.mode == Mode::Off
    }

    /// Whether no request needs to ask: nothing is known of any limit.
    pub(super) fn is_open(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0 && !self.rules.hold_from_the_first_request()
    }

    /// Asks for a turn; at its old place, if the request has failed since it had one.
    pub(super) fn enter(
        &self,
        key: &LimitKey,
        place: Option<Place>,
        ask: Ask<'_>,
        now: Instant,
    ) -> Result<Entry, RateLimited> {
        if self.is_off() {
            return Ok(Entry::Go(None));
        }
        let gate = match self.known(key, now) {
            Some(gate) => gate,
            None if self.rules.hold_from_the_first_request() => self.gate(key, now),
            None => return Ok(Entry::Go(None)),
        };
        gate.enter(place, ask, self.rules.most_waiting, now)
    }

    /// Asks for a turn again, for a request that was refused.
    pub(super) fn enter_again(
        &self,
        key: &LimitKey,
        comeback: Comeback,
        ask: Ask<'_>,
        now: Instant,
    ) -> Result<Box<Waiting>, RateLimited> {
        self.gate(key, now).enter_again(comeback, ask, now)
    }

    /// A request without a permit was refused.
    pub(super) fn refused_unseen(&self, key: &LimitKey, pause: Pause, now: Instant) {
        if !self.is_off() {
            self.gate(key, now).refused_unseen(pause, now);
        }
    }

    /// The server asks for a pause longer than anyone waits.
    pub(super) fn spent(
        &self,
        key: &LimitKey,
        pause: Duration,
        longest_wait: Duration,
        now: Instant,
    ) {
        if !self.is_off() {
            self.gate(key, now).spent(pause, longest_wait, now);
        }
    }

    /// The answer to a request without a permit says how much is left: from now on requests with this
    /// key ask first.
    pub(super) fn told_unseen(
        &self,
        key: &LimitKey,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
        now: Instant,
    ) {
        if self.rules.mode == Mode::Learning {
            self.gate(key, now).told_unseen(limits, policies, now);
        }
    }

    fn known(&self, key: &LimitKey, now: Instant) -> Option<Arc<Gate>> {
        let mut gates = self.gates();
        if gates.swept.is_none_or(|swept| swept + SWEEPING < now) {
            gates.swept = Some(now);
            gates.by_key.retain(|_, gate| !gate.is_forgotten(now));
            self.count.store(gates.by_key.len(), Ordering::Release);
        }
        gates.by_key.get(key).map(Arc::clone)
    }

    fn gate(&self, key: &LimitKey, now: Instant) -> Arc<Gate> {
        if let Some(gate) = self.gates().by_key.get(key) {
            return Arc::clone(gate);
        }
        // Not under the lock: the user's closure may ask for a snapshot.
        let gate = Arc::new(Gate::new(key.clone(), self.rules.limits(key, now)));
        let mut gates = self.gates();
        if let Some(gate) = gates.by_key.get(key) {
            return Arc::clone(gate);
        }
        if gates.by_key.len() >= MAX_KEYS {
            make_room(&mut gates.by_key, now);
        }
        // Where there is no room its requests are paced all the same, each crowd by a gate of its own.
        if gates.by_key.len() < MAX_KEYS {
            gates.by_key.insert(key.clone(), Arc::clone(&gate));
        }
        self.count.store(gates.by_key.len(), Ordering::Release);
        gate
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn hold_from_the_first_request(&self) -> bool {
        self.mode != Mode::Off
            && (self.gentle_start.is_some()
                || self.most_under_way.is_some()
                || !self.quotas.is_empty()
                || self.quotas_by_key.is_some())
    }

    fn limits(&self, key: &LimitKey, now: Instant) -> Limits {
        let learning = match (self.mode, self.gentle_start) {
            (Mode::Learning, Some(at_first)) => Learning::Gentle(at_first),
            (Mode::Learning, None) => Learning::On,
            _ => Learning::Off,
        };
        let own = self.quotas_by_key.as_ref().map(|quotas| quotas(key));
        let quotas = self.quotas.iter().copied().chain(own.into_iter().flatten());
        Limits::new(learning, quotas, self.most_under_way, now)
    }
}

/// Drops what is forgotten, and else what was not needed for the longest time.
fn make_room(gates: &mut HashMap<LimitKey, Arc<Gate>>, now: Instant) {
    gates.retain(|_, gate| !gate.is_forgotten(now) || gate.idle_since().is_none());
    if gates.len() < MAX_KEYS {
        return;
    }
    let idle = gates
        .iter()
        .filter_map(|(key, gate)| Some((gate.idle_since()?, key)));
    let longest = idle.min_by_key(|(since, _)| *since);
    if let Some(key) = longest.map(|(_, key)| key.clone()) {
        gates.remove(&key);
    }
}

impl fmt::Debug for Pacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pacer")
            .field("mode", &self.rules.mode)
            .field("keys", &self.count.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// One limit, as the pacer knows it at one moment; made by [`Pacer::snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimitSnapshot {
    /// Whose limit it is.
    pub key: LimitKey,
    /// How long nothing is sent, if it is closed.
    pub closed_for: Option<Duration>,
    /// The rate that it was seen to let through, in requests a second; `None` before the second
    /// refusal, and where the limit is on [`concurrency`](Self::concurrency).
    pub rate: Option<f64>,
    /// How many requests it was seen to let through at once; `None` when there is no rate.
    pub burst: Option<u64>,
    /// How many requests it was seen to let through at the same time, if refusals have shown that the
    /// limit is on that. What was given to [`Pacer::concurrency`] is not shown here.
    pub concurrency: Option<u32>,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Requests that were sent and not answered yet.
    pub under_way: u32,
    /// Requests that were refused so far.
    pub refusals: u64,
}

impl fmt::Display for LimitSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key.as_str())?;
        match self.closed_for {
            Some(pause) => write!(f, "closed for {:.1} s", pause.as_secs_f64())?,
            None => f.write_str("open")?,
        }
        if let (Some(rate), Some(burst)) = (self.rate, self.burst) {
            write!(f, ", {rate:.2} a second with bursts of {burst}")?;
        }
        if let Some(concurrency) = self.concurrency {
            write!(f, ", {concurrency} at a time")?;
        }
        write!(
            f,
            ", {} waiting, {} under way, {} refused",
            self.waiting, self.under_way, self.refusals
        )
    }
}

/// A limit is forgotten after ten minutes at the least.
const SWEEPING: Duration = Duration::from_secs(60);
/// Far above the number of servers that a program calls, far below what would be felt in memory.
const MAX_KEYS: usize = 1024;
