use proptest::prelude::*;

use super::*;

/// One that sends requests and hears of them; times are milliseconds.
struct Client {
    told: Told,
    sent: u64,
    start: Instant,
}

impl Client {
    fn new() -> Self {
        Self {
            told: Told::default(),
            sent: 0,
            start: time::now(),
        }
    }

    /// One that has sent a request at 0, and has had this answer at once.
    fn told(limit: RateLimit, policy: Option<RateLimitPolicy>) -> Self {
        let mut client = Self::new();
        client.sends(1, 0);
        client.hears(1, 0, &[limit], &Vec::from_iter(policy));
        client
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// What the next request is told.
    fn turn(&mut self, millis: u64) -> Turn {
        self.told.turn(self.sent + 1, self.at(millis))
    }

    /// How many may be sent at once; none of them is.
    fn may_send(&mut self, millis: u64) -> u64 {
        let now = self.at(millis);
        let told = &mut self.told;
        let sent = self.sent;
        let go = (1..=1000).take_while(|next| told.turn(sent + next, now) == Turn::Go);
        go.count() as u64
    }

    fn sends(&mut self, requests: u64, millis: u64) {
        for _ in 0..requests {
            assert_eq!(self.turn(millis), Turn::Go);
            self.sent += 1;
            self.told.sent(self.sent, self.at(millis));
        }
    }

    /// The `number`th was let through, and its answer says this.
    fn hears(
        &mut self,
        number: u64,
        millis: u64,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
    ) {
        let now = self.at(millis);
        self.told.answered(number, self.sent, limits, policies, now);
        self.told.let_through(number, now);
    }

    fn waits_until(&self, millis: u64) -> Turn {
        Turn::At(self.at(millis))
    }
}

fn left(remaining: u64, reset: u64) -> RateLimit {
    left_of("default", remaining, reset)
}

fn left_of(policy: &str, remaining: u64, reset: u64) -> RateLimit {
    RateLimit {
        policy: policy.to_owned(),
        remaining,
        reset: Some(Duration::from_secs(reset)),
        partition_key: None,
    }
}

fn policy(quota: u64, window: u64) -> RateLimitPolicy {
    RateLimitPolicy {
        policy: "default".to_owned(),
        quota,
        unit: QuotaUnit::Requests,
        window: Some(Duration::from_secs(window)),
        partition_key: None,
    }
}

// ===== windows =====

#[test]
fn what_is_left_is_sent_and_the_next_waits_for_the_reset() {
    let mut client = Client::told(left(2, 10), Some(policy(5, 10)));
    client.sends(2, 0);
    assert_eq!(client.turn(0), client.waits_until(10_000));
    assert_eq!(client.turn(9_999), client.waits_until(10_000));
}

#[test]
fn after_the_reset_a_whole_quota_is_sent_and_the_next_waits_a_window() {
    let mut client = Client::told(left(0, 10), Some(policy(5, 10)));
    client.sends(5, 12_000);
    assert_eq!(client.turn(12_000), client.waits_until(22_000));
    client.sends(5, 22_000);
    assert_eq!(client.turn(22_000), client.waits_until(32_000));
}

#[test]
fn where_no_quota_is_told_one_request_asks_for_it_after_the_reset() {
    for policy in [
        None,
        Some(RateLimitPolicy {
            policy: "other".to_owned(),
            ..policy(5, 10)
        }),
    ] {
        let mut client = Client::told(left(0, 10), policy);
        client.sends(1, 10_000);
        assert_eq!(client.turn(10_000), Turn::AfterAnswer);
        assert_eq!(client.turn(99_000), Turn::AfterAnswer);
        client.hears(2, 10_100, &[left(3, 10)], &[]);
        assert_eq!(client.may_send(10_100), 3);
    }
}

#[test]
fn where_the_one_that_asks_is_lost_or_refused_another_may() {
    let mut client = Client::told(left(0, 10), None);
    client.sends(1, 10_000);
    client.told.lost();
    client.sends(1, 10_000);
    assert_eq!(client.turn(10_000), Turn::AfterAnswer);
    client.told.refused(3);
    assert_eq!(client.turn(10_000), Turn::Go);
}

#[test]
fn where_no_window_is_told_it_is_as_long_as_it_was_to_the_reset() {
    let without_window = RateLimitPolicy {
        window: None,
        ..policy(5, 0)
    };
    let mut client = Client::told(left(0, 10), Some(without_window));
    client.sends(5, 10_000);
    assert_eq!(client.turn(10_000), client.waits_until(20_000));
}

#[test]
fn a_quota_of_nothing_is_read_as_one() {
    let mut client = Client::told(left(0, 10), Some(policy(0, 10)));
    client.sends(1, 10_000);
    assert_eq!(client.turn(10_000), client.waits_until(20_000));
}

#[test]
fn a_limit_without_a_reset_holds_nobody() {
    let limit = RateLimit {
        reset: None,
        ..left(0, 0)
    };
    let mut client = Client::told(limit, Some(policy(5, 10)));
    assert_eq!(client.may_send(0), 1000);
}

// ===== what counts =====

#[test]
fn what_is_not_counted_in_requests_holds_nobody() {
    for unit in [
        QuotaUnit::ContentBytes,
        QuotaUnit::ConcurrentRequests,
        QuotaUnit::Other("points".to_owned()),
    ] {
        let mut client = Client::told(
            left(0, 10),
            Some(RateLimitPolicy {
                unit,
                ..policy(5, 10)
            }),
        );
        assert_eq!(client.may_send(0), 1000);
    }
}

#[test]
fn of_several_policies_the_tightest_holds() {
    let mut client = Client::new();
    client.sends(1, 0);
    let limits = [
        left_of("day", 3, 3600),
        left_of("minute", 1, 60),
        left_of("second", 2, 5),
    ];
    client.hears(1, 0, &limits, &[]);
    client.sends(1, 0);
    assert_eq!(client.turn(0), client.waits_until(60_000));
    let limits = [left_of("day", 0, 3600), left_of("minute", 0, 60)];
    client.hears(2, 0, &limits, &[]);
    assert_eq!(client.turn(0), client.waits_until(3_600_000));
}

#[test]
fn an_answer_to_an_older_request_says_nothing_new() {
    let mut client = Client::new();
    client.sends(3, 0);
    client.hears(3, 100, &[left(2, 10)], &[policy(5, 10)]);
    client.hears(1, 200, &[left(4, 30)], &[policy(5, 10)]);
    assert_eq!(client.may_send(200), 2);
    client.sends(2, 200);
    assert_eq!(client.turn(200), client.waits_until(10_100));
}

#[test]
fn of_several_answers_about_one_reset_the_earliest_time_counts() {
    let mut client = Client::new();
    client.sends(3, 0);
    // All mean 9.9 s, rounded up to whole seconds.
    client.hears(1, 0, &[left(2, 10)], &[policy(3, 10)]);
    client.hears(2, 800, &[left(1, 10)], &[policy(3, 10)]);
    client.hears(3, 950, &[left(0, 9)], &[policy(3, 10)]);
    assert_eq!(client.turn(950), client.waits_until(9_950));
}

#[test]
fn a_later_reset_is_another_one() {
    let mut client = Client::new();
    client.sends(2, 0);
    client.hears(1, 0, &[left(1, 10)], &[policy(3, 10)]);
    client.hears(2, 1_600, &[left(0, 10)], &[policy(3, 10)]);
    assert_eq!(client.turn(1_600), client.waits_until(11_600));
}

#[test]
fn more_names_than_eight_are_not_remembered() {
    let mut client = Client::new();
    client.sends(1, 0);
    let limits: Vec<_> = (0..20)
        .map(|name| left_of(&name.to_string(), 5 + name, 10))
        .collect();
    client.hears(1, 0, &limits, &[]);
    assert_eq!(client.told.policies.len(), 8);
    client.hears(1, 0, &[left_of("another", 0, 10)], &[]);
    assert_eq!(client.may_send(0), 5);
    client.hears(1, 0, &[left_of("7", 2, 10)], &[]);
    assert_eq!(client.may_send(0), 2);
}

// ===== silence =====

#[test]
fn a_policy_of_which_nothing_is_said_after_its_reset_is_forgotten() {
    let mut client = Client::told(left(0, 10), None);
    client.sends(1, 10_000);
    client.hears(2, 10_100, &[], &[]);
    assert_eq!(client.may_send(10_100), 1000);
}

#[test]
fn silence_before_the_reset_and_of_older_requests_changes_nothing() {
    let mut client = Client::new();
    client.sends(2, 0);
    client.hears(2, 0, &[left(1, 10)], &[policy(5, 10)]);
    client.hears(1, 20_000, &[], &[]);
    assert_eq!(client.told.policies.len(), 1);
    client.sends(1, 500);
    client.hears(3, 600, &[], &[]);
    assert_eq!(client.turn(600), client.waits_until(10_000));
}

// ===== buckets =====

/// A bucket of ten that fills up in ten seconds, and has one left; it has shown what it is.
fn bucket() -> Client {
    let mut client = Client::told(left(1, 9), Some(policy(10, 10)));
    client.sends(1, 1_000);
    client.hears(2, 1_000, &[left(1, 9)], &[policy(10, 10)]);
    client
}

#[test]
fn a_quota_that_has_as_much_left_after_a_request_fills_up_steadily() {
    let mut client = bucket();
    client.sends(1, 1_000);
    assert_eq!(client.turn(1_000), client.waits_until(2_000));
    client.sends(1, 2_000);
    assert_eq!(client.turn(2_000), client.waits_until(3_000));
}

#[test]
fn a_quota_that_has_less_left_or_was_reset_does_not_fill_up() {
    let mut client = Client::told(left(2, 9), Some(policy(10, 10)));
    client.sends(1, 1_000);
    client.hears(2, 1_000, &[left(1, 8)], &[policy(10, 10)]);
    client.sends(1, 9_000);
    client.hears(3, 9_000, &[left(1, 10)], &[policy(10, 10)]);
    client.sends(1, 9_000);
    assert_eq!(client.turn(9_000), client.waits_until(19_000));
}

#[test]
fn answers_to_requests_sent_together_do_not_show_that_a_quota_fills_up() {
    let mut client = Client::new();
    client.sends(2, 0);
    client.hears(1, 100, &[left(0, 10)], &[policy(2, 10)]);
    client.hears(2, 200, &[left(1, 10)], &[policy(2, 10)]);
    client.sends(1, 200);
    assert_eq!(client.turn(200), client.waits_until(10_100));
}

#[test]
fn a_refusal_of_one_that_was_sent_though_nothing_was_left_shows_a_window_for_good() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.sends(1, 2_000);
    client.told.refused(4);
    assert_eq!(client.turn(2_000), client.waits_until(10_000));
    client.sends(10, 10_000);
    for number in [5, 6] {
        client.hears(number, 10_000, &[left(9, 10)], &[policy(10, 10)]);
    }
    let known = client.told.policies[0].steady;
    assert_eq!(known, Some(false));
}

