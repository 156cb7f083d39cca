use super::*;
use crate::time;

const ROUND_TRIP: Duration = millis(50);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// ===== what convinces =====

/// Requests up to a refusal, which closes the limit for a second.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// Sent at once: so many were let through, and the first that was refused had so many before it.
    AtOnce(u64, u32),
    /// Likewise, and what was sent last was heard of first.
    AtOnceHeardLate(u32),
    /// So many were let through within so many milliseconds, and then one was refused beside so many.
    Steady(u64, u64, u32),
    /// Nothing, for so many milliseconds more.
    Pause(u64),
}

fn show(concurrency: &mut Concurrency, shown: &[Shown], now: &mut Instant) {
    for shown in shown {
        match *shown {
            Shown::AtOnce(let_through, fit) => {
                let sent: Vec<_> = (0..fit + 20)
                    .map(|beside| concurrency.sent(beside, *now))
                    .collect();
                *now += ROUND_TRIP;
                let refused = sent[fit as usize];
                let others = sent.iter().filter(|sent| sent.beside != fit);
                for sent in others.take(let_through as usize) {
                    concurrency.let_through(*sent, *now);
                }
                concurrency.refused(refused, millis(1000));
            }
            Shown::Pause(length) => *now += millis(length),
            Shown::AtOnceHeardLate(fit) => {
                let sent: Vec<_> = (0..fit + 20)
                    .map(|beside| concurrency.sent(beside, *now))
                    .collect();
                *now += ROUND_TRIP;
                for sent in sent.iter().rev() {
                    if sent.beside < fit {
                        concurrency.let_through(*sent, *now);
                    } else {
                        concurrency.refused(*sent, millis(1000));
                    }
                }
            }
            Shown::Steady(let_through, within, fit) => {
                let opened = *now;
                for number in 0..let_through {
                    *now = opened + millis(within * number / let_through);
                    let sent = concurrency.sent(1, *now);
                    concurrency.let_through(sent, *now + ROUND_TRIP);
                }
                *now = opened + millis(within);
                let refused = concurrency.sent(fit, *now);
                *now += ROUND_TRIP;
                concurrency.refused(refused, millis(1000));
            }
        }
        *now += millis(1000);
    }
}

fn shown(shown: &[Shown]) -> (Concurrency, Instant) {
    let (mut concurrency, mut now) = (Concurrency::new(), time::now());
    concurrency.refused_unseen(now);
    now += millis(1000);
    show(&mut concurrency, shown, &mut now);
    (concurrency, now)
}

#[test]
fn a_limit_on_concurrency_is_told_from_one_on_a_rate() {
    use Shown::{AtOnce, AtOnceHeardLate, Pause, Steady};

    let fast = Steady(20, 100, 11);
    let by_chance = Steady(30, 2000, 8);
    for (rounds, most) in [
        (vec![], None),
        (vec![AtOnce(8, 8)], None),
        (vec![fast], None),
        // Eight at once; and a bucket of eight would not have let through twelve more in a tenth of a second,
        // at the rate that it has otherwise.
        (vec![fast, AtOnce(8, 8)], Some(8)),
        (vec![AtOnce(8, 8), fast], Some(8)),
        (vec![AtOnce(8, 8), AtOnce(8, 8), fast], Some(8)),
        // A bucket that had longer to fill up before the first.
        (vec![Pause(4000), fast, AtOnce(8, 8)], None),
        // Of what comes late one learns in the next round.
        (vec![fast, AtOnceHeardLate(8)], None),
        (vec![AtOnceHeardLate(8), fast], Some(8)),
        // A window lets through all of it at once, each time.
        (vec![AtOnce(300, 300); 3], None),
        // A bucket that fills up at the same rate all the time.
        (vec![Steady(20, 2000, 9), AtOnce(8, 8)], None),
        // So few were under way at a refusal that it was another limit.
        (vec![Steady(20, 100, 7), AtOnce(8, 8)], None),
        // One at a time is a rate.
        (vec![fast, AtOnce(1, 1)], None),
        // They overtook each other, and nobody knows what the one met that was refused.
        (vec![fast, AtOnce(13, 4)], None),
        // The same number twice is chance, and four times is not.
        (vec![by_chance, AtOnce(8, 8)], None),
        (vec![by_chance, AtOnce(8, 8), by_chance], Some(8)),
        (
            vec![
                by_chance,
                AtOnce(8, 8),
                Steady(20, 2000, 0),
                by_chance,
                AtOnce(8, 8),
            ],
            None,
        ),
        // Of few requests no pace can be told, unless it is told twice.
        (vec![Steady(6, 50, 4), AtOnce(3, 3)], None),
        (
            vec![Steady(6, 50, 4), AtOnce(3, 3), Steady(6, 50, 4)],
            Some(3),
        ),
    ] {
        assert_eq!(shown(&rounds).0.most(), most, "{rounds:?}");
    }
}

