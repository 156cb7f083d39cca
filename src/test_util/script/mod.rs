//! What a server answers instead of, or on top of, its own mind.

mod replies;
mod reply;

use std::collections::VecDeque;

use http::Method;

pub(super) use replies::forbidden;
pub(super) use reply::Fate;
pub use reply::Reply;

use crate::test_util::{Listener, route::Route};

/// The replies that wait for their request, and those that never run out.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// None of them is empty.
    finite: Vec<Script<VecDeque<Reply>>>,
    endless: Vec<Script<Reply>>,
}

#[derive(Debug)]
struct Script<R> {
    listener: Listener,
    route: Route,
    replies: R,
}

impl<R> Script<R> {
    fn is_for(&self, listener: Listener, method: &Method, path: &str) -> bool {
        self.listener == listener && self.route.matches(method, path)
    }
}

impl Scripts {
    pub(super) fn add(
        &mut self,
        listener: Listener,
        route: Route,
        replies: impl IntoIterator<Item = Reply>,
    ) {
        self.finite.push(Script {
            listener,
            route,
            replies: replies.into_iter().collect(),
        });
    }

    pub(super) fn add_endless(&mut self, listener: Listener, route: Route, reply: Reply) {
        self.endless.push(Script {
            listener,
            route,
            replies: reply,
        });
    }

    pub(super) fn clear(&mut self) {
        self.finite.clear();
        self.endless.clear();
    }

    /// The reply for this request, if it is one that does not wait for the body.
    pub(super) fn take_early(
        &mut self,
        listener: Listener,
        method: &Method,
        path: &str,
    ) -> Option<Reply> {
        self.take_if(listener, method, path, |reply| reply.early)
    }

    /// The oldest reply for this request; the endless ones come after all others, the youngest
    /// first, so that a new one covers an old one.
    pub(super) fn take(
        &mut self,
        listener: Listener,
        method: &Method,
        path: &str,
    ) -> Option<Reply> {
        self.take_if(listener, method, path, |_| true)
    }

    fn take_if(
        &mut self,
        listener: Listener,
        method: &Method,
        path: &str,
        wanted: impl FnOnce(&Reply) -> bool,
    ) -> Option<Reply> {
        let script = self
            .finite
            .iter()
            .position(|script| script.is_for(listener, method, path));
        let Some(index) = script else {
            return self
                .endless(listener, method, path)
                .filter(|reply| wanted(reply))
                .cloned();
        };
        let replies = &mut self.finite[index].replies;
        let taken = if replies.front().is_some_and(wanted) {
            replies.pop_front()
        } else {
            None
        };
        if replies.is_empty() {
            self.finite.remove(index);
        }
        taken
    }

    pub(super) fn waiting(&self) -> usize {
        self.finite.iter().map(|script| script.replies.len()).sum()
    }

    fn endless(&self, listener: Listener, method: &Method, path: &str) -> Option<&Reply> {
        let mut endless = self.endless.iter().rev();
        let script = endless.find(|script| script.is_for(listener, method, path))?;
        Some(&script.replies)
    }
}
