use std::time::Duration;

use bytes::Bytes;
use http::{
    Method,
    header::{HeaderName, HeaderValue},
    request,
};

use crate::test_util::{Listener, route::Route};

/// One request as a server saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When its head had been read, counted from the start of the servers on tokio's clock.
    pub t: Duration,
    /// Which server it came to.
    pub listener: Listener,
    /// Its method.
    pub method: Method,
    /// Path and query as they were sent, still percent-encoded.
    pub target: String,
    /// Its headers as hyper's map iterates: names in lower case and in the order in which each
    /// came first, with the values of one name together.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How many bytes of body have been read.
    pub body_len: u64,
    /// SHA-256 of the body in lower-case hex; `None` while the body has not come to its end.
    pub body_sha256: Option<String>,
    /// The body, if it is complete and not above 64 KiB.
    pub body: Option<Bytes>,
    /// The status that was answered; `None` while there is no answer, and for good if the
    /// connection was cut before the head. An answer cut in its body keeps the status of its head.
    pub status: Option<u16>,
}

impl LoggedRequest {
    /// The first value of a header, if it is readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(given, _)| given.as_str() == name)?;
        value.to_str().ok()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }
}

/// All requests since the last time it was cleared.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<LoggedRequest>,
    /// How many were cleared away: a request that is still running keeps its number.
    cleared: usize,
}

/// The number of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(usize);

impl Log {
    pub(super) fn open(&mut self, listener: Listener, head: &request::Parts, t: Duration) -> Entry {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        self.entries.push(LoggedRequest {
            t,
            listener,
            method: head.method.clone(),
            target: target.to_owned(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body_len: 0,
            body_sha256: None,
            body: None,
            status: None,
        });
        Entry(self.cleared + self.entries.len() - 1)
    }

    pub(super) fn update(&mut self, entry: Entry, change: impl FnOnce(&mut LoggedRequest)) {
        let index = entry.0.checked_sub(self.cleared);
        if let Some(request) = index.and_then(|index| self.entries.get_mut(index)) {
            change(request);
        }
    }

    pub(super) fn clear(&mut self) {
        self.cleared += self.entries.len();
        self.entries.clear();
    }

    pub(super) fn entries(&self) -> &[LoggedRequest] {
        &self.entries
    }

    pub(super) fn count(&self, listener: Listener, route: &Route) -> usize {
        self.matching(listener, route).count()
    }

    pub(super) fn matching(
        &self,
        listener: Listener,
        route: &Route,
    ) -> impl Iterator<Item = &LoggedRequest> {
        self.entries.iter().filter(move |request| {
            request.listener == listener && route.matches(&request.method, request.path())
        })
    }
}
