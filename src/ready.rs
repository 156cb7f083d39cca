//! Taking a ready service, and giving readiness back: nothing else in the crate does either.
//!
//! `poll_ready` may reserve something (a permit, a slot in a channel) for the very value it was
//! called on. A clone has none of it, so the value that is ready is the one to call; and whoever
//! is going to wait gives the reservation back first, or the wait would starve everybody else.

use std::mem;

/// Takes the ready service out, and leaves a clone that has still to become ready.
pub(crate) fn take<S: Clone>(service: &mut S) -> S {
    let unready = service.clone();
    mem::replace(service, unready)
}

/// Gives back what `poll_ready` reserved; the service must become ready again before it is called.
pub(crate) fn release<S: Clone>(service: &mut S) {
    drop(take(service));
}
