use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::Instrument;

use super::{
    Cause, CredentialHeader, ExpiryPolicy, Grant, Refusal, Token, TokenError, TokenErrorKind,
    TokenSource,
    cell::{Held, TokenCell},
    expiry::{Expiry, Freshness},
    flight::{Flight, Spawner, unless_it_panics},
    health::Health,
    source::AnySource,
};
use crate::{
    backoff::Backoff,
    observe::{Event, Observer, Observers, span},
    time::{self, Clock, Moment},
};

/// Keeps one token fresh, for everybody who holds a clone.
///
/// See the [module](super) for what it does when.
#[derive(Clone)]
pub struct TokenCache {
    shared: Arc<Shared>,
}

struct Shared {
    cell: TokenCell,
    state: Mutex<State>,
    source: Box<dyn AnySource>,
    settings: TokenCacheBuilder,
}

struct State {
    flight: Option<Flight<Landing>>,
    generation: u64,
    // How often the cache was cleared: what was asked for before is not wanted after.
    cleared: u64,
    health: Health,
}

/// What every waiter of one renewal gets.
type Landing = Result<Arc<Held>, TokenError>;

impl TokenCache {
    /// A cache with the default settings. Nothing is asked of the source until a token is needed.
    pub fn new(source: impl TokenSource) -> Self {
        Self::builder().build(source)
    }

    /// A cache with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_outbound::token::{Grant, TokenCache, source_fn};
    ///
    /// let tokens = TokenCache::builder()
    ///     .renewal_timeout(Duration::from_secs(10))
    ///     .build(source_fn(|_| async { Ok(Grant::new("a token")) }));
    /// ```
    pub fn builder() -> TokenCacheBuilder {
        TokenCacheBuilder::default()
    }

    /// A token that is good now: the present one, or the one that a renewal brings.
    ///
    /// Called once at the start, it warms the cache up and shows wrong credentials early.
    ///
    /// # Errors
    /// Why none could be had. While the cache cools down from a failure, that error comes at once.
    ///
    /// # Cancellation
    /// Dropping the future leaves the renewal running for others.
    pub async fn token(&self) -> Result<Token, TokenError> {
        self.obtain(Need::Good).await.map(|held| held.token.clone())
    }

    /// The present token, whatever its state; `None` before the first.
    pub fn peek(&self) -> Option<Token> {
        self.shared
            .cell
            .load()
            .as_ref()
            .map(|held| held.token.clone())
    }

