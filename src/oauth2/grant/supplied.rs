use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::token::{Secret, TokenError};

/// A secret that is got anew whenever it is needed: an assertion, somebody else's token.
#[derive(Clone)]
pub(crate) struct Supplied(Arc<Supply>);

type Supply =
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<Secret, TokenError>> + Send>> + Send + Sync;

impl Supplied {
    pub(crate) fn by<F, Fut>(supply: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Secret, TokenError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(supply())))
    }

    pub(crate) async fn get(&self) -> Result<Secret, TokenError> {
        (self.0)().await
    }
}

impl fmt::Debug for Supplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Supplied")
    }
}
