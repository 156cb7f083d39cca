//! A gateway in a process of its own.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    account,
    gateway::Gateway,
    raw::soon,
    setup::{metrics, settings},
    stop,
};

/// Killed when this is dropped, if it has not ended.
pub struct GatewayProcess {
    child: Child,
    address: SocketAddr,
}

/// Looks at a process once a second until it is dropped.
pub struct Memory {
    readings: Arc<Mutex<Vec<u64>>>,
    watch: JoinHandle<()>,
}

impl GatewayProcess {
    /// Starts this very program with one ignored test, which is a gateway.
    pub fn start(upstream: &str, token_url: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "process::a_gateway", "--ignored", "--nocapture"])
            .env("GATEWAY_UPSTREAM", upstream)
            .env("GATEWAY_TOKEN_URL", token_url)
            .env("CLIENT_ID", tower_outbound::test_util::CLIENT_ID)
            .env("CLIENT_SECRET", tower_outbound::test_util::CLIENT_SECRET)
            // It ends with its input, so also when this program is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        // What it complains about later is seen, and does not block it.
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        let address = line.trim().parse().expect("it says where it listens");
        Self { child, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn watch_memory(&self) -> Memory {
        let readings = Arc::new(Mutex::new(Vec::new()));
        let (path, read) = (
            format!("/proc/{}/status", self.child.id()),
            Arc::clone(&readings),
        );
        let watch = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let resident = resident_kib(&fs::read_to_string(&path).unwrap_or_default());
                read.lock().unwrap().extend(resident);
            }
        });
        Memory { readings, watch }
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) -> ExitStatus {
        soon(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Memory {
    /// In KiB, one for each second.
    pub fn readings(self) -> Vec<u64> {
        self.readings.lock().unwrap().clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by other tests"]
async fn a_gateway() {
    let [upstream, token_url] = ["GATEWAY_UPSTREAM", "GATEWAY_TOKEN_URL"]
        .map(|name| env::var(name).expect("it is run by other tests"));
    let options = ["--upstream", &upstream, "--token-url", &token_url];
    let settings = settings(&options).unwrap();
    let gateway = Gateway::open(&settings, account::from_env, metrics())
        .await
        .unwrap();
    let (address, _) = gateway.addresses().unwrap();
    let asked = stop::asked().unwrap();
    // A thread of its own: a runtime would wait for one of its threads that reads.
    let (abandoned, is_abandoned) = oneshot::channel();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        abandoned.send(())
    });
    let stop = async {
        tokio::select! {
            () = asked => {}
            _ = is_abandoned => {}
        }
    };
    // The test harness keeps to stdout.
    writeln!(std::io::stderr(), "{address}").unwrap();
    gateway.serve(stop).await.unwrap();
}
