use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::task::spawn_blocking;

use self::files::Files;
use super::{Lease, Session, StoreError, Stored, Swap, TokenStore, Version};

mod files;
mod guard;
mod platform;
mod term;

/// A store in a file, for the processes of one machine and user.
///
/// ```no_run
/// use tower_outbound::store::FileStore;
///
/// let store = FileStore::new("/var/lib/exporter/login.json");
/// ```
///
/// Every write replaces the file as a whole: it goes to `login.json.tmp`, is flushed to the disk,
/// and is then renamed. A crash leaves the old file or the new one, never half of one. What a crash
/// leaves of `login.json.tmp` is deleted by the next write, and never read.
///
/// # The directory
///
/// It must exist, and nobody but you should be allowed to write to it. Beside the file lie
/// `login.json.guard` and `login.json.lease`, which are empty but for two times, and stay. Do not
/// delete them while a program is running. In a container, mount the directory: a file that is
/// mounted by itself cannot be replaced. If the path is a symbolic link, the file that it leads to
/// is replaced, and its neighbours lie there.
///
/// The file system must be a local one. Locks of some network file systems do not exclude two
/// stores within one process, and do not end when a machine dies.
///
/// # Who may read it
///
/// On Unix all files are made for their owner alone (mode 0600). A file that others may read, as
/// restoring a backup can leave it, is made private when it is read, and a warning is logged,
/// because it may have been read before; if that is impossible it is refused. On other systems,
/// files get the permissions of the directory.
///
/// # The lease
///
/// It is a lock of the operating system, so it is free at once when its holder dies, however that
/// happens. A holder that is alive but hangs, or is stopped, loses it when its bound is over. The
/// bound is measured with the wall clock. If that is set ahead, a lease may end early; then the
/// swap keeps two holders from overwriting each other. If it is set back, a lease may last for
/// twice its bound at most.
///
/// A process that is stopped in the middle of a write, which takes some milliseconds, holds up
/// those who want to write or to take the lease. They get an error after ten seconds, which is
/// longer than any disk takes. Reading needs no lock.
///
/// # Errors
///
/// A file that is not one of ours is [damaged](StoreError::is_damaged), and is left as it is. The
/// message names it.
///
/// # Panics
///
/// The methods of [`TokenStore`] use tokio's pool of blocking threads, and panic outside of a tokio
/// runtime.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Path>);

impl FileStore {
    /// A store in the file of this path. Nothing is read or written yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Arc::from(path.into()))
    }

    /// The path that it was made with.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Does something with the files on a thread that may block. It goes on when the future is
    /// dropped.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = Arc::clone(&self.0);
        spawn_blocking(move || work(&Files::of(&path)?))
            .await
            .map_err(|error| StoreError::new("the runtime is shutting down").caused_by(error))?
    }
}

// `changed` is the default one, which polls. Being told of changes would take a dependency for each
// operating system, and misses those that other machines make; one reading of a small file costs
// some microseconds.
impl TokenStore for FileStore {
    async fn load(&self) -> Result<Stored, StoreError> {
        self.with_files(Files::load).await
    }

    async fn swap(&self, expected: Version, session: &Session) -> Result<Swap, StoreError> {
        let session = session.to_json();
        self.with_files(move |files| files.swap(expected, &session))
            .await
    }

    async fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
        self.with_files(move |files| files.lease(bound)).await
    }
}

#[cfg(test)]
mod tests;
