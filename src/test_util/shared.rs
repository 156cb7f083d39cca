//! Remember: all that the two servers and their handle share.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    test_util::{
        Knobs, Listener, data::Data, gate::Gates, log::Log, quota::Windows, script::Scripts,
        tokens::Tokens,
    },
    time,
};

/// Locks are held for a lookup or a change, never across an `await`, and one at a time but for
/// data, then tokens.
#[derive(Debug)]
pub(super) struct Shared {
    started: Instant,
    login_url: String,
    api_url: String,
    knobs: Mutex<Knobs>,
    tokens: Mutex<Tokens>,
    login_windows: Mutex<Windows>,
    api_windows: Mutex<Windows>,
    data: Mutex<Data>,
    scripts: Mutex<Scripts>,
    gates: Mutex<Gates>,
    log: Mutex<Log>,
    login_connections: AtomicUsize,
    api_connections: AtomicUsize,
}

impl Shared {
    pub(super) fn new(
        knobs: Knobs,
        tokens: Tokens,
        data: Data,
        login_url: String,
        api_url: String,
    ) -> Self {
        Self {
            started: time::now(),
            login_url,
            api_url,
            knobs: Mutex::new(knobs),
            tokens: Mutex::new(tokens),
            login_windows: Mutex::default(),
            api_windows: Mutex::default(),
            data: Mutex::new(data),
            scripts: Mutex::default(),
            gates: Mutex::default(),
            log: Mutex::default(),
            login_connections: AtomicUsize::new(0),
            api_connections: AtomicUsize::new(0),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        time::now().duration_since(self.started)
    }

    pub(super) fn login_url(&self) -> &str {
        &self.login_url
    }

    pub(super) fn api_url(&self) -> &str {
        &self.api_url
    }

    pub(super) fn knobs(&self) -> Knobs {
        lock(&self.knobs).clone()
    }

    pub(super) fn configure(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut lock(&self.knobs));
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub(super) fn login_windows(&self) -> MutexGuard<'_, Windows> {
        lock(&self.login_windows)
    }

    pub(super) fn api_windows(&self) -> MutexGuard<'_, Windows> {
        lock(&self.api_windows)
    }

    pub(super) fn data(&self) -> MutexGuard<'_, Data> {
        lock(&self.data)
    }

    pub(super) fn scripts(&self) -> MutexGuard<'_, Scripts> {
        lock(&self.scripts)
    }

    pub(super) fn gates(&self) -> MutexGuard<'_, Gates> {
        lock(&self.gates)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    pub(super) fn connections(&self, listener: Listener) -> &AtomicUsize {
        match listener {
            Listener::Login => &self.login_connections,
            Listener::Api => &self.api_connections,
        }
    }

    pub(super) fn count_connection(&self, listener: Listener) {
        self.connections(listener).fetch_add(1, Ordering::Relaxed);
    }
}

/// A test that panicked while it held a lock has failed already; the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
