use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

/// A server that runs until this is dropped. What it complained about is printed if the test fails.
pub struct Process {
    child: Child,
    complaints: PathBuf,
}

impl Process {
    /// Starts it, and waits for the line of JSON that it prints when it listens.
    pub fn start(command: &mut Command) -> (Self, Value) {
        let complaints = unique("complaints");
        let child = command
            // It ends with its input, so also when this program is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaints).unwrap())
            .spawn()
            .expect("`.ci/run` installs what this needs");
        let mut process = Self { child, complaints };
        let mut line = String::new();
        let stdout = process.child.stdout.take().unwrap();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).expect("it listens, and says where");
        // A pipe that nobody reads would stop it.
        thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        (process, said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(&self.complaints).unwrap_or_default()
            );
        }
        let _ = fs::remove_file(&self.complaints);
    }
}

/// Where `.ci/run` installs what these tests need.
pub fn installed(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("interop").join(name)
}

/// A folder that is gone when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = unique("folder");
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A path that nobody else has.
fn unique(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{}-{count}-{name}", process::id()))
}
