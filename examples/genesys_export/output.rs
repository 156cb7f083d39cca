//! The file with the conversations: one on each line.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tower::BoxError;

pub(crate) struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    pub(crate) fn create(path: PathBuf) -> Result<Self, String> {
        let file = File::create(&path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    /// Writes a JSON document on a line of its own.
    pub(crate) fn write(&mut self, json: &[u8]) -> io::Result<()> {
        // In strings line breaks are escaped; all others are blanks.
        for line in json.split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.file.write_all(line)?;
        }
        self.file.write_all(b"\n")
    }

    /// Writes what is left, and returns the path.
    pub(crate) fn close(mut self) -> io::Result<PathBuf> {
        self.file.flush()?;
        Ok(self.path)
    }
}

/// Reads the file back: it has to hold each of these conversations once, and no other.
pub(crate) fn check(path: &Path, ids: &[String]) -> Result<(), BoxError> {
    let mut times: HashMap<&str, u32> = ids.iter().map(|id| (id.as_str(), 0)).collect();
    for (line, number) in BufReader::new(File::open(path)?).lines().zip(1..) {
        let conversation: Value = serde_json::from_str(&line?)
            .map_err(|error| format!("line {number} of the file is not JSON: {error}"))?;
        let id = conversation["conversationId"].as_str().unwrap_or_default();
        *times.get_mut(id).ok_or_else(|| {
            format!("the file holds a conversation {id:?} that was not listed")
        })? += 1;
    }
    let lost = times.values().filter(|times| **times == 0).count();
    let doubled = times.values().filter(|times| **times > 1).count();
    match (lost, doubled) {
        (0, 0) => Ok(()),
        _ => Err(format!("{lost} conversations are lost, {doubled} are in the file twice").into()),
    }
}
