//! One piece of work that many wait for.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::Arc,
};

use tokio::sync::watch;

/// A detached piece of work and its result, shared by all who hold a clone.
///
/// The work runs in a task of its own, so whoever asked for it may go away. The result is
/// published first; then everyone who waits is woken, once.
pub(crate) struct Flight<T>(watch::Receiver<Option<T>>);

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Hands the work to a spawner.
    pub(crate) fn launch(
        spawner: &Spawner,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let (landing, flight) = watch::channel(None);
        (spawner.0)(Box::pin(async move {
            let result = work.await;
            landing.send_replace(Some(result));
        }));
        Self(flight)
    }

    /// Waits for the result. `None`: the task was dropped before it had one, because the runtime that
    /// carried it went away.
    pub(crate) async fn landed(mut self) -> Option<T> {
        let landing = self.0.wait_for(Option::is_some).await.ok()?;
        landing.clone()
    }

    /// Whether the task was dropped before it had a result.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.has_changed().is_err() && self.0.borrow().is_none()
    }
}

/// Starts a task: tokio's `spawn`, or what a test puts in its place to poll the task by hand.
#[derive(Clone)]
pub(crate) struct Spawner(Arc<dyn Fn(Task) + Send + Sync>);

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Spawner {
    #[cfg(test)]
    pub(crate) fn new(spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self(Arc::new(spawn))
    }
}

impl Default for Spawner {
    fn default() -> Self {
        Self(Arc::new(|task| {
            tokio::spawn(task);
        }))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

/// Drives a future, and answers `None` if it panics.
pub(crate) async fn unless_it_panics<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    // A future that panicked is never polled again, so nobody sees it in the middle of a step.
    poll_fn(
        |cx| match panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        },
    )
    .await
}
