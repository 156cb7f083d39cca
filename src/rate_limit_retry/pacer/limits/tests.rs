use proptest::prelude::*;

use super::*;
use crate::header::QuotaUnit;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn learning(now: Instant) -> Limits {
    Limits::new(Learning::On, [], None, now)
}

fn hint(seconds: u32) -> Pause {
    Pause::Hint(seconds * SECOND)
}

/// Sends so many, as soon as they may.
fn send(limits: &mut Limits, requests: usize, now: Instant) -> Vec<Ticket> {
    let sent = (0..requests).map(|_| {
        assert_eq!(limits.turn(now), Turn::Go);
        limits.sent(true, now)
    });
    sent.collect()
}

/// Limits that were seen to let through twenty a second, with nothing under way; and the time.
fn twenty_a_second() -> (Limits, Instant) {
    let mut now = time::now();
    let mut limits = learning(now);
    for _ in 0..2 {
        let last = limits.sent(true, now);
        limits.refused(Some(last), hint(1), now);
        now += SECOND;
        assert_eq!(limits.turn(now), Turn::Go);
        for _ in 0..100 {
            let ticket = limits.sent(true, now);
            now += SECOND / 20;
            limits.let_through(ticket, now);
        }
    }
    let last = limits.sent(true, now);
    limits.refused(Some(last), hint(1), now);
    (limits, now)
}

