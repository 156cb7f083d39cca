//! What differs between operating systems: who may read a file, which file an open one is, and
//! when a rename is on the disk.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

#[cfg(unix)]
mod unix {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    };

    use super::*;

    /// Files that are made with these options are their owner's alone.
    pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options.mode(0o600)
    }

    /// Takes from others the right to read an open file. Tells whether they had it.
    pub(crate) fn make_private(file: &File) -> io::Result<bool> {
        let is_open_to_others = file.metadata()?.mode() & 0o077 != 0;
        if is_open_to_others {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(is_open_to_others)
    }

    /// Whether an open file is the one that lies at the path now.
    pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until what was renamed in a directory is on the disk.
    pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

#[cfg(not(unix))]
mod other {
    use super::*;

    /// Files get the permissions of their directory.
    pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    /// Leaves the permissions alone.
    pub(crate) fn make_private(_file: &File) -> io::Result<bool> {
        Ok(false)
    }

    /// Cannot be told; a file that is open can hardly be deleted, either.
    pub(crate) fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    /// A directory cannot be flushed by itself.
    pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(unix))]
pub(super) use other::{is_at, make_private, private, sync_directory};
#[cfg(unix)]
pub(super) use unix::{is_at, make_private, private, sync_directory};
