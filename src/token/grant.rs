use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Attach, Secret};
use crate::time::CENTURY;

/// What an authorization server granted: the access token, and how long it said that it lives.
///
/// A [`TokenSource`](super::TokenSource) returns it; the [`TokenCache`](super::TokenCache) makes a
/// [`Token`](super::Token) of it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Lifetime,
    pub(crate) scope: Option<String>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) attach: Option<Arc<dyn Attach>>,
}

impl Grant {
    /// A grant of which no lifetime is known: only a refusal tells that it has ended.
    pub fn new(access_token: impl Into<Secret>) -> Self {
        Self {
            access_token: access_token.into(),
            lifetime: Lifetime::Unknown,
            scope: None,
            refresh_token: None,
            attach: None,
        }
    }

    /// The lifetime, counted from when the token was asked for (`expires_in`,
    /// [RFC 6749, section 5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1)).
    ///
    /// Zero is an error that the cache reports; beyond a century is a century.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Lifetime::For(lifetime);
        self
    }

    /// The end of life as a date, as some vendors tell it. It depends on this machine's clock;
    /// prefer [`expires_in`](Self::expires_in) where the server tells both.
    pub fn expires_at(mut self, end: SystemTime) -> Self {
        self.lifetime = Lifetime::Until(end);
        self
    }

    /// The scopes that were granted, separated by spaces.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// The refresh token that came with it, for a source that keeps one; a
    /// [`TokenCache`](super::TokenCache) does not.
    pub fn refresh_token(mut self, refresh_token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(refresh_token.into());
        self
    }

    /// How requests carry the token, where that takes more than the header of a bearer token.
    pub fn attach(mut self, attach: Arc<dyn Attach>) -> Self {
        self.attach = Some(attach);
        self
    }
}

/// How long a grant lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Unknown,
    For(Duration),
    Until(SystemTime),
}

impl Lifetime {
    /// The lifetime counted from `asked`, or `None` if the server told none.
    pub(crate) fn since(self, asked: SystemTime) -> Option<Duration> {
        match self {
            Lifetime::Unknown => None,
            Lifetime::For(lifetime) => Some(lifetime.min(CENTURY)),
            Lifetime::Until(end) => {
                Some(end.duration_since(asked).unwrap_or_default().min(CENTURY))
            }
        }
    }
}
