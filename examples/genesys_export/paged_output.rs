//! The file with the conversations, one on each line, and its checkpoint: what comes after the last
//! page that is done is cut off before it is gone on with.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tower::BoxError;
use tower_outbound::pages::Position;

use crate::{
    checkpoint::{Checkpoint, Next},
    output,
};

pub(crate) struct PagedOutput {
    path: PathBuf,
    file: BufWriter<File>,
    checkpoint_path: PathBuf,
    checkpoint: Checkpoint,
}

impl PagedOutput {
    /// The file anew, or to go on with what it holds of this export.
    pub(crate) fn open(path: PathBuf, resume: bool, of: String) -> Result<Self, BoxError> {
        let checkpoint_path = Checkpoint::beside(&path);
        let stored = if resume {
            Checkpoint::load(&checkpoint_path)?
        } else {
            // First of all: it must not be found beside an output that it does not fit.
            Checkpoint::remove(&checkpoint_path)?;
            None
        };
        if let Some(stored) = stored.as_ref().filter(|stored| stored.of != of) {
            return Err(format!(
                "{} is of another export, {}: go on with that, or begin anew without --resume",
                path.display(),
                stored.of
            )
            .into());
        }
        let checkpoint = stored.unwrap_or(Checkpoint {
            of,
            ..Checkpoint::default()
        });
        let file = cut(&path, checkpoint.length)?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            checkpoint_path,
            checkpoint,
        })
    }

    /// Forgets what there is.
    pub(crate) fn begin_anew(self) -> Result<Self, BoxError> {
        let Self {
            path, checkpoint, ..
        } = self;
        Self::open(path, false, checkpoint.of)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many conversations are in the file.
    pub(crate) fn records(&self) -> u64 {
        self.checkpoint.records
    }

    /// What was to be done when it was committed last.
    pub(crate) fn next(&self) -> &Next {
        &self.checkpoint.next
    }

    /// The ids of the last page that was committed.
    pub(crate) fn last_page(&self) -> &[String] {
        &self.checkpoint.last_page
    }

    pub(crate) fn write(&mut self, json: &[u8]) -> io::Result<()> {
        self.checkpoint.length += output::write_line(&mut self.file, json)?;
        self.checkpoint.records += 1;
        Ok(())
    }

    /// A page is done: what was written is on the disk first, and then that it is.
    pub(crate) fn commit(&mut self, ids: Vec<String>, next: Option<Position>) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        self.checkpoint.last_page = ids;
        self.checkpoint.next = next.map_or(Next::Nothing, Next::From);
        self.checkpoint.store(&self.checkpoint_path)
    }
}

/// The file, without what comes after this length.
fn cut(path: &Path, length: u64) -> Result<File, BoxError> {
    let cannot = |error| format!("{} cannot be written: {error}", path.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(cannot)?;
    if file.metadata()?.len() < length {
        return Err(format!("{} is shorter than its checkpoint says", path.display()).into());
    }
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(file)
}
