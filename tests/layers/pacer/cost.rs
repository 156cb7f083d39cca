//! What waiting costs: counts of polls and of wake-ups.

use std::{
    sync::{OnceLock, Weak},
    task::{Wake, Waker},
};

use tokio::time::sleep;
use tower_outbound::rate_limit_retry::Quota;

use super::*;

/// Polls per request of so many that wait for a closed limit.
async fn polls_each(waiters: usize, pacer: Pacer) -> f64 {
    let probe = refusing(1, "30");
    let (api, pacer) = paced(pacer, &probe);
    let first = send(&api, numbered(0));
    sleep(SECOND).await;
    let polls = Arc::default();
    let calls = (1..=waiters).map(|number| {
        let call = api.clone().oneshot(numbered(number));
        tokio::spawn(Counted::new(call, &polls))
    });
    let calls: Vec<_> = calls.collect();
    all_served(calls).await;
    served(first).await;
    assert_idle(&pacer);
    polls.load(Ordering::Relaxed) as f64 / waiters as f64
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_a_handful_of_times_however_many_there_are() {
    let pacers: [fn() -> Pacer; 3] = [
        Pacer::new,
        || Pacer::new().concurrency(10),
        || Pacer::new().quota(Quota::per_second(100).burst(1)),
    ];
    for pacer in pacers {
        let few = polls_each(100, pacer()).await;
        let many = polls_each(10_000, pacer()).await;
        assert!(few < 4.5 && many < 4.5, "{few} and {many}");
        assert!(many < 1.2 * few, "{few} and {many}");
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wake-ups per waiter when a quota turns out to be spent, or when all are dropped.
async fn rings_each(waiters: usize, hint: &'static str) -> f64 {
    let probe = Probe::slow(2 * SECOND, move |count, _| {
        Ok(match count {
            1 => refused("1"),
            _ => refused(hint),
        })
    });
    let (api, pacer) = paced(Pacer::new().concurrency(1), &probe);
    let first = send(&api, numbered(0));
    sleep(SECOND).await;
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);
    let mut calls: Vec<_> = (1..=waiters)
        .map(|number| Box::pin(api.clone().oneshot(numbered(number))))
        .collect();
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    // The second answer, to the request that was refused first.
    sleep(5 * SECOND).await;
    for mut call in calls {
        let _ = call.as_mut().poll(&mut cx);
        drop(call);
    }
    first.abort();
    let _ = first.await;
    assert_idle(&pacer);
    bell.0.load(Ordering::Relaxed) as f64 / waiters as f64
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_goes_away_wakes_each_other_a_handful_of_times() {
    for hint in ["30000", "60"] {
        let few = rings_each(100, hint).await;
        let many = rings_each(3000, hint).await;
        assert!(few < 4.0 && many < 4.0, "{hint}: {few} and {many}");
    }
}

/// Looks at the pacer when the last of it is dropped, as a task does whose drop drops requests.
struct Nosy(OnceLock<Weak<Pacer>>);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(pacer) = self.0.get().and_then(Weak::upgrade) {
            let _ = pacer.snapshot();
        }
    }
}

#[test]
fn no_waker_is_dropped_under_the_lock() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let probe = refusing(1, "30");
            let (api, pacer) = paced(Pacer::new(), &probe);
            let first = send(&api, numbered(0));
            sleep(SECOND).await;
            let nosy = || {
                let nosy = Nosy(OnceLock::new());
                let _ = nosy.0.set(Arc::downgrade(&pacer));
                Waker::from(Arc::new(nosy))
            };
            let mut call = Box::pin(api.clone().oneshot(numbered(1)));
            for _ in 0..3 {
                // The waker of the last poll is replaced, and was the last of its kind.
                let poll = call.as_mut().poll(&mut Context::from_waker(&nosy()));
                assert!(poll.is_pending());
            }
            drop(call);
            served(first).await;
        });
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(20));
    assert!(ended.is_ok(), "a deadlock");
}
