//! The files, and what is done to them on a thread that may block.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use tracing::warn;

use super::{
    super::{
        Lease, Session, StoreError, Stored, Swap, Version,
        session::{millis, parse},
    },
    guard::Guard,
    platform::{make_private, private, sync_directory},
    term::{Term, Verdict, judge},
};
use crate::{time, token::Secret};

/// Where everything lies.
///
/// A process may die after any step; what it leaves does no harm:
/// - The guard is locked: the system unlocks it.
/// - A temporary file, whole or not: whoever writes next deletes it first. Only who holds the guard
///   touches it, so one name for all is enough.
/// - The rename is done and not yet on the disk: processes see the new file, and after a power
///   failure there is the old one or the new one.
/// - The lease is locked: the system unlocks it. Its term stays behind, but is read only while the
///   lease is locked, and whoever locks it writes a new one.
#[derive(Debug)]
pub(super) struct Files {
    token: PathBuf,
    directory: PathBuf,
    guard: PathBuf,
    lease: PathBuf,
}

impl Files {
    /// The files of this path, or of where it leads to if it is a symbolic link: the link stays.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let token = follow(path).map_err(cannot("follow", path))?;
        let parent = match token.parent() {
            Some(parent) if token.file_name().is_some() => parent,
            _ => {
                let path = path.display();
                return Err(StoreError::new(format!("{path} names no file")));
            }
        };
        let directory = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        Ok(Self {
            directory: directory.to_owned(),
            guard: beside(&token, ".guard"),
            lease: beside(&token, ".lease"),
            token,
        })
    }

    /// No lock is needed: an open file is the old one or the new one, whatever is renamed
    /// meanwhile.
    pub(super) fn load(&self) -> Result<Stored, StoreError> {
        match self.read() {
            Ok(Some(text)) => interpret(&text).map_err(|error| self.damaged(error)),
            Ok(None) => Ok(Stored::NOTHING),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(self.damaged(error)),
            Err(error) => Err(cannot("read", &self.token)(error)),
        }
    }

    pub(super) fn swap(&self, expected: Version, session: &Secret) -> Result<Swap, StoreError> {
        let _guard = Guard::lock(&self.guard, PATIENCE)?;
        let present = self.load()?.version;
        if present != expected {
            return Ok(Swap::Moved);
        }
        let version = after(present, millis(time::wall()));
        let head = format!("{{\"version\":{},\"session\":", version.get());
        let parts = [head.as_str(), session.expose(), "}\n"];
        if parts.iter().map(|part| part.len()).sum::<usize>() > LARGEST {
            return Err(StoreError::new("the session is too large for a file"));
        }
        self.replace(parts).map_err(cannot("write", &self.token))?;
        Ok(Swap::Written(version))
    }

    pub(super) fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
        let mut guard = Guard::lock(&self.guard, PATIENCE)?;
        self.take(&mut guard, bound)
            .map_err(cannot("lock", &self.lease))
    }

    /// Takes the lease if it is free, or if its holder is overdue.
    fn take(&self, guard: &mut Guard, bound: Duration) -> io::Result<Option<Lease>> {
        let now = millis(time::wall());
        // The lock belongs to this opening of the file, so another store in this process is kept
        // out like another process.
        let present = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(&self.lease)?;
        let file = match present.try_lock() {
            Ok(()) => present,
            Err(TryLockError::WouldBlock) => match judge(guard.term()?, now, bound) {
                Verdict::Running => return Ok(None),
                Verdict::Restate(term) => {
                    guard.write_term(term)?;
                    return Ok(None);
                }
                Verdict::Over => self.locked_anew()?,
            },
            Err(TryLockError::Error(error)) => return Err(error),
        };
        // Should this fail, `file` is closed, and with that unlocked.
        guard.write_term(Term::new(now, bound))?;
        // An overdue holder unlocks a file that has no name any more, and nobody else's.
        Ok(Some(Lease::new(move || drop(file.unlock()))))
    }

    /// A new lease file in the place of one whose lock an overdue holder keeps; locked before
    /// anybody can open it.
    fn locked_anew(&self) -> io::Result<File> {
        let (temporary, file) = create(&self.lease)?;
        file.try_lock()?;
        fs::rename(temporary, &self.lease)?;
        Ok(file)
    }

    /// Replaces the token file as a whole.
    pub(super) fn replace(&self, parts: [&str; 3]) -> io::Result<()> {
        let (temporary, mut file) = create(&self.token)?;
        let written = parts
            .into_iter()
            .try_for_each(|part| file.write_all(part.as_bytes()))
            // Before the rename: else a power failure may leave an empty file under the name.
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, &self.token));
        if written.is_err() {
            let _ = fs::remove_file(&temporary); // it may hold half a secret
        }
        written?;
        sync_directory(&self.directory)
    }

    /// The whole text of the token file, if there is one.
    fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = match File::open(&self.token) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(LARGEST);
        let mut text = Zeroizing::new(Vec::with_capacity(length.min(LARGEST) + 1));
        (&file).take(LARGEST as u64 + 1).read_to_end(&mut text)?;
        if make_private(&file)? {
            let path = self.token.display();
            warn!(%path, "others could read the token file; it is private now");
        }
        Ok(Some(text))
    }

    fn damaged(&self, source: impl Into<tower::BoxError>) -> StoreError {
        let path = self.token.display();
        StoreError::damaged(format!(
            "{path} is not a file of ours, or was damaged; it was left as it is: restore it, or \
             delete it and log in again"
        ))
        .caused_by(source)
    }
}

/// An error of the system, for a sentence about a file.
pub(super) fn cannot(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let message = format!("cannot {what} {}", path.display());
    move |error| StoreError::new(message).caused_by(error)
}

/// Where a path leads to. The last step need not exist.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            // A relative target counts from where the link lies; an absolute one replaces it all.
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // Not a link (any system has its own error for that), or nothing there: whatever is
            // wrong shows itself when it is opened.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// A new file that is to be renamed to `path`. What a crash left of the one before is not adopted.
fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    let temporary = beside(path, ".tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
    Ok((temporary, file))
}

/// Makes sense of the token file: `{"version": …, "session": {…}}`.
fn interpret(text: &[u8]) -> Result<Stored, StoreError> {
    if text.len() > LARGEST {
        return Err(StoreError::damaged("it is too large"));
    }
    let Value::Object(mut members) = parse(text)? else {
        return Err(StoreError::damaged("it is not a JSON object"));
    };
    let version = members
        .get("version")
        .and_then(Value::as_u64)
        // The greatest one has none after it.
        .filter(|version| (1..u64::MAX).contains(version))
        .ok_or_else(|| StoreError::damaged("it has no version"))?;
    let Some(Value::Object(session)) = members.remove("session") else {
        return Err(StoreError::damaged("it has no session"));
    };
    Ok(Stored {
        version: Version::new(version),
        session: Some(Session::from_members(session)?),
    })
}

/// The version after this one. A new file does not begin at 1, but at the time: else, when a file
/// has been deleted and the user has logged in again, a process that knew the old one could take
/// the new one for it, and overwrite the new login.
fn after(version: Version, now: u64) -> Version {
    if version == Version::NONE {
        Version::new(now.max(1))
    } else {
        version.next()
    }
}

/// A token reply has up to 1 MiB, and JSON writes one byte of a string with six at most.
const LARGEST: usize = 8 * 1024 * 1024;

/// Longer than any disk takes to flush a small file, and well within the time that a renewal has.
const PATIENCE: Duration = Duration::from_secs(10);

/// What Linux follows.
const MOST_LINKS: usize = 40;
