use super::*;
use proptest::prelude::*;

fn traffic_only(percent: u32) -> RetryBudget {
    RetryBudget::new().percent(percent).per_second(0)
}

fn reserve_only(per_second: u32) -> RetryBudget {
    RetryBudget::new().percent(0).per_second(per_second)
}

fn deposit(budget: &RetryBudget, requests: u32) {
    (0..requests).for_each(|_| budget.deposit());
}

/// How many of 1,000 tries the budget allows.
fn allowed(budget: &RetryBudget, now: Instant) -> usize {
    (0..1000).filter(|_| budget.withdraw_at(now)).count()
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

// R13: tower's truncates the ratio and allows ten.
#[test]
fn ten_requests_at_sixty_percent_pay_for_exactly_six_retries() {
    let budget = traffic_only(60);
    deposit(&budget, 10);
    assert_eq!(allowed(&budget, crate::time::now()), 6);
}

#[test]
fn parts_of_a_retry_add_up() {
    let budget = traffic_only(1);
    deposit(&budget, 99);
    assert_eq!(allowed(&budget, crate::time::now()), 0);
    deposit(&budget, 1);
    assert_eq!(allowed(&budget, crate::time::now()), 1);
}

#[test]
fn a_request_may_pay_for_several_retries() {
    let budget = traffic_only(250);
    deposit(&budget, 2);
    assert_eq!(allowed(&budget, crate::time::now()), 5);
}

#[test]
fn savings_stop_at_their_cap() {
    let now = crate::time::now();
    let budget = traffic_only(20);
    deposit(&budget, 100_000);
    assert_eq!(allowed(&budget, now), 100);
    let budget = traffic_only(u32::MAX).max_saved(3);
    deposit(&budget, 5);
    assert_eq!(allowed(&budget, now), 3);
}

#[test]
fn a_fresh_budget_holds_ten_seconds_of_reserve() {
    assert_eq!(allowed(&RetryBudget::new(), crate::time::now()), 100);
}

#[test]
fn the_reserve_refills_by_the_second() {
    let start = crate::time::now();
    let budget = reserve_only(10);
    assert_eq!(allowed(&budget, start), 100);
    assert_eq!(allowed(&budget, start + Duration::from_millis(99)), 0);
    assert_eq!(allowed(&budget, start + Duration::from_millis(100)), 1);
    assert_eq!(allowed(&budget, after(start, 2)), 19);
}

#[test]
fn asking_often_does_not_cost_a_part_of_a_second() {
    let start = crate::time::now();
    let budget = reserve_only(3);
    allowed(&budget, start);
    let asked = (1..=1_000_u64).map(|ms| start + Duration::from_millis(ms));
    assert_eq!(asked.filter(|&at| budget.withdraw_at(at)).count(), 3);
}

// R13: tower's walks through idle time slot by slot, under its lock.
#[test]
fn a_year_of_idling_adds_no_more_than_the_full_reserve() {
    let start = crate::time::now();
    let budget = RetryBudget::new();
    deposit(&budget, 1000);
    assert_eq!(allowed(&budget, start), 200);
    assert_eq!(allowed(&budget, after(start, 365 * 24 * 3600)), 100);
}

#[test]
fn an_earlier_time_gives_and_takes_nothing() {
    let start = crate::time::now();
    let budget = reserve_only(1);
    assert_eq!(allowed(&budget, after(start, 60)), 10);
    assert_eq!(allowed(&budget, start), 0);
    assert_eq!(allowed(&budget, after(start, 61)), 1);
}

#[test]
fn nothing_is_allowed_where_nothing_is_set() {
    let budget = traffic_only(0);
    deposit(&budget, 1000);
    assert_eq!(allowed(&budget, crate::time::now()), 0);
}

#[test]
fn deposits_and_withdrawals_of_many_threads_are_all_counted() {
    let budget = traffic_only(10).max_saved(u32::MAX);
    let on_four_threads = |work: &(dyn Fn() -> usize + Sync)| -> usize {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        })
    };
    on_four_threads(&|| {
        deposit(&budget, 2_500);
        0
    });
    let now = crate::time::now();
    assert_eq!(on_four_threads(&|| allowed(&budget, now)), 1_000);
}

#[tokio::test(start_paused = true)]
async fn as_a_tower_budget_it_reads_tokios_clock() {
    let budget = reserve_only(1);
    assert_eq!((0..20).filter(|_| budget.withdraw()).count(), 10);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(budget.withdraw());
    assert!(!budget.withdraw());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_what_would_be_granted() {
    let budget = RetryBudget::new().per_second(3);
    deposit(&budget, 25);
    for _ in 0..3 {
        let left = budget.left();
        let clone = budget.clone();
        assert_eq!((0..left).filter(|_| clone.withdraw()).count() as u64, left);
        assert!(!clone.withdraw() && budget.left() == 0);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(budget.left(), 6);
    }
}

#[test]
fn debug_shows_settings_and_what_is_left() {
    let budget = RetryBudget::new();
    deposit(&budget, 12);
    assert_eq!(
        format!("{budget:?}"),
        "RetryBudget { percent: 20, per_second: 10, max_saved: 100, left: 102, .. }"
    );
}

proptest! {
    #[test]
    fn the_ratio_is_exact(percent in 0..=500_u32, requests in 0..200_u32) {
        let budget = traffic_only(percent).max_saved(u32::MAX);
        deposit(&budget, requests);
        let paid_for = (percent * requests / 100) as usize;
        prop_assert_eq!(allowed(&budget, crate::time::now()), paid_for);
    }

    #[test]
    fn no_setting_and_no_time_overflows(
        percent: u32,
        per_second: u32,
        max_saved: u32,
        idle in 0..u64::from(u32::MAX),
    ) {
        let budget = RetryBudget::new()
            .percent(percent)
            .per_second(per_second)
            .max_saved(max_saved);
        let start = crate::time::now();
        deposit(&budget, 3);
        budget.withdraw_at(start);
        budget.withdraw_at(after(start, idle));
    }
}