#[test]
fn a_refusal_of_one_that_was_left_does_not_show_a_window() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.told.refused(3);
    client.sends(1, 2_000);
    assert_eq!(client.turn(2_000), client.waits_until(3_000));
}

#[test]
fn a_rate_a_second_is_taken_for_a_bucket_until_it_refuses() {
    for window in [1, 2] {
        let mut client = Client::told(left(1, 1), Some(policy(20, window)));
        let gap = 50 * window;
        client.sends(1, 0);
        assert_eq!(client.turn(0), client.waits_until(gap));
        client.sends(1, gap);
        assert_eq!(client.turn(gap), client.waits_until(2 * gap));
        client.told.refused(3);
        assert_eq!(client.turn(gap), client.waits_until(1_000));
    }
    let mut client = Client::told(left(1, 1), Some(policy(20, 3)));
    client.sends(1, 0);
    assert_eq!(client.turn(0), client.waits_until(1_000));
}

#[test]
fn a_bucket_that_is_full_again_is_asked_how_much_that_is_by_one_request() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.sends(1, 60_000);
    assert_eq!(client.turn(60_000), client.waits_until(61_000));
    client.hears(4, 60_100, &[left(9, 1)], &[policy(10, 10)]);
    assert_eq!(client.may_send(60_100), 9);
}