// ===== what is sent =====

fn eight_at_a_time() -> (Concurrency, Instant) {
    shown(&[Shown::Steady(20, 100, 11), Shown::AtOnce(8, 8)])
}

#[test]
fn nothing_is_held_before_a_limit_is_believed_in() {
    let mut concurrency = Concurrency::new();
    assert_eq!(concurrency.turn(1_000_000, time::now()), Turn::Go);
    assert_eq!(concurrency.estimate(), None);
}

#[test]
fn beside_as_many_as_fit_the_next_waits_for_an_answer() {
    let (mut concurrency, now) = eight_at_a_time();
    assert_eq!(concurrency.turn(8, now), Turn::AfterAnswer);
    assert_eq!(concurrency.turn(7, now), Turn::Go);
    let (rate, burst) = concurrency.estimate().unwrap();
    assert!((rate - 160.0).abs() < 1.0, "{rate}");
    assert_eq!(burst, 8.0);
}

/// A server of so many places, and how long a request is on its way, in its place, and on its way back.
#[derive(Clone, Copy, Debug)]
struct Server {
    places: usize,
    road: u64,
    work: u64,
    hint: u64,
}

/// What came of a job that always has more requests.
#[derive(Debug)]
struct Outcome {
    let_through: usize,
    refused: usize,
    most: Option<u32>,
}

/// Runs for so long, in milliseconds.
fn run(concurrency: &mut Concurrency, server: Server, start: Instant, length: u64) -> Outcome {
    let (mut working, mut on_the_road, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut under_way, mut opens) = (0, 0);
    let mut outcome = Outcome {
        let_through: 0,
        refused: 0,
        most: None,
    };
    for tick in 0..length {
        let now = start + millis(tick);
        working.retain(|until| *until > tick);
        for (_, sent) in on_the_road.extract_if(.., |(arrives, _)| *arrives <= tick) {
            let fits = working.len() < server.places;
            let back = if fits { server.work } else { 0 } + server.road;
            if fits {
                working.push(tick + server.work);
            }
            answers.push((tick + back, sent, fits));
        }
        for (_, sent, fits) in answers.extract_if(.., |(at, _, _)| *at <= tick) {
            under_way -= 1;
            if fits {
                outcome.let_through += 1;
                concurrency.let_through(sent, now);
            } else {
                outcome.refused += 1;
                concurrency.refused(sent, millis(server.hint));
                opens = tick + server.hint;
            }
        }
        while tick >= opens && under_way < 200 && concurrency.turn(under_way, now) == Turn::Go {
            on_the_road.push((tick + server.road, concurrency.sent(under_way, now)));
            under_way += 1;
        }
    }
    outcome.most = concurrency.most();
    outcome
}

#[test]
fn as_many_are_under_way_as_fit_on_the_road_and_at_the_server() {
    let server = |places, road, work, hint| Server {
        places,
        road,
        work,
        hint,
    };
    for (server, most, share) in [
        // Nothing but work: eight, and now and then a trial.
        (server(8, 0, 50, 0), 8..=9, 0.95),
        (server(8, 0, 50, 1000), 8..=9, 0.92),
        // A short road, as to a neighbour.
        (server(8, 2, 46, 1000), 8..=9, 0.85),
        // Half of the time on the road: twice as many, if they go evenly.
        (server(8, 12, 26, 0), 13..=17, 0.85),
        (server(8, 12, 26, 1000), 13..=17, 0.85),
        // It has grown, or shrunk.
        (server(16, 0, 50, 0), 14..=17, 0.9),
        (server(4, 0, 50, 1000), 4..=5, 0.92),
    ] {
        let (mut concurrency, now) = eight_at_a_time();
        let seconds = 120;
        let outcome = run(&mut concurrency, server, now, seconds * 1000);
        let ideal = (server.places as u64 * seconds * 1000 / server.work) as f64;
        let reached = outcome.let_through as f64 / ideal;
        assert!(
            most.contains(&outcome.most.unwrap()),
            "{server:?}: {outcome:?}"
        );
        assert!(reached >= share, "{server:?}: {reached}, {outcome:?}");
        assert!(
            outcome.refused * 100 <= outcome.let_through,
            "{server:?}: {outcome:?}"
        );
    }
}

