//! What the targets check. `cargo test` checks the same on the corpus.

#[path = "../../tests/corpus/checks.rs"]
pub mod checks;
