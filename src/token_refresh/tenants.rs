use std::{fmt, sync::Arc};

use http::Request;

use super::layer::Settings;
use crate::{
    mark::{RequestHead, Tenant},
    token::{KeyedTokenCache, TokenCache, TokenError, source_fn},
};

/// Whose token a request carries, where each tenant has one.
#[derive(Clone)]
pub(crate) struct Tenants {
    caches: KeyedTokenCache,
    pub(crate) choose: Arc<ChooseTenant>,
}

type ChooseTenant = dyn Fn(&RequestHead<'_>) -> Option<Tenant> + Send + Sync;

impl Tenants {
    pub(crate) fn new(caches: KeyedTokenCache) -> Self {
        Self {
            caches,
            choose: Arc::new(|request| request.extensions.get().cloned()),
        }
    }

    /// The settings for this request: with its tenant's tokens, or as they are if it is nobody's.
    pub(crate) fn settings<B>(
        &self,
        request: &Request<B>,
        settings: &Arc<Settings>,
    ) -> Arc<Settings> {
        match (self.choose)(&RequestHead::of(request)) {
            Some(tenant) => Arc::new(Settings {
                tokens: self.caches.of(&tenant),
                ..Settings::clone(settings)
            }),
            None => Arc::clone(settings),
        }
    }
}

/// The tokens of requests that are nobody's: there are none.
pub(crate) fn nobodys() -> TokenCache {
    TokenCache::new(source_fn(|_| async {
        Err(TokenError::rejected(
            "the request names no tenant, so there is no token for it: mark it with `Tenant`, or \
             with `NoToken` if it needs none",
        ))
    }))
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.caches.fmt(f)
    }
}
