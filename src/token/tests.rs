use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::{Instant, advance, sleep, timeout};

use super::{
    Cause, Grant, Need, Refusal, Token, TokenCache, TokenCacheBuilder, TokenError, TokenErrorKind,
    TokenSource,
    flight::{Spawner, Task},
};
use crate::time::{self, Clock};

mod interleavings;

/// A source that counts how often it is asked, and answers what a closure makes of that count.
struct Scripted<F> {
    asked: Arc<AtomicUsize>,
    latency: Duration,
    answer: F,
}

impl<F> TokenSource for Scripted<F>
where
    F: Fn(usize, &Cause) -> Result<Grant, TokenError> + Send + Sync + 'static,
{
    async fn token(&self, cause: &Cause) -> Result<Grant, TokenError> {
        let count = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(self.latency).await;
        (self.answer)(count, cause)
    }
}

/// The cache under test, and what its source has seen.
struct Fixture {
    tokens: TokenCache,
    asked: Arc<AtomicUsize>,
}

impl Fixture {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Refuses the present token, and waits for the one after it.
    async fn refuse(&self) -> Result<u64, TokenError> {
        let generation = self.tokens.peek().map_or(0, |token| token.generation());
        self.tokens.refused(generation);
        let need = Need::NewerThan(generation, refusal());
        self.tokens
            .obtain(need)
            .await
            .map(|held| held.token.generation())
    }
}

fn fixture<F>(answer: F) -> Fixture
where
    F: Fn(usize, &Cause) -> Result<Grant, TokenError> + Send + Sync + 'static,
{
    fixture_with(TokenCache::builder(), Duration::from_millis(30), answer)
}

fn fixture_with<F>(builder: TokenCacheBuilder, latency: Duration, answer: F) -> Fixture
where
    F: Fn(usize, &Cause) -> Result<Grant, TokenError> + Send + Sync + 'static,
{
    let asked = Arc::<AtomicUsize>::default();
    let source = Scripted {
        asked: Arc::clone(&asked),
        latency,
        answer,
    };
    Fixture {
        tokens: builder.build(source),
        asked,
    }
}

/// Grants a new token every time, with this lifetime in seconds.
fn granting(lifetime: u64) -> impl Fn(usize, &Cause) -> Result<Grant, TokenError> {
    move |count, _| {
        Ok(Grant::new(format!("token {count}")).expires_in(Duration::from_secs(lifetime)))
    }
}

fn refusal() -> Refusal {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::UNAUTHORIZED;
    Refusal::from_parts(&parts)
}

fn generation(result: Result<Token, TokenError>) -> Option<u64> {
    result.ok().map(|token| token.generation())
}

const SECOND: Duration = Duration::from_secs(1);

// ===== one renewal for everybody =====

