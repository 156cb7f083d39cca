use std::sync::Arc;

use http::Method;
use tokio::sync::watch;

use crate::test_util::{Listener, route::Route};

/// Holds the requests to a route until it is released. Made by
/// [`LoopbackCloud::gate`](crate::test_util::LoopbackCloud::gate) and
/// [`gate_answers`](crate::test_util::LoopbackCloud::gate_answers); dropping it releases.
#[derive(Debug)]
pub struct Gate(Arc<State>);

#[derive(Debug)]
struct State {
    listener: Listener,
    route: Route,
    stage: Stage,
    arrived: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

/// Where a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request is in the log; nothing has been decided about it.
    BeforeHandling,
    /// The request has had its effect; the client does not know.
    BeforeAnswer,
}

/// Every gate that may still be shut.
#[derive(Debug, Default)]
pub(super) struct Gates(Vec<Arc<State>>);

impl Gate {
    /// Waits until `n` requests have come to this gate since it was set.
    pub async fn arrived(&self, n: usize) {
        // The sender lives in `self`, so the wait cannot end by its loss.
        let _ = self
            .0
            .arrived
            .subscribe()
            .wait_for(|arrived| *arrived >= n)
            .await;
    }

    /// How many requests have come to this gate since it was set.
    pub fn count(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// Lets all of them pass, now and from now on.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

impl Gates {
    pub(super) fn set(&mut self, listener: Listener, route: Route, stage: Stage) -> Gate {
        self.0.retain(|gate| !*gate.released.borrow());
        let state = Arc::new(State {
            listener,
            route,
            stage,
            arrived: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        self.0.push(Arc::clone(&state));
        Gate(state)
    }

    /// The gates that a request has to pass at this stage, oldest first.
    pub(super) fn on_the_way(
        &self,
        listener: Listener,
        method: &Method,
        path: &str,
        stage: Stage,
    ) -> Vec<Hold> {
        self.0
            .iter()
            .filter(|gate| {
                gate.stage == stage
                    && gate.listener == listener
                    && gate.route.matches(method, path)
                    && !*gate.released.borrow()
            })
            .map(|gate| Hold(Arc::clone(gate)))
            .collect()
    }
}

/// One request's wait at one gate.
pub(super) struct Hold(Arc<State>);

impl Hold {
    pub(super) async fn pass(self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let _ = self
            .0
            .released
            .subscribe()
            .wait_for(|released| *released)
            .await;
    }
}
