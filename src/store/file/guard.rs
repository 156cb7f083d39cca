//! One process at a time changes anything.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
    thread,
    time::Duration,
};

use super::{super::StoreError, files::cannot, platform::private, term::Term};

/// The locked guard file. Every change is made while it is held: comparing and writing, and taking
/// the lease. It is let go when it is dropped, or by the system when its holder dies; whatever the
/// holder had half done then is of no consequence (see [`Files`](super::files::Files)).
///
/// Nobody ever replaces or deletes this file, so that all lock the same one. It also holds the term
/// of the lease: the lease file itself cannot be read on Windows while somebody else has locked it.
pub(super) struct Guard(File);

impl Guard {
    /// Waits for its turn for this long, on a thread that may block.
    ///
    /// It asks again and again, instead of waiting in the system: a holder that was stopped in the
    /// middle of a change would hold up this thread, and with it the end of the runtime, for ever.
    /// The file is opened anew each time, so one who waits for a file that was deleted meanwhile
    /// turns to its successor.
    pub(super) fn lock(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(guard) = Self::try_lock(path).map_err(cannot("lock", path))? {
                return Ok(guard);
            }
            if waited >= patience {
                let path = path.display();
                return Err(StoreError::new(format!(
                    "another process has held {path} for {patience:?}; is it stopped?"
                )));
            }
            let pause = PAUSE * fastrand::u32(50..=150) / 100;
            thread::sleep(pause);
            waited += pause;
        }
    }

    fn try_lock(path: &Path) -> io::Result<Option<Self>> {
        let file = private(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false),
        )
        .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The term that the last taker of the lease wrote down; `None` if it is unreadable.
    pub(super) fn term(&mut self) -> io::Result<Option<Term>> {
        let mut text = Vec::with_capacity(Term::LENGTH);
        self.0.rewind()?;
        (&mut self.0)
            .take(Term::LENGTH as u64)
            .read_to_end(&mut text)?;
        Ok(Term::parse(&text))
    }

    pub(super) fn write_term(&mut self, term: Term) -> io::Result<()> {
        self.0.rewind()?;
        self.0.write_all(term.to_text().as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // closing it does the same
    }
}

/// About what a flush takes on a fast disk.
const PAUSE: Duration = Duration::from_millis(2);