    /// Asks for a new token though the present one may be good, and waits for it.
    ///
    /// Joins a renewal that is running. Requests go on with the present token meanwhile.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub async fn renew(&self) -> Result<Token, TokenError> {
        self.obtain(Need::New).await.map(|held| held.token.clone())
    }

    /// Uses this token no more: the next request waits for a newer one. Does nothing if the cache has
    /// moved on to another already.
    ///
    /// For what a response cannot tell: a message that says that the token was revoked, say.
    pub fn invalidate(&self, token: &Token) {
        let _state = self.lock();
        if let Some(held) = &*self.shared.cell.load()
            && held.token.generation() == token.generation()
        {
            held.spoil(Cause::Requested);
        }
    }

    /// Forgets the token, and the failures of earlier renewals: the cache is as it was before the first
    /// use, but for the numbers of its tokens. What a renewal that is running brings is not used.
    ///
    /// After a logout, or when the credentials behind the source have changed.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.cleared += 1;
        state.health = Health::new();
        self.shared.cell.clear();
    }

    /// Waits until no renewal is running.
    ///
    /// Call it before the runtime ends: a renewal that is cut in half may have spent a refresh token
    /// whose successor then is lost.
    pub async fn settle(&self) {
        loop {
            let flight = self.lock().flying().cloned();
            match flight {
                Some(flight) => drop(flight.landed().await),
                None => return,
            }
        }
    }

    /// The header that carries the token.
    pub(crate) fn credential_header(&self) -> &CredentialHeader {
        &self.shared.settings.credential_header
    }

    pub(crate) fn observers(&self) -> &Observers {
        &self.shared.settings.observers
    }

    /// Whether the source can get a token that meets this refusal though a plain renewal would not.
    pub(crate) fn can_answer(&self, refusal: &Refusal) -> bool {
        self.shared.source.can_answer(refusal)
    }

    /// Does something with the token to send now, if there is one that needs no waiting for. Starts a
    /// renewal in the background when it is due.
    ///
    /// The hot path: one load, two clocks, no lock and no allocation while the token is fresh.
    pub(crate) fn with_ready<T>(&self, use_it: impl FnOnce(&Arc<Held>) -> T) -> Option<T> {
        let guard = self.shared.cell.load();
        let held = guard.as_ref()?;
        match held.freshness(self.now()) {
            Freshness::Fresh => {}
            Freshness::RefreshSoon => drop(self.board(&Need::Good)),
            Freshness::Expired => return None,
        }
        Some(use_it(held))
    }

    /// How old the present token is, if it is of this generation.
    pub(crate) fn age(&self, generation: u64) -> Option<Duration> {
        let guard = self.shared.cell.load();
        let held = guard
            .as_ref()
            .filter(|held| held.token.generation() == generation)?;
        Some(held.token.expiry().asked.age(self.now()))
    }

    /// Waits for the token that `need` asks for.
    pub(crate) async fn obtain(&self, need: Need) -> Result<Arc<Held>, TokenError> {
        loop {
            match self.board(&need) {
                Boarding::Ready(held) => return Ok(held),
                Boarding::Failed(error) => return Err(error),
                Boarding::Flight(flight) => match flight.landed().await {
                    Some(Ok(held)) => return Ok(held),
                    // Cleared meanwhile: ask again.
                    Some(Err(error)) if error.is_superseded() => {}
                    Some(Err(error)) => return self.make_do(&need).ok_or(error),
                    // The runtime that carried it went away: lead a new one from here.
                    None => {}
                },
            }
        }
    }

    /// The request that was replayed with this token was not refused.
    pub(crate) fn accepted(&self, generation: u64) {
        self.lock().health.accepted(generation);
    }

    /// A server refused this token, on a first attempt or on a replay. Whether a renewal is worth a
    /// try: not if the last ones did not help.
    pub(crate) fn refused(&self, generation: u64) -> bool {
        let now = self.now().monotonic;
        let mut state = self.lock();
        state.health.refused(generation, now);
        self.has_moved_on(generation) || state.flying().is_some() || !state.health.withholds(now)
    }

    /// Starts or joins a renewal of this refused token, without waiting for it.
    pub(crate) fn renew_refused(&self, generation: u64, refusal: Refusal) {
        self.board(&Need::NewerThan(generation, refusal));
    }

    fn has_moved_on(&self, generation: u64) -> bool {
        self.shared
            .cell
            .load()
            .as_ref()
            .is_some_and(|held| held.token.generation() > generation)
    }

    /// Decides, under the lock, between the token at hand, a running flight, and a new one.
    fn board(&self, need: &Need) -> Boarding {
        let mut state = self.lock();
        let now = self.now();
        let current = self.shared.cell.load_full();

        let cause = match (need, current.as_ref()) {
            (_, None) => Cause::FirstUse,
            (Need::New, Some(_)) => Cause::Requested,
            (Need::NewerThan(generation, refusal), Some(held))
                if held.token.generation() <= *generation =>
            {
                let cause = Cause::Refused(refusal.clone());
                held.spoil(cause.clone());
                cause
            }
            (Need::Good | Need::NewerThan(..), Some(held)) => match held.freshness(now) {
                Freshness::Fresh => return Boarding::Ready(Arc::clone(held)),
                Freshness::RefreshSoon => {
                    if state.flying().is_none() && state.health.cooling(now.monotonic).is_none() {
                        self.launch(&mut state, Cause::ExpiringSoon);
                    }
                    return Boarding::Ready(Arc::clone(held));
                }
                Freshness::Expired => held.spoiled().cloned().unwrap_or(Cause::Expired),
            },
        };

        if let Some(flight) = state.flying() {
            return Boarding::Flight(flight.clone());
        }
        if let Some(error) = state.health.cooling(now.monotonic) {
            return match current.filter(|held| need.is_met_by(held, now)) {
                Some(held) => Boarding::Ready(held),
                None => Boarding::Failed(error.clone()),
            };
        }
        Boarding::Flight(self.launch(&mut state, cause))
    }

    /// The token to go on with though its renewal failed: one that nobody refused, and that lives.
    fn make_do(&self, need: &Need) -> Option<Arc<Held>> {
        self.shared
            .cell
            .load_full()
            .filter(|held| need.is_met_by(held, self.now()))
    }

    fn launch(&self, state: &mut State, cause: Cause) -> Flight<Landing> {
        let cache = self.clone();
        let (generation, not_before) = (state.generation, state.health.next_mint());
        let cleared = state.cleared;
        let span = span::token_renewal(&cause, generation);
        let renewal = async move {
            let (observers, began) = (cache.observers(), cache.now());
            observers.tell(&Event::Renewing {
                cause: &cause,
                generation,
                left: cache.left(began),
            });
            if let Some(not_before) = not_before {
                tokio::time::sleep_until(not_before).await;
            }
            let minted = cache.mint_in_time(&cause).await;
            let landing = cache.land(&cause, minted, cleared);
            let (cause, now) = (&cause, cache.now());
            let took = now.monotonic - began.monotonic;
            observers.tell(&match &landing {
                Ok(held) => Event::Renewed {
                    cause,
                    generation: held.token.generation(),
                    took,
                    left: held.token.left(now),
                },
                Err(error) => Event::RenewalFailed { cause, error, took },
            });
            landing
        };
        let flight = Flight::launch(&self.shared.settings.spawner, renewal.instrument(span));
        state.flight = Some(flight.clone());
        flight
    }

    /// Asks the source, within the flight's bound.
    async fn mint_in_time(&self, cause: &Cause) -> Result<Minted, TokenError> {
        let bound = self.shared.settings.renewal_timeout;
        let minting = unless_it_panics(self.mint(cause));
        match tokio::time::timeout(bound, minting).await {
            Ok(Some(minted)) => minted,
            Ok(None) => Err(TokenError::panicked()),
            Err(_) => Err(TokenError::timed_out(bound)),
        }
    }

    /// Asks the source, again after a failure that may pass.
    async fn mint(&self, cause: &Cause) -> Result<Minted, TokenError> {
        let bound = self.shared.settings.renewal_timeout;
        let ends = time::after(self.now().monotonic, bound);
        let mut failures = 0;
        let mut pauses = BETWEEN_TRIES.delays();
        let mut throttled_pauses = WHEN_THROTTLED.delays();
        loop {
            let asked = self.now();
            let error = match self.shared.source.ask(cause).await {
                Ok(grant) => return Ok(Minted { grant, asked }),
                Err(error) => error,
            };
            let pause = match error.kind() {
                TokenErrorKind::Rejected => return Err(error),
                TokenErrorKind::Throttled => error.retry_after().or(throttled_pauses.next()),
                TokenErrorKind::Transient => {
                    failures += 1;
                    if failures == TRIES {
                        return Err(error);
                    }
                    pauses.next()
                }
            };
            let pause = pause.unwrap_or_default();
            if pause >= ends.saturating_duration_since(self.now().monotonic) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Publishes what came of a flight. Its waiters are woken after this.
    fn land(&self, cause: &Cause, minted: Result<Minted, TokenError>, cleared: u64) -> Landing {
        let mut state = self.lock();
        if state.cleared != cleared {
            state.flight = None;
            return Err(TokenError::superseded());
        }
        let now = self.now();
        let generation = state.generation + 1;
        let landing = match minted.and_then(|minted| self.admit(minted, generation, now)) {
            Ok(held) => {
                state.generation = generation;
                let on_trial = matches!(cause, Cause::Refused(_));
                state.health.renewed(generation, on_trial, now.monotonic);
                self.shared.cell.store(Arc::clone(&held));
                Ok(held)
            }
            Err(error) => Err(state.health.failed(error, self.left(now), now.monotonic)),
        };
        state.flight = None;
        landing
    }

    /// Makes a token of a grant, unless it would be refused or renewed at once again.
    fn admit(&self, minted: Minted, generation: u64, now: Moment) -> Result<Arc<Held>, TokenError> {
        let Minted { grant, asked } = minted;
        let settings = &self.shared.settings;
        let schedule = grant
            .lifetime
            .since(asked.wall)
            .map(|lifetime| settings.expiry.schedule(lifetime, fastrand::u32(..)));
        let expiry = Expiry { asked, schedule };
        if expiry.is_dead(now) {
            return Err(TokenError::transient(
                "the server granted a token whose life is over already; is this machine's clock \
                 right?",
            ));
        }
        if let Some(current) = &*self.shared.cell.load() {
            let same = current.token.secret().expose() == grant.access_token.expose();
            if same && current.spoiled().is_some() {
                return Err(TokenError::transient(
                    "the token source returned the token that had just been refused",
                ));
            }
            if same && lives_no_longer(&expiry, current.token.expiry(), now) {
                return Err(TokenError::transient(
                    "the token source returned the token that was to be renewed",
                ));
            }
        }
        let scheme = grant.attach.as_ref().and_then(|attach| attach.scheme());
        let header = settings
            .credential_header
            .value(&grant.access_token, scheme)?;
        let token = Token::new(generation, grant, header, expiry);
        Ok(Arc::new(Held::new(token)))
    }

    /// How long the present token may still be used, if it may be and that is known.
    fn left(&self, now: Moment) -> Option<Duration> {
        let current = self.shared.cell.load();
        current
            .as_ref()
            .filter(|held| held.is_alive(now))?
            .token
            .left(now)
    }

    fn now(&self) -> Moment {
        self.shared.settings.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic in one spoils nothing.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The flight that is under way.
    fn flying(&self) -> Option<&Flight<Landing>> {
        self.flight.as_ref().filter(|flight| !flight.is_lost())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("token", &self.peek())
            .finish_non_exhaustive()
    }
}

/// Which token will do.
#[derive(Debug)]
pub(crate) enum Need {
    /// One that is good.
    Good,
    /// One that has not been minted yet.
    New,
    /// One that is newer than this generation, which was refused.
    NewerThan(u64, Refusal),
}

impl Need {
    /// Whether this token meets the need when no renewal can be had.
    fn is_met_by(&self, held: &Held, now: Moment) -> bool {
        match self {
            Need::Good => held.is_alive(now),
            Need::New => false,
            Need::NewerThan(generation, _) => {
                held.token.generation() > *generation && held.is_alive(now)
            }
        }
    }
}

enum Boarding {
    Ready(Arc<Held>),
    Flight(Flight<Landing>),
    Failed(TokenError),
}

/// A grant, and when it was asked for.
struct Minted {
    grant: Grant,
    asked: Moment,
}

/// Whether a second copy of a token brings no longer life than the first had.
fn lives_no_longer(new: &Expiry, old: &Expiry, now: Moment) -> bool {
    match (new.left(now), old.left(now)) {
        (Some(new), Some(old)) => new <= old + CLOCK_GRAIN,
        _ => true,
    }
}

/// The settings of a [`TokenCache`].
#[derive(Clone, Debug)]
pub struct TokenCacheBuilder {
    expiry: ExpiryPolicy,
    credential_header: CredentialHeader,
    renewal_timeout: Duration,
    observers: Observers,
    clock: Clock,
    spawner: Spawner,
}

impl Default for TokenCacheBuilder {
    fn default() -> Self {
        Self {
            expiry: ExpiryPolicy::default(),
            credential_header: CredentialHeader::default(),
            renewal_timeout: RENEWAL_TIMEOUT,
            observers: Observers::default(),
            clock: Clock::default(),
            spawner: Spawner::default(),
        }
    }
}

impl TokenCacheBuilder {
    /// How early a token is renewed.
    pub fn expiry(mut self, policy: ExpiryPolicy) -> Self {
        self.expiry = policy;
        self
    }

    /// The header that carries the token, and the scheme in it: `authorization: Bearer …` by default.
    pub fn credential_header(mut self, header: CredentialHeader) -> Self {
        self.credential_header = header;
        self
    }

    /// The longest that one renewal may take, its own further tries included: 30 s by default, which
    /// is what clients commonly give one request. Those who wait for it then get an error.
    pub fn renewal_timeout(mut self, timeout: Duration) -> Self {
        self.renewal_timeout = timeout;
        self
    }

    /// Tells this one what happens to the tokens, and what the token layer does with them. Can be
    /// repeated.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.add(observer);
        self
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    #[cfg(test)]
    pub(crate) fn spawner(mut self, spawner: Spawner) -> Self {
        self.spawner = spawner;
        self
    }

    /// The cache, with tokens from this source.
    pub fn build(self, source: impl TokenSource) -> TokenCache {
        let state = State {
            flight: None,
            generation: 0,
            cleared: 0,
            health: Health::new(),
        };
        TokenCache {
            shared: Arc::new(Shared {
                cell: TokenCell::default(),
                state: Mutex::new(state),
                source: Box::new(source),
                settings: self,
            }),
        }
    }
}

/// What clients commonly give one request.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Tries within one renewal where the endpoint fails, as the official clients of Google have it.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));

/// Where the endpoint asks for a pause without saying how long: within the renewal's bound.
const WHEN_THROTTLED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(20))
    .at_least(Duration::from_millis(100));

/// `expires_in` counts in seconds: the same end of life, told twice, may differ by this.
const CLOCK_GRAIN: Duration = Duration::from_secs(1);
