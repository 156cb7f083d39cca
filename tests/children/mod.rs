//! Tests that run as processes of their own, started by other tests.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs an ignored test of this very program. What it [says](say) comes through stderr.
pub fn command(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Tells the parent something. The test harness keeps to stdout.
pub fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A directory of a test's own, deleted at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let name = format!("children-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn login(&self) -> PathBuf {
        self.path().join("login.json")
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path());
    }
}
