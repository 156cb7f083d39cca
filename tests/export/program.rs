//! The program, and the server that it exports from, which outlives it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;
use tokio::process::{Child, Command};
use tower_outbound::test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply};

pub struct World {
    pub cloud: LoopbackCloud,
    pub output: PathBuf,
    mode: Option<&'static str>,
}

impl World {
    /// Fifteen pages of twenty conversations; a directory of this name.
    pub async fn new(name: &str, mode: Option<&'static str>) -> Self {
        let cloud = LoopbackCloud::builder()
            .conversations(CONVERSATIONS)
            .configure(|knobs| {
                knobs.quota = None;
                knobs.job_polls = 0;
            })
            .start()
            .await
            .unwrap();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("export")
            .join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let output = directory.join("conversations.jsonl");
        Self {
            cloud,
            output,
            mode,
        }
    }

    /// The same cloud and file.
    pub fn in_mode(&self, mode: Option<&'static str>) -> Self {
        Self {
            cloud: self.cloud.clone(),
            output: self.output.clone(),
            mode,
        }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(self.mode)
            .args(["--interval", JANUARY])
            .args(["--token-url", &self.cloud.token_url()])
            .args(["--api-url", self.cloud.api_url()])
            .args(["--page-size", "20", "--concurrency", "10", "--output"])
            .arg(&self.output)
            .args(more)
            .env("GENESYS_CLIENT_ID", CLIENT_ID)
            .env("GENESYS_CLIENT_SECRET", CLIENT_SECRET)
            .env_remove("GENESYS_REGION")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().await.unwrap()
    }

    /// Runs it to its end, which has to be a good one.
    pub async fn finish(&self, more: &[&str]) {
        let output = self.run(more).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// Starts it, and returns when it waits for an answer that never comes: that to the request to
    /// this route which is the next after so many.
    pub async fn start_up_to(&self, route: &str, passed: usize, more: &[&str]) -> Child {
        self.cloud.clear_log();
        let replies = (0..passed).map(|_| Reply::pass()).chain([Reply::hang()]);
        self.cloud.script(Listener::Api, route, replies);
        let mut child = self.command(more).spawn().unwrap();
        while self.cloud.api_calls_to(route) <= passed {
            assert!(child.try_wait().unwrap().is_none(), "it has ended before");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child
    }

    /// The same, and kills it there.
    pub async fn kill_at(&self, route: &str, passed: usize, more: &[&str]) {
        let mut child = self.start_up_to(route, passed, more).await;
        child.kill().await.unwrap();
        self.cloud.clear_scripts();
    }

    pub fn written(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The file has each of the cloud's conversations once.
    pub fn assert_all_are_there(&self) {
        let written = self.written().into_iter().map(|line| {
            let conversation: Value = serde_json::from_str(&line).unwrap();
            conversation["conversationId"].as_str().unwrap().to_owned()
        });
        let (mut written, mut there): (Vec<_>, _) =
            (written.collect(), self.cloud.conversation_ids());
        written.sort_unstable();
        there.sort_unstable();
        assert_eq!(written, there);
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.output.with_extension("checkpoint")
    }
}

/// The example as it is now: `cargo test --test export` alone would not build it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = std::process::Command::new(env!("CARGO"))
            .args(["build", "--example", "genesys_export"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let messages = String::from_utf8(built.stdout).unwrap();
        let mut programs = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        });
        programs.next().expect("it was built")
    })
}

pub const CONVERSATIONS: usize = 300;
pub const LISTING: &str = "POST /api/v2/analytics/conversations/details/query";
pub const DETAILS: &str = "GET /api/v2/analytics/conversations/*/details";
pub const JOBS: &str = "POST /api/v2/analytics/conversations/details/jobs";
pub const POLLS: &str = "GET /api/v2/analytics/conversations/details/jobs/*";
pub const RESULTS: &str = "GET /api/v2/analytics/conversations/details/jobs/*/results";

const JANUARY: &str = "2026-01-01T00:00:00Z/2026-02-01T00:00:00Z";
