use proptest::prelude::*;

use super::*;

/// One that sends requests and hears of them; times are milliseconds.
struct Client {
    told: Told,
    requests: Vec<Numbered>,
    start: Instant,
}

impl Client {
    fn new() -> Self {
        Self {
            told: Told::default(),
            requests: Vec::new(),
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

    fn sent(&self) -> u64 {
        self.requests.len() as u64
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// What the next request is told.
    fn turn(&mut self, millis: u64) -> Turn {
        self.told.turn(self.sent() + 1, self.at(millis))
    }

    /// How many may be sent at once; none of them is.
    fn may_send(&mut self, millis: u64) -> u64 {
        let (now, sent) = (self.at(millis), self.sent());
        let told = &mut self.told;
        let go = (1..=1000).take_while(|next| told.turn(sent + next, now) == Turn::Go);
        go.count() as u64
    }

    fn sends(&mut self, requests: u64, millis: u64) {
        for _ in 0..requests {
            assert_eq!(self.turn(millis), Turn::Go);
            let sent = self.told.sent(self.sent() + 1, self.at(millis));
            self.requests.push(sent);
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
        self.is_told(number, millis, limits, policies);
        self.told.let_through(number, self.at(millis));
    }

    /// The answer to the `number`th says this.
    fn is_told(
        &mut self,
        number: u64,
        millis: u64,
        limits: &[RateLimit],
        policies: &[RateLimitPolicy],
    ) {
        let request = self.requests.get(number as usize - 1).copied();
        let (now, sent) = (self.at(millis), self.sent());
        self.told.answered(request, sent, limits, policies, now);
    }

    /// The `number`th was refused, and its answer says nothing.
    fn is_refused(&mut self, number: u64, millis: u64) {
        let request = self.requests[number as usize - 1];
        self.told.refused(request, self.sent(), self.at(millis));
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
    client.told.lost(2);
    client.sends(1, 10_000);
    assert_eq!(client.turn(10_000), Turn::AfterAnswer);
    client.is_refused(3, 10_000);
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

#[test]
fn requests_whose_answers_take_long_are_counted_in_the_window_they_were_sent_in() {
    let mut client = Client::told(left(9, 10), Some(policy(10, 10)));
    client.sends(9, 0);
    // Nine hang, and one that is sent late may still be counted in the next window.
    client.sends(9, 10_000);
    client.hears(11, 10_100, &[left(0, 10)], &[policy(10, 10)]);
    (12..=19).for_each(|number| client.hears(number, 10_100, &[left(1, 10)], &[policy(10, 10)]));
    client.sends(9, 20_100);
    (20..=28).for_each(|number| client.hears(number, 20_100, &[left(1, 2)], &[policy(10, 10)]));
    client.sends(1, 22_000);
    assert_eq!(client.may_send(22_100), 9);
}

#[test]
fn what_was_left_in_the_window_before_says_nothing_of_this_one() {
    let mut client = Client::told(left(1, 10), Some(policy(5, 10)));
    client.sends(1, 9_900);
    // It may have been counted in this one.
    assert_eq!(client.may_send(10_000), 4);
    client.hears(2, 10_100, &[left(0, 1)], &[policy(5, 10)]);
    assert_eq!(client.may_send(10_100), 5);
}

#[test]
fn a_server_may_reset_sooner_than_it_said() {
    let mut client = Client::told(left(0, 10), Some(policy(5, 10)));
    client.sends(1, 10_000);
    client.hears(2, 10_100, &[left(2, 3)], &[policy(5, 10)]);
    client.sends(2, 10_100);
    assert_eq!(client.turn(10_100), client.waits_until(13_100));
}

#[test]
fn what_is_left_after_a_later_request_counts_though_it_is_more() {
    let mut client = Client::told(left(1, 10), None);
    client.sends(1, 100);
    client.hears(2, 200, &[left(3, 10)], &[]);
    assert_eq!(client.may_send(200), 3);
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
    client.hears(1, 200, &[left(4, 10)], &[policy(5, 10)]);
    client.hears(2, 200, &[left(3, 10)], &[policy(5, 10)]);
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
    client.sends(3, 0);
    let limits: Vec<_> = (0..20)
        .map(|name| left_of(&name.to_string(), 5 + name, 10))
        .collect();
    client.hears(1, 0, &limits, &[]);
    assert_eq!(client.told.policies.len(), 8);
    client.hears(2, 0, &[left_of("another", 0, 10)], &[]);
    assert_eq!(client.may_send(0), 4);
    client.hears(3, 0, &[left_of("7", 2, 10)], &[]);
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

#[test]
fn a_silent_answer_was_not_counted_if_the_next_one_has_as_much_left_as_without_it() {
    let mut client = Client::told(left(5, 10), Some(policy(6, 10)));
    client.sends(2, 100);
    client.hears(2, 200, &[], &[]);
    assert_eq!(client.may_send(200), 3);
    client.hears(3, 200, &[left(4, 10)], &[policy(6, 10)]);
    assert_eq!(client.may_send(200), 4);
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
    assert_eq!(client.turn(200), client.waits_until(10_100));
}

#[test]
fn a_refused_request_does_not_show_that_a_quota_fills_up() {
    let policies = [policy(10, 10)];
    let mut client = Client::told(left(7, 9), Some(policies[0].clone()));
    client.sends(1, 0);
    // Others have used up the rest.
    client.hears(2, 100, &[left(0, 9)], &policies);
    client.requests.push(client.told.sent(3, client.at(1_000)));
    client.is_told(3, 1_000, &[left(0, 9)], &policies);
    client.is_refused(3, 1_000);
    assert_eq!(client.turn(1_000), client.waits_until(9_000));
}

#[test]
fn what_others_have_used_up_of_a_bucket_is_gone() {
    let mut client = Client::told(left(9, 1), Some(policy(10, 1)));
    client.sends(1, 10);
    client.hears(2, 20, &[left(0, 1)], &[policy(10, 1)]);
    // One at most was gained since it was counted.
    assert_eq!(client.may_send(20), 1);
}

/// A bucket of so many that fills up by one a second, has shown what it is, and is empty at 2,000;
/// two have been answered.
fn empty_bucket(quota: u64) -> Client {
    let (told, policies) = ([left(quota - 1, quota)], [policy(quota, quota)]);
    let mut client = Client::told(told[0].clone(), Some(policies[0].clone()));
    client.sends(1, 2_000);
    client.hears(2, 2_000, &told, &policies);
    client.sends(quota - 1, 2_000);
    assert_eq!(client.turn(2_000), client.waits_until(3_000));
    client
}

#[test]
fn after_a_refusal_some_of_a_bucket_is_kept_back_and_then_it_is_taken_for_a_window() {
    let mut client = empty_bucket(4);
    client.sends(1, 3_000);
    client.is_refused(6, 3_000);
    (3..=5).for_each(|number| client.hears(number, 3_000, &[left(0, 4)], &[policy(4, 4)]));
    assert_eq!(client.turn(3_000), client.waits_until(5_000));
    client.sends(1, 5_000);
    // A quarter is the most.
    client.is_refused(7, 5_000);
    assert_eq!(client.turn(5_000), client.waits_until(6_000));
    assert!(!client.told.policies[0].is_steady());
}

#[test]
fn requests_refused_together_count_as_one_refusal() {
    let mut client = empty_bucket(8);
    client.sends(1, 3_000);
    client.sends(1, 4_000);
    client.is_refused(10, 4_000);
    client.is_refused(11, 4_000);
    (3..=9).for_each(|number| client.hears(number, 4_000, &[left(0, 8)], &[policy(8, 8)]));
    assert_eq!(client.turn(4_000), client.waits_until(6_000));
    client.sends(1, 6_000);
    client.is_refused(12, 6_000);
    assert!(client.told.policies[0].is_steady());
}

#[test]
fn after_a_reset_a_window_is_whole_or_there_is_none() {
    for (remaining, is_steady) in [(0, true), (19, false)] {
        let mut client = Client::told(left(0, 1), Some(policy(20, 1)));
        client.sends(1, 50);
        client.is_refused(2, 50);
        client.sends(1, 1_000);
        assert!(!client.told.policies[0].is_steady());
        client.hears(3, 1_050, &[left(remaining, 1)], &[policy(20, 1)]);
        assert_eq!(client.told.policies[0].is_steady(), is_steady);
    }
}

#[test]
fn of_requests_refused_together_the_second_does_not_change_what_the_first_has_shown() {
    let mut client = Client::told(left(0, 1), Some(policy(20, 1)));
    client.sends(1, 50);
    client.is_refused(2, 50);
    client.sends(1, 1_000);
    client.hears(3, 1_000, &[left(0, 1)], &[policy(20, 1)]);
    client.sends(1, 1_050);
    client.sends(1, 1_100);
    client.is_refused(4, 1_150);
    client.is_refused(5, 1_150);
    assert!(!client.told.policies[0].is_steady());
}

#[test]
fn what_was_taken_for_a_window_is_seen_to_fill_up_all_the_same() {
    let mut client = bucket();
    client.told.policies[0].kind = Some(Kind::Window);
    client.sends(1, 1_000);
    assert_eq!(client.turn(1_000), client.waits_until(9_000));
    client.sends(2, 9_000);
    client.hears(4, 9_000, &[left(8, 9)], &[policy(10, 10)]);
    client.hears(5, 9_000, &[left(7, 9)], &[policy(10, 10)]);
    client.sends(1, 12_000);
    client.hears(6, 12_000, &[left(8, 9)], &[policy(10, 10)]);
    assert!(client.told.policies[0].is_steady());
}

#[test]
fn a_refusal_of_one_that_was_left_does_not_show_a_window() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.is_refused(3, 1_000);
    client.sends(1, 2_000);
    assert_eq!(client.turn(2_000), client.waits_until(3_000));
}

#[test]
fn a_bucket_that_has_shown_that_it_fills_up_keeps_nothing_back_for_others() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.sends(1, 2_000);
    client.hears(4, 2_000, &[left(5, 5)], &[policy(10, 10)]);
    client.sends(1, 2_000);
    client.is_refused(5, 2_000);
    // Four have ended, and one is under way.
    assert_eq!(client.turn(2_000), client.waits_until(4_000));
}

#[test]
fn a_rate_a_second_is_taken_for_a_bucket_until_it_refuses() {
    for window in [1, 2] {
        let mut client = Client::told(left(0, 1), Some(policy(20, window)));
        let gap = 50 * window;
        assert_eq!(client.turn(0), client.waits_until(gap));
        client.sends(1, gap);
        assert_eq!(client.turn(gap), client.waits_until(2 * gap));
        client.is_refused(2, gap);
        assert_eq!(client.turn(gap), client.waits_until(1_000));
    }
    let mut client = Client::told(left(1, 1), Some(policy(20, 3)));
    client.sends(1, 0);
    assert_eq!(client.turn(0), client.waits_until(1_000));
}

/// A client of a server that has four in each second and says so, what it let through in so many seconds, and
/// how often it refused. `others` use so many of the four.
fn used_of_four_a_second(seconds: u64, others: u64) -> (Client, u64, u64) {
    let policies = [policy(4, 1)];
    let mut client = Client::told(left(3 - others, 1), Some(policy(4, 1)));
    let (mut second, mut used, mut refused, mut closed_until) = (0, others + 1, 0, 0);
    let mut let_through = 0;
    for now in (0..1_000 * seconds).step_by(10) {
        if (now + 300) / 1_000 > second {
            (second, used) = ((now + 300) / 1_000, others);
        }
        while now >= closed_until && client.turn(now) == Turn::Go {
            client.sends(1, now);
            let number = client.sent();
            if used < 4 {
                (used, let_through) = (used + 1, let_through + 1);
                client.hears(number, now, &[left(4 - used, 1)], &policies);
            } else {
                refused += 1;
                client.is_refused(number, now);
                // What it says, and what is learned beside it, is another matter.
                closed_until = now + 1_000;
            }
        }
    }
    (client, let_through, refused)
}

#[test]
fn a_rate_a_second_that_is_a_window_refuses_three_times_and_is_used_evenly_from_then_on() {
    let (client, let_through, refused) = used_of_four_a_second(60, 0);
    assert!(
        let_through >= 4 * 57 && refused <= 3,
        "{let_through} {refused}"
    );
    assert_eq!(client.told.policies[0].kind, Some(Kind::ShortWindow));
}

#[test]
fn refusals_of_one_belief_show_a_window_of_a_second_once() {
    let mut client = Client::told(left(3, 1), Some(policy(4, 1)));
    client.sends(3, 0);
    for millis in [250, 500, 750] {
        client.sends(1, millis);
    }
    client.is_refused(6, 800);
    client.is_refused(7, 850);
    assert_eq!(client.told.policies[0].kind, None);
    // Who was refused has used up nothing.
    let second = Duration::from_secs(1);
    assert_eq!(client.told.recent.before(8, client.at(900), second), 4);
}

#[test]
fn where_others_use_it_a_window_of_a_second_is_not_taken_to_be_ours_alone() {
    let (client, ..) = used_of_four_a_second(60, 1);
    assert_ne!(client.told.policies[0].kind, Some(Kind::ShortWindow));
}

#[test]
fn a_refusal_after_the_reset_of_a_rate_a_second_shows_that_there_is_none() {
    let mut client = Client::told(left(4, 1), Some(policy(20, 1)));
    client.told.policies[0].kind = Some(Kind::Window);
    client.sends(4, 0);
    assert_eq!(client.turn(0), client.waits_until(1_000));
    // No more than it was seen to hold, for all that is left of four under way.
    (2..=5).for_each(|number| client.hears(number, 500, &[left(5 - number, 1)], &[policy(20, 1)]));
    client.sends(5, 1_000);
    assert_eq!(client.turn(1_000), client.waits_until(2_000));
    client.is_refused(8, 1_000);
    assert!(client.told.policies[0].is_steady());
}

#[test]
fn a_bucket_that_is_full_again_holds_what_it_was_seen_to_hold_until_it_says_more() {
    let mut client = bucket();
    client.sends(1, 1_000);
    client.hears(3, 1_000, &[left(0, 10)], &[policy(10, 10)]);
    client.sends(2, 60_000);
    assert_eq!(client.turn(60_000), client.waits_until(61_000));
    client.hears(4, 60_100, &[left(9, 1)], &[policy(10, 10)]);
    assert_eq!(client.may_send(60_100), 8);
    client.sends(1, 200_000);
    assert_eq!(client.may_send(200_000), 9);
}

#[test]
fn where_requests_went_unseen_before_they_come_off_what_is_left() {
    let mut client = Client::new();
    let (now, policies) = (client.at(0), [policy(20, 1)]);
    let unseen = |client: &mut Client, remaining| {
        let sent = client.sent();
        client
            .told
            .answered(None, sent, &[left(remaining, 1)], &policies, now);
    };
    unseen(&mut client, 19);
    client.sends(5, 0);
    // In whichever order.
    unseen(&mut client, 10);
    unseen(&mut client, 17);
    assert_eq!(client.may_send(0), 5);
}

// ===== whether to go by it alone =====

#[test]
fn fields_that_tell_all_are_enough_by_themselves() {
    assert!(!Told::default().guides());
    let client = Client::told(left(2, 10), Some(policy(5, 10)));
    assert!(client.told.guides());
    for policy in [
        None,
        Some(RateLimitPolicy {
            window: None,
            ..policy(5, 0)
        }),
    ] {
        assert!(!Client::told(left(2, 10), policy).told.guides());
    }
    let mut client = Client::new();
    client.sends(1, 0);
    client.hears(
        1,
        0,
        &[left(2, 10), left_of("other", 2, 10)],
        &[policy(5, 10)],
    );
    assert!(!client.told.guides());
}

#[test]
fn fields_that_mislead_are_no_longer_enough_but_for_one_lie_in_two_hundred_let_through() {
    let mut client = Client::told(left(2000, 1000), Some(policy(2000, 1000)));
    let lie = |client: &mut Client| {
        client.sends(1, 0);
        client.is_refused(client.sent(), 0);
    };
    lie(&mut client);
    assert!(client.told.guides());
    lie(&mut client);
    assert!(!client.told.guides());
    for number in 4..=202 {
        assert!(!client.told.guides());
        client.sends(1, 0);
        client.hears(number, 0, &[], &[]);
    }
    assert!(client.told.guides());
    lie(&mut client);
    assert!(!client.told.guides());
}

// As it does where it shares the quota with others, each of which would have what is left.
#[test]
fn a_refusal_that_says_itself_that_nothing_is_left_was_a_lie_of_the_answers_before() {
    let mut client = Client::told(left(9, 10), Some(policy(10, 10)));
    for (number, millis) in [(2, 0), (3, 12_000)] {
        client.sends(1, millis);
        client.is_told(number, millis, &[left(0, 10)], &[policy(10, 10)]);
        client.is_refused(number, millis);
    }
    assert!(!client.told.guides());
}

#[test]
fn many_refusals_in_one_belief_are_one_lie() {
    let mut client = Client::told(left(9, 10), Some(policy(10, 10)));
    client.sends(9, 0);
    (2..=10).for_each(|number| client.is_refused(number, 0));
    assert_eq!(client.told.misled, 1);
}

#[test]
fn a_bucket_that_refuses_what_it_should_have_gained_is_a_lie() {
    let mut client = Client::told(left(0, 1), Some(policy(10, 1)));
    assert!(client.told.policies[0].is_steady());
    client.sends(1, 500);
    client.is_refused(2, 500);
    assert_eq!(client.told.misled, 1);
}

#[test]
fn a_refusal_of_what_was_not_left_is_no_lie() {
    // Sent before anything was said.
    let mut client = Client::new();
    client.sends(9, 0);
    client.hears(1, 0, &[left(100, 10)], &[policy(5, 10)]);
    client.is_refused(5, 0);
    assert_eq!(client.told.misled, 0);
    // Sent to ask how much there is.
    let mut client = Client::told(left(0, 10), None);
    client.sends(1, 12_000);
    client.is_refused(2, 12_000);
    assert_eq!(client.told.misled, 0);
}

// ===== any order =====

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // The server decides in one order, and its answers come in another.
    #[test]
    fn in_whichever_order_requests_are_decided_on_no_more_are_sent_than_are_left_and_no_less(
        quota in 1..30_u64,
        window in prop_oneof![Just(1_u64), Just(60)],
        at_once in 1..10_usize,
        choices in prop::collection::vec((0..100_usize, prop::bool::ANY), 200..201),
    ) {
        let mut client = Client::new();
        let (mut arriving, mut answers, mut remaining) = (Vec::new(), Vec::new(), quota);
        // As many as there are to begin with; nobody has told anything.
        let first = at_once.min(quota as usize) as u64;
        client.sends(first, 0);
        arriving.extend(1..=first);
        for (choice, is_answer) in choices {
            if is_answer && !answers.is_empty() {
                let (number, remaining) = answers.swap_remove(choice % answers.len());
                client.hears(number, 0, &[left(remaining, window)], &[policy(quota, window)]);
                while arriving.len() + answers.len() < at_once && client.turn(0) == Turn::Go {
                    client.sends(1, 0);
                    arriving.push(client.sent());
                }
            } else if !arriving.is_empty() {
                let number = arriving.swap_remove(choice % arriving.len());
                prop_assert!(remaining > 0, "one too many");
                remaining -= 1;
                answers.push((number, remaining));
            }
        }
        prop_assert!(client.sent() <= quota);
        if arriving.is_empty() && answers.is_empty() {
            prop_assert_eq!(client.sent(), quota);
        }
    }

    #[test]
    fn whatever_is_said_a_wait_has_an_end(
        steps in prop::collection::vec(
            (0..6_u8, 0..20_u64, any_number(), any_number(), any_number()),
            1..100,
        ),
    ) {
        let (mut told, mut now, mut requests) = (Told::default(), time::now(), Vec::new());
        for (step, which, remaining, reset, window) in steps {
            now += Duration::from_millis(reset % 3000);
            let sent = requests.len() as u64;
            match told.turn(sent + 1, now) {
                Turn::At(at) => prop_assert!(at > now),
                Turn::Go | Turn::AfterAnswer if step < 3 => {
                    requests.push(told.sent(sent + 1, now));
                }
                Turn::Go | Turn::AfterAnswer => {}
            }
            let number = sent.saturating_sub(which);
            let request = requests.get(number.wrapping_sub(1) as usize).copied();
            match (step, request) {
                (3, _) => told.lost(number),
                (4, Some(request)) => told.refused(request, sent, now),
                (5, _) => told.let_through(number, now),
                _ => {
                    let (limits, policies) = ([left(remaining, reset)], [policy(which, window)]);
                    told.answered(request, sent, &limits, &policies, now);
                }
            }
        }
    }
}

/// As large as structured fields have them.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, 0..100_u64, Just(999_999_999_999_999)]
}
