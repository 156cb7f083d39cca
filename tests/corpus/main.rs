//! What a fuzzer starts from and what it has found: see `fuzz/`.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

mod checks;

#[test]
fn token_replies_are_granted_or_are_errors_that_can_be_printed() {
    replay("token_reply", checks::token_reply);
}

#[test]
fn a_challenge_spoils_none_of_its_neighbours() {
    replay("challenge", checks::challenge);
}

#[test]
fn limits_are_read_whole_or_count_as_not_sent() {
    replay("rate_limit", checks::rate_limit);
}

#[test]
fn a_wait_is_never_nothing_and_the_longest_counts() {
    replay("retry_after", checks::retry_after);
}

/// Checks every file of a corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() >= 20, "{} files", files.len());
    for file in files {
        let data = fs::read(&file).unwrap();
        let checked = panic::catch_unwind(AssertUnwindSafe(|| check(&data)));
        assert!(checked.is_ok(), "{}", file.display());
    }
}
