use super::*;
use proptest::prelude::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn backoff(jitter: Jitter) -> Backoff {
    Backoff::new(ms(100), ms(1000)).jitter(jitter)
}

#[test]
fn without_jitter_the_delays_double_from_the_base_to_the_cap() {
    let delays: Vec<_> = backoff(Jitter::None).delays().take(6).collect();
    assert_eq!(
        delays,
        [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]
    );
}

#[test]
fn full_jitter_fills_the_range_from_nothing_to_the_ceiling() {
    assert_range(Jitter::Full, 1, ms(0), ms(200));
}

#[test]
fn equal_jitter_fills_the_upper_half() {
    assert_range(Jitter::Equal, 1, ms(100), ms(200));
}

#[test]
fn the_first_decorrelated_delay_lies_between_the_base_and_three_times_the_base() {
    assert_range(Jitter::Decorrelated, 0, ms(100), ms(300));
}

/// Delay `n` of many seeds reaches within a twentieth of both ends, and its mean is the middle.
fn assert_range(jitter: Jitter, n: usize, low: Duration, high: Duration) {
    let mut drawn: Vec<_> = (0..10_000)
        .filter_map(|seed| backoff(jitter).delays_from_seed(seed).nth(n))
        .collect();
    drawn.sort();
    let (first, last) = (drawn[0], drawn[drawn.len() - 1]);
    let twentieth = (high - low) / 20;
    assert!((low..low + twentieth).contains(&first), "{first:?}");
    assert!(high - twentieth < last && last <= high, "{last:?}");
    let mean = drawn.iter().sum::<Duration>() / drawn.len() as u32;
    assert!(mean.abs_diff((low + high) / 2) < twentieth, "{mean:?}");
}

#[test]
fn decorrelated_delays_never_exceed_three_times_the_last() {
    let delays = backoff(Jitter::Decorrelated).delays_from_seed(7);
    delays.take(1000).fold(ms(100), |last, delay| {
        assert!(ms(100) <= delay && delay <= ms(1000).min(last * 3));
        delay
    });
}

// R12: tower's shared maker gives every session the same jitter.
#[test]
fn two_requests_do_not_share_a_random_stream() {
    let backoff = backoff(Jitter::Full);
    let (one, other) = (backoff.delays(), backoff.delays());
    assert_ne!(
        one.take(8).collect::<Vec<_>>(),
        other.take(8).collect::<Vec<_>>()
    );
}

#[test]
fn the_same_seed_gives_the_same_delays() {
    let backoff = backoff(Jitter::Full);
    assert!(
        backoff
            .delays_from_seed(3)
            .take(20)
            .eq(backoff.delays_from_seed(3).take(20))
    );
}

#[test]
fn delays_do_not_gather_at_the_floor() {
    let backoff = backoff(Jitter::Full).at_least(ms(90));
    let first = |seed| backoff.delays_from_seed(seed).next();
    let at_floor = (0..1000).filter(|&seed| first(seed) == Some(ms(90)));
    assert!(at_floor.count() < 10);
}

#[test]
fn the_floor_wins_over_the_cap() {
    let backoff = backoff(Jitter::Full).at_least(ms(5000));
    assert!(backoff.delays().take(20).all(|delay| delay == ms(5000)));
}

#[test]
fn a_zero_base_never_waits() {
    let backoff = Backoff::new(Duration::ZERO, ms(1000));
    assert!(backoff.delays().take(300).all(|delay| delay.is_zero()));
}

#[test]
fn a_base_above_the_cap_is_the_cap() {
    let backoff = Backoff::new(ms(5000), ms(1000));
    for jitter in [Jitter::None, Jitter::Decorrelated] {
        assert!(
            backoff
                .jitter(jitter)
                .delays()
                .take(9)
                .all(|d| d == ms(1000))
        );
    }
}

#[test]
fn a_hint_is_exceeded_by_up_to_a_tenth_and_at_most_five_seconds() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..1000 {
        let short = jitter_above(ms(1000), &mut rng);
        assert!(ms(1000) <= short && short <= ms(1100), "{short:?}");
        let long = jitter_above(Duration::from_secs(3600), &mut rng);
        assert!(Duration::from_secs(3600) <= long && long <= Duration::from_secs(3605));
    }
    assert_eq!(jitter_above(Duration::ZERO, &mut rng), Duration::ZERO);
    assert_eq!(jitter_above(Duration::MAX, &mut rng), Duration::MAX);
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        (0..100_000_u64).prop_map(Duration::from_millis),
    ]
}

fn any_jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
    ]
}

proptest! {
    // R22: overflow and NaN in the peers' arithmetic.
    #[test]
    fn no_numbers_and_no_count_overflow(
        base in any_duration(),
        cap in any_duration(),
        floor in any_duration(),
        jitter in any_jitter(),
        count in prop_oneof![0..300_u32, Just(u32::MAX - 1), Just(u32::MAX), any::<u32>()],
        seed: u64,
    ) {
        let backoff = Backoff::new(base, cap).jitter(jitter).at_least(floor);
        let mut delays = backoff.delays_from_seed(seed);
        delays.count = count;
        for delay in delays.take(4) {
            prop_assert!(floor <= delay && delay <= cap.max(floor));
        }
    }

    #[test]
    fn a_hint_is_never_undercut(floor in any_duration(), seed: u64) {
        let wait = jitter_above(floor, &mut fastrand::Rng::with_seed(seed));
        prop_assert!(floor <= wait);
        prop_assert!(wait - floor <= MOST_ABOVE_HINT.min(floor / 10));
    }
}
