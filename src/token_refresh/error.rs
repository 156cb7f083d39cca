use std::error::Error;

use thiserror::Error;

use crate::causes;

/// A request says neither scheme nor host, so nobody could say where its token would go.
///
/// Build requests with absolute URIs, or allow every origin with
/// [`Origins::any`](crate::origin::Origins::any) where the inner service talks to one server only.
#[derive(Clone, Debug, Error)]
#[error(
    "the request URI `{path}` names no origin, so no token was attached and nothing was sent: use an \
     absolute URI such as https://api.example.com{path}, or Origins::any()"
)]
pub struct MissingOrigin {
    path: String,
}

impl MissingOrigin {
    pub(crate) fn new(uri: &http::Uri) -> Self {
        Self {
            path: uri.path().to_owned(),
        }
    }

    /// Finds this error in an error or among its causes.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a MissingOrigin> {
        causes::find(error)
    }
}
