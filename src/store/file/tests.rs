use std::{
    error::Error,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use tokio::{runtime::Builder, task::JoinSet};

use super::{FileStore, files::Files, guard::Guard, term::Term};
use crate::{
    store::{Session, Swap, TokenStore, Version, session::millis},
    time,
};

const BOUND: Duration = Duration::from_secs(60);

/// A directory of a test's own, deleted at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("store-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.path("login.json"))
    }

    fn files(&self) -> Files {
        Files::of(&self.path("login.json")).unwrap()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes over whatever is there.
async fn write(store: &FileStore, refresh_token: &str) -> Version {
    let present = store.load().await.unwrap().version;
    let session = Session::new(refresh_token);
    match store.swap(present, &session).await.unwrap() {
        Swap::Written(version) => version,
        Swap::Moved => panic!("somebody else wrote"),
    }
}

async fn read(store: &FileStore) -> String {
    let session = store.load().await.unwrap().session.unwrap();
    session.refresh_token().unwrap().expose().to_owned()
}

fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(chain).unwrap_or_default();
    format!("{error}: {cause}")
}

#[test]
fn making_a_store_touches_no_file() {
    let directory = Directory::new();
    directory.store();
    assert!(directory.names().is_empty());
}

#[tokio::test]
async fn nothing_but_the_file_and_its_two_neighbours_is_left() {
    let directory = Directory::new();
    let store = directory.store();
    write(&store, "a").await;
    drop(store.lease(BOUND).await.unwrap());
    write(&store, "b").await;
    assert_eq!(
        directory.names(),
        ["login.json", "login.json.guard", "login.json.lease"]
    );
}

#[tokio::test]
async fn the_file_is_one_line_that_a_person_can_read() {
    let directory = Directory::new();
    directory.write(
        "login.json",
        r#"{"version":7,"session":{"refresh_token":"a"}}"#,
    );
    let store = directory.store();
    assert_eq!(store.load().await.unwrap().version, Version::new(7));
    assert_eq!(write(&store, "b").await, Version::new(8));
    assert_eq!(
        fs::read_to_string(directory.path("login.json")).unwrap(),
        "{\"version\":8,\"session\":{\"refresh_token\":\"b\"}}\n"
    );
}

#[tokio::test]
async fn a_new_file_after_a_deleted_one_is_not_taken_for_it() {
    let directory = Directory::new();
    let store = directory.store();
    let old = write(&store, "old").await;
    fs::remove_file(directory.path("login.json")).unwrap();
    thread::sleep(Duration::from_millis(2));
    let new = write(&store, "new").await;
    assert!(new > old, "{new:?} after {old:?}");
    let late = store.swap(old, &Session::new("late")).await.unwrap();
    assert_eq!(late, Swap::Moved);
}

#[tokio::test]
async fn a_relative_path_is_one_in_the_working_directory() {
    // The working directory belongs to all tests: nothing is written there.
    let stored = FileStore::new("no such file").load().await.unwrap();
    assert_eq!(stored.version, Version::NONE);
}