/// Lets through so many that were sent beside as many as may be, at most; how many it takes until one more
/// is tried.
fn let_through_until_a_trial(concurrency: &mut Concurrency, mut now: Instant) -> Option<u64> {
    let most = concurrency.most()?;
    (1..1_000_000).find(|_| {
        let sent = concurrency.sent(most - 1, now);
        now += ROUND_TRIP;
        concurrency.let_through(sent, now);
        concurrency.most() > Some(most)
    })
}

#[test]
fn one_more_is_tried_the_more_rarely_the_dearer_a_refusal_was() {
    for (closed, patience) in [(0, 400), (1000, 4800), (60_000, 288_000)] {
        let (mut concurrency, now) = eight_at_a_time();
        assert_eq!(let_through_until_a_trial(&mut concurrency, now), Some(16));
        let refused = concurrency.sent(8, now);
        concurrency.refused(refused, millis(closed));
        assert_eq!(concurrency.most(), Some(8));
        // Then as many as before are sent evenly, for two round trips.
        let until = let_through_until_a_trial(&mut concurrency, now);
        assert_eq!(until, Some(patience + 16), "{closed}");
    }
}

#[test]
fn the_number_does_not_rise_while_there_are_not_so_many_to_send() {
    let (mut concurrency, now) = eight_at_a_time();
    for _ in 0..10_000 {
        let sent = concurrency.sent(6, now);
        concurrency.let_through(sent, now + ROUND_TRIP);
    }
    assert_eq!(concurrency.most(), Some(8));
}

#[test]
fn after_a_refusal_fewer_are_under_way_but_no_fewer_than_fit_at_once() {
    let (mut concurrency, now) = eight_at_a_time();
    while concurrency.most() < Some(17) {
        let_through_until_a_trial(&mut concurrency, now);
    }
    // The first was that of a trial. The others were not, so the limit must have shrunk.
    let numbers = [17, 15, 11].map(|most| {
        assert_eq!(concurrency.most(), Some(most));
        let refused = concurrency.sent(most - 1, now);
        concurrency.refused(refused, millis(1000));
        concurrency.most()
    });
    assert_eq!(numbers, [Some(15), Some(11), Some(9)]);
}

#[test]
fn refusals_of_what_was_under_way_at_another_are_no_news() {
    let (mut concurrency, now) = eight_at_a_time();
    let sent: Vec<_> = (0..20)
        .map(|beside| concurrency.sent(beside, now))
        .collect();
    for sent in sent.iter().skip(8) {
        concurrency.refused(*sent, Duration::ZERO);
    }
    assert_eq!(concurrency.most(), Some(8));
}

// ===== what refutes =====

#[test]
fn a_limit_that_refuses_one_alone_is_none_on_concurrency() {
    let (mut concurrency, now) = eight_at_a_time();
    let alone = concurrency.sent(0, now);
    concurrency.refused(alone, Duration::ZERO);
    assert_eq!(concurrency.most(), None);
}

#[test]
fn a_limit_that_keeps_refusing_what_it_let_through_is_given_up_and_believed_less_easily() {
    let (mut concurrency, mut now) = eight_at_a_time();
    let refuse = |concurrency: &mut Concurrency, beside| {
        let refused = concurrency.sent(beside, now);
        concurrency.refused(refused, millis(1000));
        concurrency.most()
    };
    let numbers = [7, 5, 3].map(|beside| refuse(&mut concurrency, beside));
    assert_eq!(numbers, [Some(7), Some(5), None]);

    let pair = [Shown::Steady(20, 100, 11), Shown::AtOnce(8, 8)];
    show(&mut concurrency, &pair, &mut now);
    assert_eq!(concurrency.most(), None);
    for _ in 0..2 {
        show(&mut concurrency, &pair, &mut now);
    }
    assert_eq!(concurrency.most(), Some(8));
}

#[test]
fn refusals_that_are_rare_do_not_refute() {
    let (mut concurrency, now) = eight_at_a_time();
    for _ in 0..10 {
        let refused = concurrency.sent(7, now);
        concurrency.refused(refused, Duration::ZERO);
        for _ in 0..LEAST_PATIENCE {
            let sent = concurrency.sent(0, now);
            concurrency.let_through(sent, now + ROUND_TRIP);
        }
    }
    assert_eq!(concurrency.most(), Some(7));
}