// ===== whether to go by it alone =====

#[test]
fn fields_that_tell_all_are_enough_by_themselves() {
    assert!(!Told::default().guides(0));
    let client = Client::told(left(2, 10), Some(policy(5, 10)));
    assert!(client.told.guides(1));
    for policy in [
        None,
        Some(RateLimitPolicy {
            window: None,
            ..policy(5, 0)
        }),
    ] {
        assert!(!Client::told(left(2, 10), policy).told.guides(1));
    }
    let mut client = Client::new();
    client.sends(1, 0);
    client.hears(
        1,
        0,
        &[left(2, 10), left_of("other", 2, 10)],
        &[policy(5, 10)],
    );
    assert!(!client.told.guides(1));
}

#[test]
fn fields_that_mislead_are_no_longer_enough_but_for_one_lie_in_two_hundred() {
    let mut client = Client::told(left(5, 10), Some(policy(5, 10)));
    client.sends(3, 0);
    client.told.refused(2);
    assert!(client.told.guides(4));
    client.told.refused(3);
    assert!(!client.told.guides(4));
    assert!(!client.told.guides(199));
    assert!(client.told.guides(200));
    client.told.refused(4);
    assert!(!client.told.guides(399));
}

#[test]
fn a_refusal_of_what_was_not_left_is_no_lie() {
    let mut client = Client::new();
    client.sends(9, 0);
    client.hears(
        1,
        0,
        &[left(3, 10), left_of("other", 100, 10)],
        &[policy(5, 10)],
    );
    (5..=9).for_each(|number| client.told.refused(number));
    assert_eq!(client.told.misled, 0);
    // Nor is one that was answered before.
    client.told.refused(1);
    assert_eq!(client.told.misled, 0);
    client.told.refused(4);
    assert_eq!(client.told.misled, 1);
}

// ===== any order =====

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_said_a_wait_has_an_end(
        steps in prop::collection::vec(
            (0..6_u8, 0..20_u64, any_number(), any_number(), any_number()),
            1..100,
        ),
    ) {
        let (mut told, mut now, mut sent) = (Told::default(), time::now(), 0);
        for (step, which, remaining, reset, window) in steps {
            now += Duration::from_millis(reset % 3000);
            match told.turn(sent + 1, now) {
                Turn::At(at) => prop_assert!(at > now),
                Turn::Go | Turn::AfterAnswer if step < 3 => {
                    sent += 1;
                    told.sent(sent, now);
                }
                Turn::Go | Turn::AfterAnswer => {}
            }
            let number = sent.saturating_sub(which);
            match step {
                3 => told.lost(),
                4 => told.refused(number),
                5 => told.let_through(number, now),
                _ => {
                    let (limits, policies) = ([left(remaining, reset)], [policy(which, window)]);
                    told.answered(number, sent, &limits, &policies, now);
                }
            }
        }
    }
}

/// As large as structured fields have them.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, 0..100_u64, Just(999_999_999_999_999)]
}