#[tokio::test(start_paused = true)]
async fn fifty_waiters_share_one_renewal() {
    let cache = fixture(granting(3600));
    let waiters = (0..50).map(|_| cache.tokens.token());
    for token in join_all(waiters).await {
        assert_eq!(generation(token), Some(1));
    }
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_waiters_on_an_expired_token_share_one_renewal() {
    let cache = fixture(granting(60));
    cache.tokens.token().await.unwrap();
    advance(59 * SECOND).await;
    for token in join_all((0..50).map(|_| cache.tokens.token())).await {
        assert_eq!(generation(token), Some(2));
    }
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_token() {
    let cache = fixture(granting(3600));
    let clone = cache.tokens.clone();
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    assert_eq!(generation(clone.token().await), Some(1));
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_waiters_share_a_failure_and_its_time() {
    let builder = TokenCache::builder().renewal_timeout(SECOND);
    let cache = fixture_with(builder, 3600 * SECOND, granting(3600));
    let start = time::now();
    for token in join_all((0..50).map(|_| cache.tokens.token())).await {
        assert!(token.unwrap_err().is_timeout());
    }
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_leader_does_not_fail_waiters() {
    let cache = fixture(granting(3600));
    for patience in 0..7 {
        let leader = timeout(Duration::from_millis(patience), cache.tokens.token());
        assert!(leader.await.is_err());
    }
    let waiters = join_all((0..10).map(|_| cache.tokens.token())).await;
    assert!(
        waiters
            .into_iter()
            .all(|token| generation(token) == Some(1))
    );
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_outlives_everyone_who_asked_for_it() {
    let cache = fixture(granting(3600));
    assert!(
        timeout(Duration::from_millis(1), cache.tokens.token())
            .await
            .is_err()
    );
    cache.tokens.settle().await;
    assert_eq!(cache.tokens.peek().map(|token| token.generation()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_short_request_timeout_does_not_keep_the_next_request_from_its_token() {
    let cache = fixture_with(
        TokenCache::builder(),
        Duration::from_millis(475),
        granting(3600),
    );
    let mut tries = 0;
    while timeout(Duration::from_millis(50), cache.tokens.token())
        .await
        .is_err()
    {
        tries += 1;
    }
    assert_eq!(tries, 9);
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_polled_a_handful_of_times() {
    let cache = fixture_with(TokenCache::builder(), 20 * SECOND, granting(3600));
    let mut polls = 0;
    let mut waiter = pin!(cache.tokens.token());
    let counted = std::future::poll_fn(|cx| {
        polls += 1;
        waiter.as_mut().poll(cx)
    });
    counted.await.unwrap();
    assert!(polls <= 4, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn nothing_lives_on_when_the_last_handle_is_dropped() {
    let alive = Arc::new(());
    let inside = Arc::clone(&alive);
    let cache = fixture(move |count, _| {
        let _ = &inside;
        granting(3)(count, &Cause::FirstUse)
    });
    for _ in 0..50 {
        cache.tokens.token().await.unwrap();
        sleep(SECOND / 5).await;
    }
    cache.tokens.settle().await;
    drop(cache);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_source_is_an_error_to_its_waiters() {
    let cache = fixture(|count, _| match count {
        1 => panic!("on purpose"),
        _ => granting(3600)(count, &Cause::FirstUse),
    });
    for token in join_all((0..3).map(|_| cache.tokens.token())).await {
        assert!(token.unwrap_err().to_string().contains("panicked"));
    }
    sleep(60 * SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_leads_a_new_flight_when_the_runtime_of_the_old_one_goes_away() {
    let lost = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&lost);
    let spawner = Spawner::new(
        move |task: Task| match count.fetch_add(1, Ordering::Relaxed) {
            // A runtime that is shutting down drops what it is given.
            0 | 1 => drop(task),
            _ => drop(tokio::spawn(task)),
        },
    );
    let cache = fixture_with(
        TokenCache::builder().spawner(spawner),
        SECOND,
        granting(3600),
    );
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    assert_eq!(lost.load(Ordering::Relaxed), 3);
}

// ===== expiry =====

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_soon_is_renewed_while_requests_go_on() {
    let cache = fixture(granting(3600));
    cache.tokens.token().await.unwrap();
    advance(3400 * SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    cache.tokens.settle().await;
    assert_eq!(generation(cache.tokens.token().await), Some(2));
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_early_renewal_leaves_the_token_in_use_until_its_very_end() {
    let cache = fixture(|count, _| match count {
        1 => granting(3600)(count, &Cause::FirstUse),
        _ => Err(TokenError::transient("the server is down")),
    });
    let start = time::now();
    cache.tokens.token().await.unwrap();
    while start.elapsed() < 3599 * SECOND {
        assert_eq!(
            generation(cache.tokens.token().await),
            Some(1),
            "{:?}",
            start.elapsed()
        );
        sleep(SECOND / 2).await;
    }
    sleep(2 * SECOND).await;
    assert!(cache.tokens.token().await.is_err());
    // Three tries a flight; a cool-down of up to a minute between flights, over five minutes.
    assert!(cache.asked() < 90, "{}", cache.asked());
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_when_the_token_was_asked_for() {
    let cache = fixture_with(TokenCache::builder(), 20 * SECOND, granting(30));
    cache.tokens.token().await.unwrap();
    // Ten of thirty seconds are left, less the margin of three.
    sleep(8 * SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_expired_after_a_suspend_that_the_monotonic_clock_did_not_see() {
    let clock = Clock::default();
    let cache = fixture_with(
        TokenCache::builder().clock(clock.clone()),
        SECOND,
        granting(3600),
    );
    cache.tokens.token().await.unwrap();
    clock.suspend(5 * 3600);
    assert_eq!(generation(cache.tokens.token().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn short_lifetimes_work_and_mint_no_more_than_one_token_a_second() {
    for lifetime in [1, 10, 29] {
        let cache = fixture(granting(lifetime));
        let start = time::now();
        while start.elapsed() < 60 * SECOND {
            cache.tokens.token().await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        let least = 60 / lifetime as usize;
        assert!(
            cache.asked() >= least * 9 / 10,
            "{lifetime}: {}",
            cache.asked()
        );
        assert!(
            cache.asked() <= least * 2 + 1,
            "{lifetime}: {}",
            cache.asked()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_unknown_lifetime_is_used_until_it_is_refused() {
    let cache = fixture(|count, _| Ok(Grant::new(format!("token {count}"))));
    cache.tokens.token().await.unwrap();
    advance(Duration::from_secs(10 * 365 * 24 * 3600)).await;
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    assert_eq!(cache.refuse().await.ok(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_when_it_comes_is_a_failure() {
    let cache =
        fixture(|count, _| Ok(Grant::new(format!("token {count}")).expires_in(Duration::ZERO)));
    for _ in 0..100 {
        let error = cache.tokens.token().await.unwrap_err();
        assert!(error.to_string().contains("over already"), "{error}");
    }
    assert_eq!(cache.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_absolute_end_of_life_counts_as_a_lifetime() {
    let cache = fixture(|count, _| {
        let end = time::wall() + 3600 * SECOND;
        Ok(Grant::new(format!("token {count}")).expires_at(end))
    });
    cache.tokens.token().await.unwrap();
    advance(3000 * SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    advance(599 * SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn enormous_lifetimes_are_fine() {
    for lifetime in [u64::MAX, u64::MAX / 1000, 1 << 40] {
        let cache = fixture(granting(lifetime));
        cache.tokens.token().await.unwrap();
        advance(Duration::from_secs(50 * 365 * 24 * 3600)).await;
        assert_eq!(generation(cache.tokens.token().await), Some(1));
    }
}

// ===== refusal =====

#[tokio::test(start_paused = true)]
async fn a_hundred_refusals_of_one_token_lead_to_one_renewal() {
    let cache = fixture(granting(3600));
    cache.tokens.token().await.unwrap();
    for newer in join_all((0..100).map(|_| cache.refuse())).await {
        assert_eq!(newer.ok(), Some(2));
    }
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_an_old_token_renews_nothing() {
    let cache = fixture(granting(3600));
    cache.tokens.token().await.unwrap();
    cache.refuse().await.unwrap();
    let late = cache
        .tokens
        .obtain(Need::NewerThan(1, refusal()))
        .await
        .unwrap();
    assert_eq!(late.token.generation(), 2);
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_during_a_renewal_joins_it_and_the_result_is_newer() {
    let cache = fixture_with(TokenCache::builder(), SECOND, granting(3600));
    cache.tokens.token().await.unwrap();
    advance(3400 * SECOND).await;
    cache.tokens.token().await.unwrap(); // starts a renewal in the background
    sleep(SECOND / 2).await;
    assert_eq!(cache.refuse().await.ok(), Some(2));
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_token_is_used_no_more_unless_it_is_an_old_one() {
    let cache = fixture(granting(3600));
    let old = cache.tokens.token().await.unwrap();
    cache.tokens.invalidate(&old);
    assert!(cache.tokens.with_ready(|_| ()).is_none());
    assert_eq!(generation(cache.tokens.token().await), Some(2));
    cache.tokens.invalidate(&old);
    assert_eq!(generation(cache.tokens.token().await), Some(2));
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_invalidated_while_it_is_renewed_is_not_what_the_renewal_brings() {
    let cache = fixture_with(TokenCache::builder(), SECOND, granting(3600));
    let old = cache.tokens.token().await.unwrap();
    advance(3400 * SECOND).await;
    cache.tokens.token().await.unwrap(); // starts a renewal in the background
    sleep(SECOND / 2).await;
    cache.tokens.invalidate(&old);
    assert_eq!(generation(cache.tokens.token().await), Some(2));
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cleared_cache_knows_no_token_and_no_failure() {
    let cache = fixture(|count, _| match count {
        1 => Err(TokenError::rejected("no")),
        _ => Ok(Grant::new(format!("token {count}"))),
    });
    cache.tokens.token().await.unwrap_err();
    cache.tokens.clear();
    cache.tokens.token().await.unwrap();
    cache.tokens.clear();
    assert!(cache.tokens.peek().is_none());
    assert_eq!(generation(cache.tokens.token().await), Some(2));
    assert_eq!(cache.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_the_cache_was_cleared_is_not_used() {
    let cache = fixture_with(TokenCache::builder(), SECOND, granting(3600));
    let (token, ()) = tokio::join!(cache.tokens.token(), async {
        sleep(SECOND / 2).await;
        cache.tokens.clear();
    });
    // Who waited gets the token of the time after.
    assert_eq!(token.unwrap().secret().expose(), "token 2");
    assert_eq!(cache.tokens.peek().unwrap().secret().expose(), "token 2");
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn new_requests_wait_while_a_refused_token_is_renewed() {
    let cache = fixture_with(TokenCache::builder(), SECOND, granting(3600));
    cache.tokens.token().await.unwrap();
    let (refused, new) = tokio::join!(cache.refuse(), async {
        sleep(SECOND / 2).await;
        assert!(cache.tokens.with_ready(|_| ()).is_none());
        cache.tokens.token().await
    });
    assert_eq!(refused.ok(), Some(2));
    assert_eq!(generation(new), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_returns_the_refused_token_has_failed() {
    let cache = fixture(|_, _| Ok(Grant::new("always the same").expires_in(3600 * SECOND)));
    cache.tokens.token().await.unwrap();
    for _ in 0..100 {
        assert!(
            cache
                .refuse()
                .await
                .unwrap_err()
                .to_string()
                .contains("just been refused")
        );
    }
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_returns_the_old_token_is_not_asked_again_and_again() {
    let start = time::now();
    // As a metadata server does that caches: the same token until its end, a new one after it.
    let cache = fixture(move |_, _| {
        let age = start.elapsed().as_secs();
        let token = Grant::new(format!("token {}", age / 3600));
        Ok(token.expires_in(Duration::from_secs(3600 - age % 3600)))
    });
    while start.elapsed() < 2 * 3600 * SECOND {
        cache
            .tokens
            .token()
            .await
            .expect("the old token is good until its end");
        sleep(SECOND / 4).await;
    }
    assert!(cache.asked() < 80, "{}", cache.asked());
}

#[tokio::test(start_paused = true)]
async fn the_cause_reaches_the_source() {
    let causes = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&causes);
    let cache = fixture(move |count, cause| {
        let name = match cause {
            Cause::Refused(refusal) => format!("refused with {}", refusal.status()),
            other => format!("{other:?}"),
        };
        seen.lock().unwrap().push(name);
        granting(100)(count, cause)
    });
    cache.tokens.token().await.unwrap();
    advance(85 * SECOND).await;
    cache.tokens.token().await.unwrap();
    cache.tokens.settle().await;
    advance(95 * SECOND).await;
    cache.tokens.token().await.unwrap();
    cache.refuse().await.unwrap();
    cache.tokens.renew().await.unwrap();
    let expected = [
        "FirstUse",
        "ExpiringSoon",
        "Expired",
        "refused with 401 Unauthorized",
        "Requested",
    ];
    assert_eq!(*causes.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn two_tokens_are_at_least_a_second_apart() {
    let times = Arc::<Mutex<Vec<Instant>>>::default();
    let seen = Arc::clone(&times);
    let cache = fixture(move |count, cause| {
        seen.lock().unwrap().push(time::now());
        granting(3600)(count, cause)
    });
    for _ in 0..10 {
        cache.tokens.renew().await.unwrap();
    }
    let times = times.lock().unwrap();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND));
}

#[tokio::test(start_paused = true)]
async fn renewals_that_do_not_help_become_rare() {
    let cache = fixture(granting(24 * 3600));
    cache.tokens.token().await.unwrap();
    let start = time::now();
    let mut renewed_at = Vec::new();
    while start.elapsed() < 300 * SECOND {
        // An endpoint that refuses every token, and a request to it every tenth of a second.
        let generation = cache.tokens.peek().unwrap().generation();
        if cache.tokens.refused(generation) {
            renewed_at.push(start.elapsed().as_secs());
            let need = Need::NewerThan(generation, refusal());
            let newer = cache.tokens.obtain(need).await.unwrap();
            cache.tokens.refused(newer.token.generation());
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(renewed_at, [0, 2, 4, 8, 16, 32, 64, 124, 184, 244]);
}

#[tokio::test(start_paused = true)]
async fn other_requests_go_on_with_a_token_whose_renewal_did_not_help() {
    let cache = fixture(granting(3600));
    cache.tokens.token().await.unwrap();
    cache.refuse().await.unwrap();
    assert!(!cache.tokens.refused(2));
    assert!(cache.tokens.with_ready(|_| ()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_helps_ends_the_waits() {
    let cache = fixture(granting(3600));
    cache.tokens.token().await.unwrap();
    cache.refuse().await.unwrap();
    assert!(!cache.tokens.refused(2), "fruitless");
    sleep(SECOND).await;
    cache.refuse().await.unwrap();
    cache.tokens.accepted(3);
    assert!(
        cache.tokens.refused(3),
        "the last renewal helped, so the next may"
    );
}

// ===== failure =====

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_inside_the_renewal() {
    let cache = fixture(|count, cause| match count {
        1 | 2 => Err(TokenError::transient("reset")),
        _ => granting(3600)(count, cause),
    });
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    assert_eq!(cache.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_not_tried_again_for_a_minute() {
    let cache = fixture(|_, _| Err(TokenError::rejected("invalid_client")));
    for token in join_all((0..100).map(|_| cache.tokens.token())).await {
        assert!(token.unwrap_err().is_rejected());
    }
    sleep(59 * SECOND).await;
    let error = cache.tokens.token().await.unwrap_err();
    assert!(error.next_attempt().unwrap() > time::now());
    assert_eq!(cache.asked(), 1);
    sleep(SECOND).await;
    assert!(cache.tokens.token().await.is_err());
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn during_the_cool_down_the_error_comes_at_once() {
    let cache = fixture(|_, _| Err(TokenError::transient("down")));
    cache.tokens.token().await.unwrap_err();
    let (asked, start) = (cache.asked(), time::now());
    for _ in 0..1000 {
        cache.tokens.token().await.unwrap_err();
    }
    assert_eq!((cache.asked(), start.elapsed()), (asked, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_down_for_a_minute_is_not_stormed() {
    let start = time::now();
    let cache = fixture(move |count, cause| match start.elapsed() < 60 * SECOND {
        true => Err(TokenError::transient("down")),
        false => granting(3600)(count, cause),
    });
    let callers = (0..100).map(|_| async {
        while cache.tokens.token().await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    join_all(callers).await;
    assert!(start.elapsed() <= 130 * SECOND, "{:?}", start.elapsed());
    assert!(cache.asked() <= 60, "{}", cache.asked());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_endpoint_is_asked_again_after_its_pause_and_not_before() {
    let cache = fixture(|count, cause| match count {
        1 | 2 => Err(TokenError::throttled(Some(7 * SECOND), "slow down")),
        _ => granting(3600)(count, cause),
    });
    let start = time::now();
    cache.tokens.token().await.unwrap();
    assert!(start.elapsed() >= 14 * SECOND);
    assert_eq!(cache.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_renewals_bound_fails_at_once_and_is_kept() {
    let cache = fixture(|count, cause| match count {
        1 => Err(TokenError::throttled(Some(120 * SECOND), "slow down")),
        _ => granting(3600)(count, cause),
    });
    let start = time::now();
    let error = cache.tokens.token().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(120 * SECOND));
    assert!(start.elapsed() < SECOND);
    sleep(119 * SECOND).await;
    assert!(cache.tokens.token().await.is_err());
    sleep(SECOND).await;
    assert_eq!(generation(cache.tokens.token().await), Some(1));
    assert_eq!(cache.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_fits_no_header_is_an_error_without_the_token_in_it() {
    let cache = fixture(|_, _| Ok(Grant::new("hunter2\r\nx: y")));
    let error = cache.tokens.token().await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::Rejected);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn nothing_prints_the_token() {
    let cache = fixture(|_, _| Ok(Grant::new("hunter2").scope("users")));
    let token = cache.tokens.token().await.unwrap();
    let header = token.header_value();
    assert!(header.is_sensitive());
    let printed = format!(
        "{:?} {token:?} {header:?} {:?}",
        cache.tokens,
        token.secret()
    );
    assert!(!printed.contains("hunter2"), "{printed}");
}

/// Polls a future once, with a waker that does nothing.
fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
