use std::{error::Error, fmt, sync::Arc};

use tower::BoxError;

use crate::token::TokenError;

/// Why a store could not be read, written or locked.
///
/// As a [`TokenError`] it is transient, because disks and networks recover; when what is stored is
/// [damaged](Self::is_damaged) it is rejected, because that does not cure itself.
#[derive(Clone)]
pub struct StoreError(Arc<Details>);

struct Details {
    message: String,
    damaged: bool,
    source: Option<BoxError>,
}

impl StoreError {
    /// A failure that another try may cure. The message is one line, in lower case, and holds no
    /// secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self::build(message.into(), false, None)
    }

    /// What is stored is unreadable, and stays so until a person sees to it: the message says how.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::build(message.into(), true, None)
    }

    /// The error behind this one, for [`source`](Error::source).
    pub fn caused_by(self, source: impl Into<BoxError>) -> Self {
        Self::build(self.0.message.clone(), self.0.damaged, Some(source.into()))
    }

    fn build(message: String, damaged: bool, source: Option<BoxError>) -> Self {
        Self(Arc::new(Details {
            message,
            damaged,
            source,
        }))
    }

    /// Whether what is stored is unreadable. Somebody has to restore it, or to delete it and log in
    /// again.
    pub fn is_damaged(&self) -> bool {
        self.0.damaged
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("message", &self.0.message)
            .field("damaged", &self.0.damaged)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        let failure = if error.is_damaged() {
            TokenError::rejected("what the token store holds is unreadable")
        } else {
            TokenError::transient("the token store is out of reach")
        };
        failure.caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failing_disk_is_transient_and_a_damaged_file_is_not() {
        let failing = StoreError::new("no").caused_by(io::Error::other("disk on fire"));
        assert!(TokenError::from(failing).is_transient());
        assert!(TokenError::from(StoreError::damaged("half a file")).is_rejected());
    }

    #[test]
    fn the_whole_story_is_in_the_sources() {
        let error = StoreError::new("no").caused_by(io::Error::other("disk on fire"));
        let error = TokenError::from(error.clone());
        let store = error.source().unwrap();
        assert!(store.is::<StoreError>());
        assert_eq!(store.source().unwrap().to_string(), "disk on fire");
    }
}
