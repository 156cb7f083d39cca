//! How far an export has come, in a file beside its output: always a whole one, and never ahead of
//! it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tower::BoxError;
use tower_outbound::pages::Position;

#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoint {
    /// Which export it is of.
    pub(crate) of: String,
    /// How many conversations are done, and how long the output is with them.
    pub(crate) records: u64,
    pub(crate) length: u64,
    /// The ids of the last page that is done.
    pub(crate) last_page: Vec<String>,
    pub(crate) next: Next,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) enum Next {
    #[default]
    Everything,
    From(Position),
    Nothing,
}

impl Checkpoint {
    /// Where that of an output is.
    pub(crate) fn beside(output: &Path) -> PathBuf {
        output.with_extension("checkpoint")
    }

    /// What is in the file, if there is one.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, BoxError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let damaged = || format!("{} is no checkpoint", path.display());
        let value: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
        Self::read(&value).map(Some).ok_or_else(|| damaged().into())
    }

    fn read(value: &Value) -> Option<Self> {
        let ids = value["lastPage"].as_array()?.iter();
        let ids = ids.map(|id| Some(id.as_str()?.to_owned()));
        let next = match &value["next"] {
            Value::Null => Next::Nothing,
            next => Next::From(next.as_str()?.parse().ok()?),
        };
        Some(Self {
            of: value["of"].as_str()?.to_owned(),
            records: value["records"].as_u64()?,
            length: value["length"].as_u64()?,
            last_page: ids.collect::<Option<_>>()?,
            next,
        })
    }

    /// Writes it to the disk, in place of the one before.
    pub(crate) fn store(&self, path: &Path) -> io::Result<()> {
        let next = match &self.next {
            Next::From(position) => Some(position.to_string()),
            Next::Everything | Next::Nothing => None,
        };
        let value = json!({
            "of": self.of,
            "records": self.records,
            "length": self.length,
            "lastPage": self.last_page,
            "next": next,
        });
        // Whoever reads it finds this one or the one before, whenever the power fails.
        let temporary = path.with_extension("checkpoint.new");
        let mut file = File::create(&temporary)?;
        file.write_all(value.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path)
    }

    pub(crate) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_directory(path)),
        }
    }
}

/// A rename is on the disk when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) {
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
