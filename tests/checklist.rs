//! The tests that CONTRIBUTING.md names exist.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_test_that_the_tables_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut functions = BTreeSet::new();
    for directory in ["src", "tests"] {
        collect(&root.join(directory), &mut functions);
    }
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let named = named(&text);
    assert!(named.len() > 100, "the tables are not found any more");
    let missing: Vec<_> = named.difference(&functions).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_rule_has_a_test_or_says_that_it_is_not_met() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md"));
    let text = text.unwrap();
    let (_, rules) = text.split_once("## Rules and their tests").unwrap();
    let (rules, _) = rules.split_once("\n## ").unwrap();
    let rows: Vec<_> = rules
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert!(rows.len() > 40);
    for row in &rows[1..] {
        assert!(!named(row).is_empty() || row.contains("not met: "), "{row}");
    }
}

/// What stands between backticks in the rows of tables and is a sentence: words joined by `_`.
fn named(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |text: &&str| {
        text.matches('_').count() >= 3
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(is_name).map(str::to_owned).collect()
}

/// The names of all functions in the sources of a directory.
fn collect(directory: &Path, functions: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let names = source.lines().filter_map(function);
            functions.extend(names.map(str::to_owned));
        }
    }
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = line
        .strip_prefix("async fn ")
        .or_else(|| line.strip_prefix("fn "))?;
    name.split(['(', '<']).next()
}