#[tokio::test]
async fn a_path_that_names_no_file_is_an_error() {
    for path in ["/", "", ".."] {
        let error = FileStore::new(path).load().await.unwrap_err();
        assert!(error.to_string().contains("names no file"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_directory_holds_nothing_and_takes_nothing() {
    let directory = Directory::new();
    let store = FileStore::new(directory.path("not/there.json"));
    assert_eq!(store.load().await.unwrap().version, Version::NONE);
    let error = store.swap(Version::NONE, &Session::new("a")).await;
    let error = error.unwrap_err();
    assert!(!error.is_damaged());
    assert!(error.to_string().contains("not/there.json"), "{error}");
    assert!(store.lease(BOUND).await.is_err());
}

mod crashes {
    use super::*;

    /// A process that died while it wrote the temporary file, or before it renamed it.
    #[tokio::test]
    async fn a_left_over_temporary_file_is_never_read_and_is_overwritten() {
        for left in ["", r#"{"version":9,"sess"#, r#"{"version":9,"session":{}}"#] {
            let directory = Directory::new();
            let store = directory.store();
            directory.write("login.json.tmp", left);
            assert_eq!(store.load().await.unwrap().version, Version::NONE);
            write(&store, "a").await;
            assert_eq!(read(&store).await, "a");
            directory.write("login.json.tmp", left);
            assert_eq!(read(&store).await, "a");
            write(&store, "b").await;
            assert_eq!(read(&store).await, "b");
            assert!(!directory.names().contains(&"login.json.tmp".to_owned()));
        }
    }

    /// A disk that fails, at the first step.
    #[tokio::test]
    async fn a_temporary_file_that_cannot_be_made_leaves_the_old_one() {
        let directory = Directory::new();
        let store = directory.store();
        let version = write(&store, "a").await;
        fs::create_dir_all(directory.path("login.json.tmp/in the way")).unwrap();
        let error = store.swap(version, &Session::new("b")).await.unwrap_err();
        assert!(!error.is_damaged());
        assert_eq!(read(&store).await, "a");
    }

    /// A disk that fails at the last step.
    #[tokio::test]
    async fn a_rename_that_fails_leaves_no_secret_in_a_temporary_file() {
        let directory = Directory::new();
        fs::create_dir_all(directory.path("login.json/in the way")).unwrap();
        let session = Session::new("hunter2").to_json();
        let error = directory
            .files()
            .replace([r#"{"version":1,"session":"#, session.expose(), "}"])
            .unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(directory.names(), ["login.json"]);
    }

    /// A process that died between taking the lease anew and renaming it.
    #[tokio::test]
    async fn a_left_over_lease_is_overwritten() {
        let directory = Directory::new();
        let store = directory.store();
        directory.write("login.json.lease.tmp", "");
        let _hung = store.lease(Duration::ZERO).await.unwrap().unwrap();
        let next = store.lease(BOUND).await.unwrap();
        assert!(next.is_some());
        assert!(store.lease(BOUND).await.unwrap().is_none());
        assert_eq!(directory.names(), ["login.json.guard", "login.json.lease"]);
    }

    /// A process that died after it had locked the lease, before it wrote the term.
    #[tokio::test]
    async fn a_term_of_a_holder_that_died_does_not_outlive_it() {
        let directory = Directory::new();
        let far = Term::new(millis(time::wall()), Duration::from_secs(1_000_000));
        directory.write("login.json.guard", far.to_text());
        directory.write("login.json.lease", "");
        assert!(directory.store().lease(BOUND).await.unwrap().is_some());
    }
}

mod damage {
    use super::*;

    async fn assert_damaged(directory: &Directory, what: &str) {
        let store = directory.store();
        let path = directory.path("login.json");
        let before = fs::read(&path).ok();
        let session = Session::new("hunter2");
        for error in [
            store.load().await.unwrap_err(),
            store.swap(Version::NONE, &session).await.unwrap_err(),
            store.swap(Version::new(1), &session).await.unwrap_err(),
        ] {
            assert!(error.is_damaged(), "{what}: {error}");
            let message = error.to_string();
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            assert!(message.contains("log in again"), "{message}");
            let all = format!("{error:?} {}", chain(&error));
            assert!(!all.contains("hunter2"), "{all}");
        }
        assert_eq!(fs::read(&path).ok(), before, "{what} was altered");
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_is_an_error_that_helps_and_stays_as_it_is() {
        let texts: [&[u8]; 16] = [
            b"",
            b" \n",
            br#"{"version":1,"session":{"refresh_token":"hunter2"#,
            br#"{"version":1}"#,
            br#"{"session":{}}"#,
            br#"{"version":0,"session":{}}"#,
            br#"{"version":-1,"session":{}}"#,
            br#"{"version":"1","session":{}}"#,
            br#"{"version":18446744073709551615,"session":{}}"#,
            br#"{"version":1,"session":null}"#,
            br#"{"version":1,"session":{"refresh_token":{"hunter2":1}}}"#,
            br#"{"name":"another program's"}"#,
            b"[1]",
            b"null",
            b"\x7fELF\0\0\xff\xfe",
            br#"{"version":1,"session":{}}{"version":2,"session":{}}"#,
        ];
        for text in texts {
            let directory = Directory::new();
            directory.write("login.json", text);
            assert_damaged(&directory, &String::from_utf8_lossy(text)).await;
        }
    }

    #[tokio::test]
    async fn so_is_a_file_of_many_megabytes() {
        let directory = Directory::new();
        let mut text = br#"{"version":1,"session":{}}"#.to_vec();
        text.resize(9 * 1024 * 1024, b' ');
        directory.write("login.json", text);
        assert_damaged(&directory, "a large file").await;
    }

    #[tokio::test]
    async fn so_is_a_directory() {
        let directory = Directory::new();
        fs::create_dir(directory.path("login.json")).unwrap();
        assert_damaged(&directory, "a directory").await;
    }

    #[tokio::test]
    async fn a_session_that_could_not_be_read_again_is_not_written() {
        let directory = Directory::new();
        let store = directory.store();
        let session = Session::new("x".repeat(8 * 1024 * 1024));
        assert!(store.swap(Version::NONE, &session).await.is_err());
        assert_eq!(store.load().await.unwrap().version, Version::NONE);
    }

    #[tokio::test]
    async fn a_restored_file_works_again() {
        let directory = Directory::new();
        let store = directory.store();
        write(&store, "a").await;
        let backup = fs::read(directory.path("login.json")).unwrap();
        directory.write("login.json", &backup[..10]);
        assert!(store.load().await.unwrap_err().is_damaged());
        directory.write("login.json", &backup);
        assert_eq!(read(&store).await, "a");
    }
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn every_file_is_its_owners_alone() {
        let directory = Directory::new();
        let store = directory.store();
        write(&store, "a").await;
        let _hung = store.lease(Duration::ZERO).await.unwrap();
        let first = mode(&directory.path("login.json.lease"));
        let _next = store.lease(BOUND).await.unwrap().unwrap();
        assert_eq!(first, 0o600);
        for name in directory.names() {
            assert_eq!(mode(&directory.path(&name)), 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_that_others_may_read_is_made_private() {
        for open in [0o644, 0o640, 0o604, 0o620, 0o666] {
            let directory = Directory::new();
            let store = directory.store();
            write(&store, "a").await;
            set_mode(&directory.path("login.json"), open);
            assert_eq!(read(&store).await, "a");
            assert_eq!(mode(&directory.path("login.json")), 0o600);
        }
    }

    #[tokio::test]
    async fn a_temporary_file_that_others_may_read_is_not_adopted() {
        let directory = Directory::new();
        directory.write("login.json.tmp", "");
        set_mode(&directory.path("login.json.tmp"), 0o666);
        write(&directory.store(), "a").await;
        assert_eq!(mode(&directory.path("login.json")), 0o600);
    }

    #[tokio::test]
    async fn a_temporary_name_that_leads_elsewhere_is_not_followed() {
        let directory = Directory::new();
        directory.write("victim", "untouched");
        symlink(directory.path("victim"), directory.path("login.json.tmp")).unwrap();
        write(&directory.store(), "a").await;
        assert_eq!(fs::read(directory.path("victim")).unwrap(), b"untouched");
    }

    #[tokio::test]
    async fn a_file_without_permission_is_no_damage() {
        let directory = Directory::new();
        let store = directory.store();
        write(&store, "a").await;
        set_mode(&directory.path("login.json"), 0o000);
        // The superuser may read everything.
        match store.load().await {
            Ok(stored) => assert!(stored.session.is_some()),
            Err(error) => {
                assert!(!error.is_damaged());
                assert!(chain(&error).contains("denied"), "{error:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_symbolic_link_stays_and_what_it_leads_to_is_replaced() {
        let directory = Directory::new();
        fs::create_dir(directory.path("real")).unwrap();
        symlink("real/token.json", directory.path("second")).unwrap();
        symlink(directory.path("second"), directory.path("login.json")).unwrap();
        let store = directory.store();
        let direct = FileStore::new(directory.path("real/token.json"));

        // The target is not there yet.
        write(&store, "a").await;
        assert_eq!(read(&direct).await, "a");
        write(&direct, "b").await;
        assert_eq!(read(&store).await, "b");
        for link in ["login.json", "second"] {
            assert!(directory.path(link).is_symlink(), "{link} was replaced");
        }
        assert_eq!(directory.names(), ["login.json", "real", "second"]);

        let _lease = store.lease(BOUND).await.unwrap().unwrap();
        assert!(direct.lease(BOUND).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn links_that_lead_to_each_other_are_an_error() {
        let directory = Directory::new();
        symlink("other", directory.path("login.json")).unwrap();
        symlink("login.json", directory.path("other")).unwrap();
        assert!(directory.store().load().await.is_err());
    }
}

mod leases {
    use super::*;

    #[tokio::test]
    async fn an_overdue_holder_does_not_release_the_lease_of_the_next() {
        let directory = Directory::new();
        let store = directory.store();
        let overdue = store.lease(Duration::ZERO).await.unwrap().unwrap();
        let next = store.lease(BOUND).await.unwrap().unwrap();
        drop(overdue);
        assert!(store.lease(BOUND).await.unwrap().is_none());
        drop(next);
        assert!(store.lease(BOUND).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_lease_that_was_taken_over_can_be_taken_over_again() {
        let directory = Directory::new();
        let store = directory.store();
        let mut hung = Vec::new();
        for _ in 0..5 {
            hung.push(store.lease(Duration::ZERO).await.unwrap().unwrap());
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_keep_the_lease_for_ever() {
        let directory = Directory::new();
        let store = directory.store();
        let bound = Duration::from_millis(20);
        let _hung = store.lease(bound).await.unwrap().unwrap();
        // As if it had been taken tomorrow.
        let tomorrow = time::wall() + Duration::from_secs(24 * 3600);
        directory.write(
            "login.json.guard",
            Term::new(millis(tomorrow), bound).to_text(),
        );
        assert!(store.lease(BOUND).await.unwrap().is_none());
        thread::sleep(bound * 2);
        assert!(store.lease(BOUND).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_term_that_nobody_can_read_does_not_keep_the_lease_for_ever() {
        let directory = Directory::new();
        let store = directory.store();
        let _hung = store.lease(BOUND).await.unwrap().unwrap();
        let bound = Duration::from_millis(20);
        directory.write("login.json.guard", "garbage");
        assert!(store.lease(bound).await.unwrap().is_none());
        thread::sleep(bound * 2);
        assert!(store.lease(bound).await.unwrap().is_some());
    }

    #[test]
    fn a_lease_that_nobody_waits_for_any_more_is_released() {
        let directory = Directory::new();
        // Ends before the directory is deleted, and with it what still works in the background.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = directory.store();
            for _ in 0..20 {
                let taking = tokio::spawn({
                    let store = store.clone();
                    async move { store.lease(BOUND).await }
                });
                tokio::task::yield_now().await;
                taking.abort();
                let _ = taking.await;
            }
            for _ in 0..1000 {
                if store.lease(BOUND).await.unwrap().is_some() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("the lease of a future that was dropped was not released");
        });
    }

    #[test]
    fn two_stores_in_one_process_exclude_each_other() {
        let directory = Directory::new();
        let lease = directory.files().lease(BOUND).unwrap();
        assert!(lease.is_some());
        assert!(directory.files().lease(BOUND).unwrap().is_none());
    }
}

mod guards {
    use super::*;

    #[test]
    fn changes_wait_for_the_guard_and_reading_does_not() {
        let directory = Directory::new();
        let files = directory.files();
        let guard = Guard::lock(&directory.path("login.json.guard"), BOUND).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let session = Session::new("a").to_json();
                files.swap(Version::NONE, &session).unwrap()
            });
            thread::sleep(Duration::from_millis(30));
            assert!(!writer.is_finished());
            assert_eq!(files.load().unwrap().version, Version::NONE);
            drop(guard);
            assert!(matches!(writer.join().unwrap(), Swap::Written(_)));
        });
    }

    #[test]
    fn one_who_is_stopped_in_the_middle_of_a_change_does_not_hold_a_thread_for_ever() {
        let directory = Directory::new();
        let path = directory.path("login.json.guard");
        let _stopped = Guard::lock(&path, BOUND).unwrap();
        let error = Guard::lock(&path, Duration::from_millis(20)).map(drop);
        let error = error.unwrap_err();
        assert!(!error.is_damaged());
        assert!(error.to_string().contains("login.json.guard"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn one_who_waits_for_a_guard_that_was_deleted_turns_to_its_successor() {
        let directory = Directory::new();
        let path = directory.path("login.json.guard");
        let deleted = Guard::lock(&path, BOUND).unwrap();
        fs::remove_file(&path).unwrap();
        let present = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        present.lock().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| Guard::lock(&path, BOUND).map(drop));
            drop(deleted);
            thread::sleep(Duration::from_millis(30));
            assert!(!waiter.is_finished());
            present.unlock().unwrap();
            waiter.join().unwrap().unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_tasks_on_one_file_lose_no_write() {
    const TASKS: u64 = 20;
    const WRITES: u64 = 5;
    let directory = Directory::new();
    let mut tasks = JoinSet::new();
    let first = write(&directory.store(), "0").await;
    for _ in 0..TASKS {
        let store = directory.store();
        tasks.spawn(async move {
            let mut written = 0;
            while written < WRITES {
                let stored = store.load().await.unwrap();
                let session = stored.session.unwrap();
                let count: u64 = session.refresh_token().unwrap().expose().parse().unwrap();
                let next = Session::new((count + 1).to_string());
                if let Swap::Written(_) = store.swap(stored.version, &next).await.unwrap() {
                    written += 1;
                }
            }
        });
    }
    tasks.join_all().await;
    let store = directory.store();
    assert_eq!(read(&store).await, (TASKS * WRITES).to_string());
    let last = store.load().await.unwrap().version;
    assert_eq!(last.get() - first.get(), TASKS * WRITES);
}

#[tokio::test]
async fn times_are_kept_to_the_millisecond() {
    let directory = Directory::new();
    let store = directory.store();
    let mut session = Session::new("a");
    session.spending = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567));
    let _ = store.swap(Version::NONE, &session).await.unwrap();
    let read = store.load().await.unwrap().session.unwrap();
    assert_eq!(
        read.spending,
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1))
    );
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let directory = Directory::new();
    let store = directory.store();
    write(&store, "hunter2").await;
    let stored = store.load().await.unwrap();
    assert!(!format!("{store:?} {stored:?}").contains("hunter2"));
}
