//! The file with the conversations: one on each line. Here it is its own checkpoint: what is on a whole line
//! is done, and half a line, which an interruption may leave at the end, is not.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tower::BoxError;

pub(crate) struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    done: HashSet<String>,
}

impl Output {
    /// The file anew, or to go on with what it holds.
    pub(crate) fn open(path: PathBuf, resume: bool) -> Result<Self, String> {
        let opened = if resume {
            resumed(&path)
        } else {
            File::create(&path).map(|file| (file, HashSet::new()))
        };
        let (file, done) =
            opened.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            done,
        })
    }

    /// The ids of the conversations that were there when it was opened.
    pub(crate) fn done(&self) -> &HashSet<String> {
        &self.done
    }

    pub(crate) fn write(&mut self, json: &[u8]) -> io::Result<()> {
        write_line(&mut self.file, json)?;
        Ok(())
    }

    /// Writes what is left, and returns the path.
    pub(crate) fn close(mut self) -> io::Result<PathBuf> {
        self.file.flush()?;
        Ok(self.path)
    }
}

/// Writes a JSON document on a line of its own, and returns the length of that.
pub(crate) fn write_line(file: &mut impl Write, json: &[u8]) -> io::Result<u64> {
    let mut length = 1;
    // In strings line breaks are escaped; all others are blanks.
    for line in json.split(|byte| matches!(byte, b'\n' | b'\r')) {
        file.write_all(line)?;
        length += line.len() as u64;
    }
    file.write_all(b"\n")?;
    Ok(length)
}

/// Reads what is in the file, and cuts off half a line at its end.
fn resumed(path: &Path) -> io::Result<(File, HashSet<String>)> {
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let (mut done, mut whole, mut line) = (HashSet::new(), 0, Vec::new());
    let mut reader = BufReader::new(&file);
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        let conversation: Value = serde_json::from_slice(&line)?;
        let id = conversation["conversationId"].as_str().unwrap_or_default();
        done.insert(id.to_owned());
        whole += line.len() as u64;
        line.clear();
    }
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, done))
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

/// Reads the file back where the ids are not known: it has to hold so many conversations.
pub(crate) fn check_count(path: &Path, count: u64) -> Result<(), BoxError> {
    let mut found = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        serde_json::from_str::<Value>(&line?)?;
        found += 1;
    }
    if found != count {
        return Err(format!("{count} conversations were got, {found} are in the file").into());
    }
    Ok(())
}
