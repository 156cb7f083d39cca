//! Stores keep the contract, and a file survives whatever happens to the processes that write it.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::Duration,
};

use tower_outbound::store::{
    FileStore, Lease, MemoryStore, Session, StoreError, Stored, Swap, TokenStore, Version,
    conformance,
};

use self::children::{Directory, command, say};

mod children;

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_keeps_the_contract() {
    let store = MemoryStore::new();
    conformance(async || store.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_a_file_keeps_the_contract() {
    let directory = Directory::new();
    conformance(async || FileStore::new(directory.login())).await;
}

#[tokio::test]
async fn so_it_does_on_one_thread() {
    let directory = Directory::new();
    conformance(async || FileStore::new(directory.login())).await;
}

/// Fifty processes renew, one after the other, and each is killed at some moment.
#[tokio::test]
async fn a_process_that_is_killed_at_any_moment_loses_nothing_and_holds_nobody_up() {
    const ROUNDS: u64 = 50;
    let directory = Directory::new();
    let store = FileStore::new(directory.login());
    let mut last = Version::NONE;
    let mut killed_with_lease = 0;
    for round in 0..ROUNDS {
        let mut child = spawn("child_that_writes_until_it_is_killed", &directory.login());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // What the child says is read all the time, lest a full pipe hold it up.
        let (tell, told) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        // Most are killed at work, some while they start.
        let mut lines = Vec::new();
        if round % 5 != 0 {
            lines.push(told.recv_timeout(PATIENCE).unwrap());
        }
        thread::sleep(Duration::from_micros(fastrand::u64(0..12_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        lines.extend(told.try_iter());

        // Reads what the child left.
        let stored = store.load().await.unwrap();
        assert!(
            stored.version >= last,
            "round {round}: the version went back"
        );
        let written = lines
            .iter()
            .filter_map(|line| line.strip_prefix("written "))
            .filter_map(|number| number.parse().ok())
            .map(Version::new)
            .max();
        if let Some(written) = written {
            assert!(stored.version >= written, "round {round}: a write was lost");
            let session = stored.session.unwrap();
            let length = session.refresh_token().unwrap().expose().len();
            assert_eq!(length, LENGTH, "round {round}: half a token");
        }
        last = stored.version;

        // The dead process had asked for an hour.
        killed_with_lease += u64::from(lines.iter().any(|line| line == "leased"));
        let lease = store.lease(HOUR).await.unwrap();
        assert!(
            lease.is_some(),
            "round {round}: the lease is held by a dead process"
        );
        // Its own writes work as well.
        let own = Session::new("p".repeat(LENGTH));
        if let Swap::Written(version) = store.swap(last, &own).await.unwrap() {
            assert!(version > last);
            last = version;
        } else {
            panic!("round {round}: somebody else writes");
        }
    }
    assert!(killed_with_lease >= ROUNDS / 2, "the test tests nothing");
}

/// Run by the test above in a process of its own.
#[tokio::test]
#[ignore = "is run by another test"]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = env::var_os(PATH) else {
        return;
    };
    let store = FileStore::new(PathBuf::from(path));
    let _lease = store.lease(HOUR).await.unwrap().unwrap();
    say("leased");
    loop {
        let present = store.load().await.unwrap().version;
        let session = Session::new("c".repeat(LENGTH));
        if let Swap::Written(version) = store.swap(present, &session).await.unwrap() {
            say(&format!("written {}", version.get()));
        }
    }
}

/// Several processes count in one file.
#[tokio::test]
async fn processes_that_write_at_once_lose_no_write() {
    let directory = Directory::new();
    let store = FileStore::new(directory.login());
    let swap = store.swap(Version::NONE, &Session::new("0")).await;
    assert!(matches!(swap, Ok(Swap::Written(_))));
    let children: Vec<Child> = (0..CHILDREN)
        .map(|_| spawn("child_that_counts", &directory.login()))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let session = store.load().await.unwrap().session.unwrap();
    let count: u64 = session.refresh_token().unwrap().expose().parse().unwrap();
    assert_eq!(count, CHILDREN * COUNTS);
}

/// Run by the test above in processes of their own. Half of the counts are made under the lease,
/// as renewals are, half without.
#[tokio::test]
#[ignore = "is run by another test"]
async fn child_that_counts() {
    let Some(path) = env::var_os(PATH) else {
        return;
    };
    let store = FileStore::new(PathBuf::from(path));
    let mut counted = 0;
    while counted < COUNTS {
        let seen = store.load().await.unwrap().version;
        let lease = store.lease(HOUR).await.unwrap();
        if counted % 2 == 0 && lease.is_none() {
            store.changed(seen).await;
            continue;
        }
        let stored = store.load().await.unwrap();
        let session = stored.session.unwrap();
        let count: u64 = session.refresh_token().unwrap().expose().parse().unwrap();
        let next = Session::new((count + 1).to_string());
        if let Swap::Written(_) = store.swap(stored.version, &next).await.unwrap() {
            counted += 1;
        }
        drop(lease);
    }
}

/// Stopped, not dead: its lock stays, and only its term ends.
#[cfg(unix)]
#[tokio::test]
async fn a_process_that_is_stopped_blocks_nobody_for_longer_than_its_bound() {
    let directory = Directory::new();
    let store = FileStore::new(directory.login());
    let mut child = spawn("child_that_hangs_with_the_lease", &directory.login());
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "leased\n");
    let mut refusals = 0;
    let lease = loop {
        match store.lease(HOUR).await.unwrap() {
            Some(lease) => break lease,
            None => refusals += 1,
        }
        store.changed(Version::NONE).await;
    };
    assert!(refusals > 0);
    assert!(child.try_wait().unwrap().is_none(), "it died");
    // When it dies at last, that does not free the lease of the next one.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.lease(HOUR).await.unwrap().is_none());
    drop(lease);
    assert!(store.lease(HOUR).await.unwrap().is_some());
}

/// Run by the test above in a process of its own.
#[tokio::test]
#[ignore = "is run by another test"]
async fn child_that_hangs_with_the_lease() {
    let Some(path) = env::var_os(PATH) else {
        return;
    };
    let store = FileStore::new(PathBuf::from(path));
    let _lease = store
        .lease(Duration::from_millis(500))
        .await
        .unwrap()
        .unwrap();
    say("leased");
    thread::sleep(PATIENCE);
}

/// The conformance test finds what is wrong with a store.
mod broken {
    use std::{
        panic::AssertUnwindSafe,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures_util::FutureExt;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fault {
        NotEmpty,
        ForgetsTheScope,
        SwapsBlindly,
        SaysMovedAndWrites,
        VersionsStandStill,
        ComparesAndThenWrites,
        LeasesToAll,
        NeverReleases,
        NeverExpires,
        ReleasesForOthers,
        NeverTellsOfAWrite,
        Fails,
    }

    /// A store in memory with one fault.
    #[derive(Clone)]
    struct Broken {
        fault: Fault,
        inner: MemoryStore,
        lease: Arc<Mutex<Option<Lease>>>,
        leased: Arc<AtomicBool>,
    }

    impl Broken {
        fn new(fault: Fault) -> Self {
            Self {
                fault,
                inner: MemoryStore::new(),
                lease: Arc::default(),
                leased: Arc::default(),
            }
        }

        async fn overwrite(&self, session: &Session) -> Result<Swap, StoreError> {
            let present = self.inner.load().await?.version;
            self.inner.swap(present, session).await
        }
    }

    impl TokenStore for Broken {
        async fn load(&self) -> Result<Stored, StoreError> {
            let mut stored = self.inner.load().await?;
            match self.fault {
                Fault::Fails => return Err(StoreError::new("no")),
                Fault::NotEmpty if stored.session.is_none() => {
                    stored.session = Some(Session::new("left"));
                }
                Fault::VersionsStandStill if stored.session.is_some() => {
                    stored.version = Version::new(1);
                }
                _ => {}
            }
            Ok(stored)
        }

        async fn swap(&self, expected: Version, session: &Session) -> Result<Swap, StoreError> {
            match self.fault {
                Fault::ForgetsTheScope => {
                    let text = session.to_json().expose().replace("\"scope\"", "\"lost\"");
                    let session = Session::from_json(text.as_bytes())?;
                    self.inner.swap(expected, &session).await
                }
                Fault::SwapsBlindly => self.overwrite(session).await,
                Fault::SaysMovedAndWrites => {
                    if self.inner.load().await?.version != expected {
                        let _ = self.overwrite(session).await?;
                        return Ok(Swap::Moved);
                    }
                    self.inner.swap(expected, session).await
                }
                Fault::VersionsStandStill => {
                    let is_empty = self.inner.load().await?.session.is_none();
                    let really = if is_empty {
                        Version::NONE
                    } else {
                        Version::new(1)
                    };
                    if really != expected {
                        return Ok(Swap::Moved);
                    }
                    let _ = self.overwrite(session).await?;
                    Ok(Swap::Written(Version::new(1)))
                }
                Fault::ComparesAndThenWrites => {
                    if self.inner.load().await?.version != expected {
                        return Ok(Swap::Moved);
                    }
                    tokio::task::yield_now().await;
                    self.overwrite(session).await
                }
                _ => self.inner.swap(expected, session).await,
            }
        }

        async fn lease(&self, bound: Duration) -> Result<Option<Lease>, StoreError> {
            match self.fault {
                Fault::LeasesToAll => Ok(Some(Lease::new(|| {}))),
                Fault::NeverReleases => {
                    let lease = self.inner.lease(bound).await?;
                    Ok(lease.map(|lease| Lease::new(move || std::mem::forget(lease))))
                }
                Fault::NeverExpires => {
                    if self.leased.swap(true, Ordering::SeqCst) {
                        return Ok(None);
                    }
                    let leased = Arc::clone(&self.leased);
                    Ok(Some(Lease::new(move || {
                        leased.store(false, Ordering::SeqCst)
                    })))
                }
                Fault::ReleasesForOthers => {
                    let Some(lease) = self.inner.lease(bound).await? else {
                        return Ok(None);
                    };
                    *self.lease.lock().unwrap() = Some(lease);
                    let present = Arc::clone(&self.lease);
                    Ok(Some(Lease::new(move || {
                        drop(present.lock().unwrap().take())
                    })))
                }
                _ => self.inner.lease(bound).await,
            }
        }

        async fn changed(&self, seen: Version) {
            if self.fault == Fault::NeverTellsOfAWrite {
                std::future::pending::<()>().await;
            }
            self.inner.changed(seen).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_wrong_is_found_and_named() {
        for (fault, message) in [
            (Fault::NotEmpty, "must be empty at first"),
            (Fault::ForgetsTheScope, "came back altered"),
            (Fault::SwapsBlindly, "must be refused"),
            (Fault::SaysMovedAndWrites, "a refused swap"),
            (Fault::VersionsStandStill, "versions must grow"),
            (Fault::ComparesAndThenWrites, "exactly one must be written"),
            (Fault::LeasesToAll, "two have the lease"),
            (Fault::NeverReleases, "not to be had"),
            (
                Fault::NeverExpires,
                "must be free for others after that time",
            ),
            (
                Fault::ReleasesForOthers,
                "released the lease of the next one",
            ),
            (Fault::NeverTellsOfAWrite, "did not return after a write"),
            (Fault::Fails, "does not load"),
        ] {
            let store = Broken::new(fault);
            let test = AssertUnwindSafe(conformance(async || store.clone()));
            let panic = test.catch_unwind().await.unwrap_err();
            let said = match panic.downcast::<String>() {
                Ok(said) => *said,
                Err(panic) => panic.downcast::<&str>().unwrap().to_string(),
            };
            assert!(said.contains(message), "{fault:?}: {said}");
        }
    }
}

/// Runs a test of this file in a process of its own.
fn spawn(test: &str, path: &Path) -> Child {
    command(test).env(PATH, path).spawn().unwrap()
}

/// Tells a child process which file to use.
const PATH: &str = "TOWER_OUTBOUND_TEST_STORE";

const HOUR: Duration = Duration::from_secs(3600);

/// For what comes at once on any machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of a token: more than a pipe or a page takes in one go.
const LENGTH: usize = 100_000;

const CHILDREN: u64 = 4;
const COUNTS: u64 = 25;