fn left(remaining: u64, reset: u64) -> RateLimit {
    RateLimit {
        policy: "default".to_owned(),
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

// ===== turns =====

#[test]
fn a_turn_is_given_back_however_a_request_ends() {
    let now = time::now();
    let mut limits = Limits::new(Learning::Off, [], Some(3), now);
    let sent = send(&mut limits, 3, now);
    assert!(limits.is_in_use());
    assert_eq!(limits.turn(now), Turn::AfterAnswer);
    limits.let_through(sent[0], now);
    let again = send(&mut limits, 1, now);
    assert_eq!(limits.turn(now), Turn::AfterAnswer);
    limits.lost(again[0]);
    let again = send(&mut limits, 1, now);
    limits.refused(Some(again[0]), hint(5), now);
    assert_eq!(limits.turn(now), Turn::At(now + 5 * SECOND));
    send(&mut limits, 1, now + 5 * SECOND);
    assert_eq!(limits.turn(now + 5 * SECOND), Turn::AfterAnswer);
    assert_eq!(limits.under_way(), 3);
}

#[test]
fn of_all_limits_the_latest_holds() {
    let now = time::now();
    let quotas = [Quota::per_minute(2), Quota::per_hour(3)];
    let mut limits = Limits::new(Learning::On, quotas, Some(2), now);
    let sent = send(&mut limits, 2, now);
    // The quota, though one would have to be answered, too.
    assert_eq!(limits.turn(now), Turn::At(now + 60 * SECOND));
    limits.let_through(sent[0], now);
    limits.refused(Some(sent[1]), hint(5), now);
    assert_eq!(limits.turn(now), Turn::At(now + 5 * SECOND));
    assert_eq!(limits.turn(now + 5 * SECOND), Turn::At(now + 60 * SECOND));
    let later = now + 60 * SECOND;
    let sent = send(&mut limits, 1, later);
    assert_eq!(limits.turn(later), Turn::At(now + HOUR));
    limits.told(Some(sent[0]), &[left(0, 7200)], &[], later);
    assert_eq!(limits.turn(later), Turn::At(later + 2 * HOUR));
}

#[test]
fn who_is_last_under_way_is_not_waited_for_when_it_is_gone() {
    let start = time::now();
    let at = |tenths| start + SECOND / 10 * tenths;
    let mut limits = learning(start);
    let sent = send(&mut limits, 2, start);
    // Both mean the same reset, and the second reaches further.
    limits.told(Some(sent[0]), &[left(1, 10)], &[], start);
    limits.told(Some(sent[1]), &[left(0, 10)], &[], at(9));
    sent.iter()
        .for_each(|ticket| limits.let_through(*ticket, at(9)));
    let asks = send(&mut limits, 1, at(102));
    assert_eq!(limits.turn(at(103)), Turn::AfterAnswer);
    limits.let_through(asks[0], at(105));
    assert_eq!(limits.under_way(), 0);
    assert_eq!(limits.turn(at(105)), Turn::Go);
}

#[test]
fn answers_to_what_was_sent_unseen_do_not_make_a_window_look_like_a_bucket() {
    let start = time::now();
    let (mut limits, policies) = (learning(start), [policy(2, 10)]);
    // Two that nobody counted; the answer to the first lets another go, which is one too many.
    limits.told(None, &[left(1, 10)], &policies, start);
    let sent = send(&mut limits, 1, start);
    limits.told(None, &[left(0, 10)], &policies, start);
    let refused = start + SECOND;
    limits.told(Some(sent[0]), &[left(0, 9)], &policies, refused);
    limits.refused(Some(sent[0]), hint(9), refused);
    // In the next window both go at once.
    let next = start + 10 * SECOND;
    send(&mut limits, 2, next);
    assert_eq!(limits.turn(next), Turn::At(next + 10 * SECOND));
}

#[test]
fn answers_that_overtake_each_other_let_no_more_through_than_are_left() {
    let now = time::now();
    for (window, opens) in [(60, 60 * SECOND), (1, SECOND / 20)] {
        let policies = [policy(20, window)];
        let mut limits = Limits::new(Learning::Gentle(8), [], None, now);
        let sent = send(&mut limits, 8, now);
        // The last of them was the first to arrive, and is the first to be answered.
        limits.told(Some(sent[7]), &[left(19, window)], &policies, now);
        limits.let_through(sent[7], now);
        send(&mut limits, 12, now);
        assert_eq!(limits.turn(now), Turn::At(now + opens));
    }
}

#[test]
fn a_refusal_does_not_make_a_bucket_a_window_for_good() {
    let start = time::now();
    let policies = [policy(20, 1)];
    let mut limits = learning(start);
    // Others have emptied it.
    limits.told(None, &[left(0, 1)], &policies, start);
    let first = start + SECOND / 20;
    let sent = send(&mut limits, 1, first);
    limits.told(Some(sent[0]), &[left(0, 1)], &policies, first);
    limits.refused(Some(sent[0]), hint(1), first);
    // After a second it holds no more than one, which no window of twenty does.
    let second = first + SECOND;
    let sent = send(&mut limits, 1, second);
    assert_eq!(limits.turn(second), Turn::At(second + SECOND));
    limits.told(Some(sent[0]), &[left(0, 1)], &policies, second);
    limits.let_through(sent[0], second);
    assert_eq!(limits.turn(second), Turn::At(second + SECOND / 20));
}

#[test]
fn whether_a_lost_request_was_counted_the_next_answer_says() {
    let now = time::now();
    for (remaining, more) in [(2, 2), (3, 3)] {
        let mut limits = learning(now);
        let sent = send(&mut limits, 3, now);
        limits.told(Some(sent[0]), &[left(4, 60)], &[policy(5, 60)], now);
        limits.let_through(sent[0], now);
        limits.lost(sent[1]);
        limits.told(Some(sent[2]), &[left(remaining, 60)], &[policy(5, 60)], now);
        limits.let_through(sent[2], now);
        send(&mut limits, more, now);
        assert_eq!(limits.turn(now), Turn::At(now + 60 * SECOND));
    }
}

#[test]
fn a_server_that_tells_all_is_believed_more_than_what_was_learnt() {
    let now = time::now();
    for (policies, at_once) in [(vec![policy(9, 10)], 5), (vec![], 1)] {
        let mut limits = Limits::new(Learning::Gentle(1), [], None, now);
        limits.told(None, &[left(5, 10)], &policies, now);
        send(&mut limits, at_once, now);
        assert_ne!(limits.turn(now), Turn::Go);
    }
}

// ===== pauses =====

#[test]
fn without_learning_all_go_at_the_end_of_a_pause() {
    let now = time::now();
    let mut limits = Limits::new(Learning::Off, [], None, now);
    let sent = send(&mut limits, 1, now);
    limits.refused(Some(sent[0]), hint(30), now);
    assert_eq!(limits.turn(now), Turn::At(now + 30 * SECOND));
    send(&mut limits, 1000, now + 30 * SECOND);
    assert_eq!(limits.estimate(), None);
}

// A classifier may say so. The limit never opened, and the refused one kept its place.
#[test]
fn a_pause_of_nothing_is_an_opening_as_well() {
    let now = time::now();
    let mut limits = Limits::new(Learning::On, [], None, now);
    let first = limits.sent(false, now);
    limits.refused(Some(first), hint(0), now);
    for _ in 0..4 {
        assert_eq!(limits.turn(now), Turn::Go);
        limits.sent(true, now);
    }
    assert!(matches!(limits.turn(now), Turn::At(at) if at > now));
}

#[test]
fn a_shorter_pause_does_not_end_a_longer_one() {
    let now = time::now();
    let mut limits = learning(now);
    let sent = send(&mut limits, 2, now);
    limits.refused(Some(sent[0]), hint(9), now);
    limits.refused(Some(sent[1]), hint(2), now);
    limits.refused(None, hint(3), now);
    assert_eq!(limits.closed_until(now), Some(now + 9 * SECOND));
    assert_eq!(limits.closed_until(now + 9 * SECOND), None);
    assert_eq!(limits.refusals(), 3);
}

#[test]
fn a_limit_is_spent_until_what_is_left_of_the_pause_can_be_waited_for() {
    let now = time::now();
    let mut limits = learning(now);
    assert_eq!(limits.spent_until(now), None);
    limits.spent(HOUR, 300 * SECOND, now);
    limits.spent(HOUR / 2, 300 * SECOND, now);
    let (over, soon) = (now + HOUR, now + HOUR - 300 * SECOND);
    assert_eq!(limits.spent_until(soon - SECOND), Some(over));
    assert_eq!(limits.spent_until(soon), None);
    assert_eq!(limits.turn(soon), Turn::At(over));
    assert_eq!(limits.turn(over), Turn::Go);
}

// ===== concurrency =====

/// What a server of eight places does with so many requests, each of which takes 50 ms: how many it
/// refuses, and how long all take.
fn eight_at_a_time(limits: &mut Limits, pause: Pause, requests: usize) -> (usize, Duration) {
    let start = time::now();
    let (mut now, mut opens) = (start, start);
    let (mut under_way, mut done, mut refused) = (Vec::new(), 0, 0);
    while done < requests {
        for (_, ticket, fits) in under_way.extract_if(.., |(answer, _, _)| *answer <= now) {
            if fits {
                done += 1;
                limits.let_through(ticket, now);
            } else {
                refused += 1;
                limits.refused(Some(ticket), pause, now);
                if let Pause::Hint(hint) = pause {
                    opens = now + hint;
                }
            }
        }
        while under_way.len() < 100 && limits.turn(now) == Turn::Go {
            assert!(now >= opens);
            let working = under_way.iter().filter(|(_, _, fits)| *fits).count();
            let answer = now + Duration::from_millis(50);
            under_way.push((answer, limits.sent(true, now), working < 8));
        }
        now += Duration::from_millis(1);
    }
    for (_, ticket, _) in under_way {
        limits.lost(ticket);
    }
    (refused, now - start)
}

#[test]
fn a_limit_on_concurrency_is_found_and_obeyed_with_a_hint_and_without() {
    for (pause, within) in [(hint(1), 24 * SECOND), (Pause::Guess(SECOND), 30 * SECOND)] {
        let mut limits = learning(time::now());
        limits.refused(None, pause, time::now());
        let (refused, took) = eight_at_a_time(&mut limits, pause, 3000);
        assert!(took < within, "{pause:?}: {took:?}");
        assert!(refused < 60, "{pause:?}: {refused}");
        assert!(matches!(limits.most_learned(), Some(8 | 9)));
        assert_eq!(limits.estimate(), None);
    }
}

#[test]
fn a_turn_is_expected_by_how_many_go_at_a_time() {
    let mut limits = learning(time::now());
    eight_at_a_time(&mut limits, hint(1), 1000);
    let now = time::now() + HOUR;
    let wait = (limits.expected(1608, now) - now).as_secs_f64();
    assert!((9.0..11.0).contains(&wait), "{wait}");
}

/// Lets through twenty one by one, beside others, and then eight of nine at once. Returns when the ninth
/// was refused.
fn show_eight_at_a_time(limits: &mut Limits, pause: Pause) -> Instant {
    let start = time::now();
    let at = |millis| start + Duration::from_millis(millis);
    limits.refused(None, hint(1), start);
    let others: Vec<_> = (0..8).map(|_| limits.sent(true, at(1000))).collect();
    for number in 0..20 {
        let ticket = limits.sent(true, at(1000 + 5 * number));
        limits.let_through(ticket, at(1050 + 5 * number));
    }
    let refused = limits.sent(true, at(1100));
    limits.refused(Some(refused), hint(1), at(1150));
    others.into_iter().for_each(|other| limits.lost(other));

    let sent: Vec<_> = (0..9).map(|_| limits.sent(true, at(2150))).collect();
    for ticket in &sent[..8] {
        limits.let_through(*ticket, at(2200));
    }
    limits.refused(Some(sent[8]), pause, at(2200));
    at(2200)
}

#[test]
fn without_a_hint_an_answer_is_waited_for_and_no_time() {
    let mut limits = learning(time::now());
    let now = show_eight_at_a_time(&mut limits, Pause::Guess(SECOND));
    assert_eq!(limits.most_learned(), Some(8));
    assert_eq!(limits.closed_until(now), None);

    let sent: Vec<_> = (0..9).map(|_| limits.sent(true, now)).collect();
    limits.refused(Some(sent[8]), Pause::Guess(SECOND), now);
    assert_eq!(limits.turn(now), Turn::AfterAnswer);
    limits.refused(Some(sent[7]), hint(1), now);
    assert_eq!(limits.turn(now), Turn::At(now + SECOND));
}

#[test]
fn without_learning_every_refusal_closes_the_limit() {
    let mut limits = Limits::new(Learning::Off, [], None, time::now());
    let now = show_eight_at_a_time(&mut limits, Pause::Guess(SECOND));
    assert_eq!(limits.most_learned(), None);
    assert_eq!(limits.turn(now), Turn::At(now + SECOND));
}

#[test]
fn a_server_that_is_down_is_asked_no_sooner_for_what_is_known_of_concurrency() {
    let mut limits = learning(time::now());
    eight_at_a_time(&mut limits, hint(1), 1000);
    let (most, now) = (limits.most_learned(), time::now() + HOUR);
    let sent = send(&mut limits, 1, now);
    limits.refused(Some(sent[0]), Pause::Outage(5 * SECOND), now);
    assert_eq!(limits.turn(now), Turn::At(now + 5 * SECOND));
    assert_eq!(limits.most_learned(), most);
}

// ===== expectations =====

#[test]
fn the_more_are_ahead_the_later_a_turn_is_expected() {
    let (mut limits, now) = twenty_a_second();
    let (rate, burst) = limits.estimate().unwrap();
    assert!((rate - 20.0).abs() < 2.0 && burst < 2.0, "{rate} {burst}");
    let opens = limits.closed_until(now).unwrap();
    assert_eq!(limits.expected(0, now), opens);
    let expected = [10, 100, 1000].map(|ahead| limits.expected(ahead, now) - opens);
    for (ahead, wait) in [10.0, 100.0, 1000.0].into_iter().zip(expected) {
        let off = wait.as_secs_f64() - ahead / 20.0;
        assert!(off.abs() < 0.1 * ahead / 20.0, "{ahead}: {wait:?}");
    }
    let later = opens + HOUR;
    assert_eq!(limits.turn(later), Turn::Go);
    assert_eq!(limits.expected(100, later) - later, expected[1]);
    assert!(limits.expected(usize::MAX, later) > later + HOUR);
}

#[test]
fn where_no_rate_is_known_a_turn_is_expected_when_the_limit_opens() {
    let now = time::now();
    let mut limits = learning(now);
    assert_eq!(limits.expected(1000, now), now);
    limits.refused(None, hint(30), now);
    assert_eq!(limits.expected(1000, now), now + 30 * SECOND);
}

// ===== forgetting =====

#[test]
fn a_limit_is_forgotten_ten_minutes_after_it_has_shown_itself() {
    type Show = fn(&mut Limits, Instant);
    let shows: [Show; 3] = [
        |limits, now| limits.refused(None, hint(1), now),
        |limits, now| limits.told(None, &[left(5, 1)], &[], now),
        |limits, now| {
            limits.sent(true, now);
        },
    ];
    for show in shows {
        let start = time::now();
        let mut limits = learning(start);
        let now = start + 500 * SECOND;
        show(&mut limits, now);
        assert_eq!(limits.shown(), now);
        assert!(!limits.is_forgotten(now + 600 * SECOND));
        assert!(limits.is_forgotten(now + 601 * SECOND));
    }
}

#[test]
fn a_request_that_was_not_held_shows_no_limit() {
    let start = time::now();
    let mut limits = learning(start);
    let ticket = limits.sent(false, start + 500 * SECOND);
    limits.let_through(ticket, start + 500 * SECOND);
    assert!(limits.is_forgotten(start + 601 * SECOND));
}

#[test]
fn a_quota_and_a_pause_are_remembered_for_as_long_as_they_last() {
    let start = time::now();
    let mut limits = Limits::new(Learning::On, [Quota::per_hour(9)], None, start);
    limits.sent(false, start);
    assert!(!limits.is_forgotten(start + HOUR));
    assert!(limits.is_forgotten(start + HOUR + SECOND));

    let mut limits = learning(start);
    limits.refused(None, Pause::Hint(HOUR), start);
    assert!(!limits.is_forgotten(start + 2 * HOUR));
    assert!(limits.is_forgotten(start + 2 * HOUR + SECOND));
}

// ===== any order =====

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn however_requests_end_no_limit_is_passed_and_none_stays_under_way(
        most in prop::option::of(1..5_u32),
        quota in prop::option::of((1..6_u32, 1..5_000_u64)),
        gentle in prop::bool::ANY,
        steps in prop::collection::vec((0..12_u8, 0..100_usize, 0..2_000_u64, 0..4_u32), 1..200),
    ) {
        let start = time::now();
        let learning = if gentle { Learning::Gentle(2) } else { Learning::On };
        let millis = Duration::from_millis;
        let quota = quota.map(|(requests, period)| Quota::new(requests, millis(period)));
        let mut limits = Limits::new(learning, quota, most, start);
        let (mut now, mut opens, mut under_way, mut sent) = (start, start, Vec::new(), Vec::new());
        for (step, which, pause, seconds) in steps {
            // Many things happen at the same time.
            now += Duration::from_millis(if pause % 3 == 0 { 0 } else { pause });
            match limits.turn(now) {
                Turn::Go if step < 8 => {
                    prop_assert!(now >= opens);
                    prop_assert!(most.is_none_or(|most| under_way.len() < most as usize));
                    under_way.push(limits.sent(step < 4, now));
                    sent.push(now);
                }
                Turn::Go => {}
                Turn::At(at) => prop_assert!(at > now && at >= opens),
                Turn::AfterAnswer => prop_assert!(!under_way.is_empty()),
            }
            let ended = match under_way.len() {
                0 => None,
                length => Some(under_way.swap_remove(which % length)),
            };
            match (step, ended) {
                (0..=2, Some(ticket)) => limits.let_through(ticket, now),
                (3, Some(ticket)) => limits.lost(ticket),
                (4 | 5, ticket) => {
                    limits.refused(ticket, hint(seconds), now);
                    opens = opens.max(now + seconds * SECOND);
                }
                (6, Some(ticket)) => limits.refused(Some(ticket), Pause::Guess(SECOND), now),
                (_, ticket) => under_way.extend(ticket),
            }
            prop_assert_eq!(limits.under_way() as usize, under_way.len());
        }
        for ticket in under_way {
            limits.lost(ticket);
        }
        prop_assert_eq!(limits.under_way(), 0);
        if let Some(quota) = quota {
            for window in sent.windows(quota.requests() as usize + 1) {
                prop_assert!(window[quota.requests() as usize] - window[0] >= quota.period());
            }
        }
    }
}
