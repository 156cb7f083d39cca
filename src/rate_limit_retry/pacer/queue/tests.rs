use std::time::Duration;

use super::*;
use crate::{
    rate_limit_retry::pacer::limits::{Learning, Limits},
    time,
};

const SECOND: Duration = Duration::from_secs(1);

/// A queue in which so many wait, in this order.
fn queue<const LENGTH: usize>() -> (Queue, [Place; LENGTH]) {
    let mut queue = Queue::default();
    let places = [(); LENGTH].map(|()| wait(&mut queue, 0));
    (queue, places)
}

fn wait(queue: &mut Queue, priority: i8) -> Place {
    let place = queue.new_place(priority);
    assert!(queue.wait(place, Waker::noop()).is_none());
    place
}

fn ticket() -> Ticket {
    let now = time::now();
    Limits::new(Learning::On, [], None, now).sent(true, now)
}

/// Who goes, in which order.
fn order(mut queue: Queue) -> Vec<Place> {
    let next = || {
        let place = queue.first()?;
        queue.leave(place)?;
        Some(place)
    };
    std::iter::from_fn(next).collect()
}

// Nobody would have looked again: the queue stood still.
#[test]
fn an_alarm_that_was_taken_back_is_set_anew() {
    let (mut queue, [first, _]) = queue();
    let at = time::now() + SECOND;
    queue.set_alarm(first, at);
    assert!(queue.alarm_first(at).is_none());
    queue.clear_alarm(first);
    assert!(queue.alarm_first(at).is_some());
    assert!(queue.alarm_first(at + SECOND).is_some());
}

#[test]
fn the_first_is_woken_to_look_earlier_and_not_to_look_later() {
    let (mut queue, [first, _]) = queue();
    let at = time::now() + SECOND;
    queue.set_alarm(first, at);
    assert!(queue.alarm_first(at + SECOND).is_none());
    assert!(queue.alarm_first(at - SECOND / 2).is_some());
    // By less than a timer can tell.
    assert!(queue.alarm_first(at - SECOND / 2000).is_none());
}

#[test]
fn the_alarm_of_another_is_of_no_use_and_not_taken_back() {
    let (mut queue, [first, second]) = queue();
    let at = time::now() + SECOND;
    queue.set_alarm(first, at);
    queue.clear_alarm(second);
    assert!(queue.alarm_first(at).is_none());
    assert!(queue.leave(first).is_some());
    assert!(queue.alarm_first(at).is_some());
    assert!(queue.leave(second).is_some());
    assert!(queue.alarm_first(at).is_none());
}

#[test]
fn they_go_by_priority_and_then_those_that_come_back_and_then_by_arrival() {
    let mut queue = Queue::default();
    let [low, high] = [-1, 1].map(|priority| wait(&mut queue, priority));
    let [one, two, three] = [0; 3].map(|priority| wait(&mut queue, priority));
    assert!(queue.leave(two).is_some());
    assert!(queue.wait(two.again(), Waker::noop()).is_none());
    assert_eq!(order(queue), [high, two.again(), one, three, low]);
}

#[test]
fn those_ahead_are_counted_as_they_come_and_go() {
    let mut queue = Queue::default();
    let [_, high, low] = [0, 1, -1].map(|priority| wait(&mut queue, priority));
    assert_eq!([1, 0, -1].map(|priority| queue.ahead(priority)), [1, 2, 3]);
    assert!(queue.leave(low).is_some());
    assert!(queue.leave(low).is_none());
    assert!(queue.leave(high).is_some());
    assert_eq!([1, 0, -1].map(|priority| queue.ahead(priority)), [0, 1, 1]);
    assert_eq!(queue.dismiss().len(), 1);
    assert_eq!((queue.ahead(0), queue.is_empty()), (0, true));
}

#[test]
fn a_turn_is_taken_once_by_the_one_to_whom_it_was_given() {
    let (mut queue, [first, second]) = queue();
    assert!(queue.grant_first(ticket()).is_some());
    assert!(queue.take_granted(second).is_none());
    assert!(queue.take_granted(first).is_some());
    assert!(queue.take_granted(first).is_none());
    assert_eq!(queue.len(), 1);
}
