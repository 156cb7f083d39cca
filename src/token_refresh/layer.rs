use std::{fmt, sync::Arc, time::Duration};

use http::response;
use tower::Layer;

use super::{
    TokenRefresh,
    refusal::is_refusal,
    tenants::{Tenants, nobodys},
};
use crate::{
    mark::{RequestHead, Tenant},
    origin::Origins,
    token::{KeyedTokenCache, TokenCache},
};

/// Attaches a token, renews it when it is refused, and replays the request.
///
/// See the [module](super).
#[derive(Clone, Debug)]
pub struct TokenRefreshLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) tokens: TokenCache,
    pub(crate) tenants: Option<Tenants>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) is_refusal: Arc<IsRefusal>,
    pub(crate) fresh_token_lag: Duration,
}

type IsRefusal = dyn Fn(&response::Parts) -> bool + Send + Sync;

impl TokenRefreshLayer {
    /// Tokens from this cache, for requests to these origins.
    pub fn new(tokens: TokenCache, origins: Origins) -> Self {
        let settings = Settings {
            tokens,
            tenants: None,
            origins: Arc::new(origins),
            is_refusal: Arc::new(is_refusal),
            fresh_token_lag: Duration::ZERO,
        };
        Self {
            settings: Arc::new(settings),
        }
    }

    /// Each tenant's tokens from a cache of its own, for requests to these origins.
    ///
    /// Whose a request is, its [`Tenant`](crate::mark::Tenant) says, or a function set with
    /// [`tenant`](Self::tenant). One that is nobody's is not sent: it ends in a
    /// [`TokenError`](crate::token::TokenError), unless it goes without a token anyway.
    ///
    /// ```
    /// use tower_outbound::{
    ///     mark::Tenant, origin::Origins, token::{Grant, KeyedTokenCache, TokenCache, source_fn},
    ///     token_refresh::TokenRefreshLayer,
    /// };
    ///
    /// let tokens = KeyedTokenCache::new(|tenant: &Tenant| {
    ///     // Look the tenant's credentials up here, or in the source.
    ///     # let _ = tenant;
    ///     TokenCache::new(source_fn(|_| async { Ok(Grant::new("a token")) }))
    /// });
    /// let origins = Origins::only(["https://api.example.com"])?;
    /// let layer = TokenRefreshLayer::keyed(tokens, origins)
    ///     .tenant(|request| Some(Tenant::new(request.headers.get("x-tenant")?.to_str().ok()?)));
    /// # Ok::<_, tower_outbound::origin::UrlError>(())
    /// ```
    pub fn keyed(tokens: KeyedTokenCache, origins: Origins) -> Self {
        let mut layer = Self::new(nobodys(), origins);
        layer.edit().tenants = Some(Tenants::new(tokens));
        layer
    }

    /// Whose a request is: by default its [`Tenant`](crate::mark::Tenant) mark says. Without
    /// [`keyed`](Self::keyed) caches it changes nothing.
    pub fn tenant(
        mut self,
        choose: impl Fn(&RequestHead<'_>) -> Option<Tenant> + Send + Sync + 'static,
    ) -> Self {
        if let Some(tenants) = &mut self.edit().tenants {
            tenants.choose = Arc::new(choose);
        }
        self
    }

    /// Which responses mean that the token is no good.
    ///
    /// By default: status 401, unless a challenge says `insufficient_scope`, `invalid_request`,
    /// `insufficient_user_authentication` or `use_dpop_nonce`. A 401 that the source says it can
    /// [answer](crate::token::TokenSource::answers) counts in any case. To look at the body, put a
    /// [`BufferErrorBodyLayer`](crate::buffer_body::BufferErrorBodyLayer) below this layer, and find
    /// the [`ErrorBody`](crate::buffer_body::ErrorBody) in the extensions.
    ///
    /// ```
    /// # use tower_outbound::{origin::Origins, token::*, token_refresh::TokenRefreshLayer};
    /// # let tokens = TokenCache::new(source_fn(|_| async { Ok(Grant::new("")) }));
    /// // A vendor that says 403 about a dead token.
    /// let layer = TokenRefreshLayer::new(tokens, Origins::any())
    ///     .refused_when(|parts| matches!(parts.status.as_u16(), 401 | 403));
    /// ```
    pub fn refused_when(
        mut self,
        is_refusal: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.edit().is_refusal = Arc::new(is_refusal);
        self
    }

    /// For servers that refuse a new token until it has reached all of them: for this long after it
    /// was asked for, a refused token is sent again after pauses of 1 s, 2 s, 4 s…, before
    /// a renewal is thought of. Zero, which is off, by default; GitHub needs about five seconds.
    pub fn fresh_token_lag(mut self, lag: Duration) -> Self {
        self.edit().fresh_token_lag = lag;
        self
    }

    fn edit(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl<S> Layer<S> for TokenRefreshLayer {
    type Service = TokenRefresh<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenRefresh::new(inner, Arc::clone(&self.settings))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("tokens", &self.tokens)
            .field("tenants", &self.tenants)
            .field("origins", &self.origins)
            .field("fresh_token_lag", &self.fresh_token_lag)
            .finish_non_exhaustive()
    }
}
