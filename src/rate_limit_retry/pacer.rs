//! Which limits are closed, and until when: what all requests of one layer remember together.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{backoff::jitter_above, mark::LimitKey, time};

/// Holds requests back while the server has asked for a pause.
///
/// While no key is closed, [`is_open`](Self::is_open) is one atomic load.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    // How many keys there are in `closed`; written under its lock.
    count: AtomicUsize,
    closed: Mutex<HashMap<LimitKey, Closed>>,
}

/// A pause that a server asked for.
#[derive(Clone, Copy, Debug)]
struct Closed {
    from: Instant,
    until: Instant,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Go,
    /// Not before the server's time, and spread above it: ask again then.
    Wait(Instant),
}

impl Pacer {
    /// Whether nothing is closed at all.
    pub(crate) fn is_open(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether a request with this key may be sent now.
    pub(crate) fn admit(&self, key: &LimitKey, now: Instant) -> Admission {
        let mut closed = self.lock();
        let Some(pause) = closed.get(key).copied() else {
            return Admission::Go;
        };
        if pause.until <= now {
            closed.remove(key);
            self.count.store(closed.len(), Ordering::Release);
            return Admission::Go;
        }
        let length = pause.until - pause.from;
        let spread = jitter_above(length, &mut fastrand::Rng::new()) - length;
        Admission::Wait(pause.until + spread)
    }

    /// The server asked for a pause of this length. The longest one holds.
    pub(crate) fn close(&self, key: LimitKey, pause: Duration, now: Instant) {
        let new = Closed {
            from: now,
            until: time::after(now, pause),
        };
        let mut closed = self.lock();
        closed.retain(|_, pause| now < pause.until);
        if closed.len() >= MAX_KEYS && !closed.contains_key(&key) {
            forget_the_next_to_open(&mut closed);
        }
        let held = closed.entry(key).or_insert(new);
        if held.until < new.until {
            *held = new;
        }
        self.count.store(closed.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LimitKey, Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_the_next_to_open(closed: &mut HashMap<LimitKey, Closed>) {
    let next = closed
        .iter()
        .min_by_key(|(_, pause)| pause.until)
        .map(|(key, _)| key.clone());
    if let Some(key) = next {
        closed.remove(&key);
    }
}

/// Far above the number of servers a program calls, far below what would be felt in memory.
const MAX_KEYS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LimitKey {
        LimitKey::new(name)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_closed_key_holds_everybody_until_the_servers_time_and_not_before() {
        let (pacer, now) = (Pacer::default(), time::now());
        pacer.close(key("a"), 10 * SECOND, now);
        for _ in 0..1000 {
            let Admission::Wait(until) = pacer.admit(&key("a"), now) else {
                panic!("let through")
            };
            assert!(until >= now + 10 * SECOND);
            assert!(until <= now + 11 * SECOND);
        }
        assert_eq!(pacer.admit(&key("a"), now + 10 * SECOND), Admission::Go);
    }

    #[test]
    fn a_thousand_waiters_do_not_wake_together() {
        let (pacer, now) = (Pacer::default(), time::now());
        pacer.close(key("a"), 10 * SECOND, now);
        let mut woken: Vec<_> = (0..1000).map(|_| pacer.admit(&key("a"), now)).collect();
        woken.dedup();
        assert!(woken.len() > 990, "{}", woken.len());
    }

    #[test]
    fn one_key_never_holds_another() {
        let (pacer, now) = (Pacer::default(), time::now());
        pacer.close(key("a"), 60 * SECOND, now);
        assert_eq!(pacer.admit(&key("b"), now), Admission::Go);
    }

    #[test]
    fn a_shorter_pause_does_not_cut_a_longer_one() {
        let (pacer, now) = (Pacer::default(), time::now());
        pacer.close(key("a"), 10 * SECOND, now);
        pacer.close(key("a"), SECOND, now + SECOND);
        assert!(matches!(
            pacer.admit(&key("a"), now + 9 * SECOND),
            Admission::Wait(_)
        ));
    }

    #[test]
    fn it_is_open_again_when_the_last_pause_is_over() {
        let (pacer, now) = (Pacer::default(), time::now());
        assert!(pacer.is_open());
        pacer.close(key("a"), SECOND, now);
        assert!(!pacer.is_open());
        assert_eq!(pacer.admit(&key("a"), now + SECOND), Admission::Go);
        assert!(pacer.is_open());
    }

    #[test]
    fn keys_are_bounded_and_dropped_when_their_pause_is_over() {
        let (pacer, now) = (Pacer::default(), time::now());
        for n in 0..5000_u64 {
            pacer.close(LimitKey::new(n.to_string()), SECOND * (1 + n as u32), now);
        }
        assert_eq!(pacer.lock().len(), MAX_KEYS);
        assert!(matches!(pacer.admit(&key("4999"), now), Admission::Wait(_)));
        pacer.close(key("a"), SECOND, now + 10_000 * SECOND);
        assert_eq!(pacer.lock().len(), 1);
    }
}
