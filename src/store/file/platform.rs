//! What differs between operating systems: who may read a file, and when a rename is on the disk.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

#[cfg(unix)]
mod unix {
    use std::{
        fs::Permissions,
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

    /// A directory cannot be flushed by itself.
    pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(unix))]
pub(super) use other::{make_private, private, sync_directory};
#[cfg(unix)]
pub(super) use unix::{make_private, private, sync_directory};
