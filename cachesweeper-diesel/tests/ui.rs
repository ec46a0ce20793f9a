//! What the compiler says: `ui/*.rs` must not compile, and say what their `.stderr` says; `ui/pass/*.rs` must compile and run.
//!
//! After a change of the messages: `TRYBUILD=overwrite cargo test -p cachesweeper-diesel --all-features --test ui`, and read the
//! difference.

// The cases use all backends and column types, and the types that a message lists depend on the features.
#![cfg(all(
    feature = "chrono",
    feature = "time",
    feature = "uuid",
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "r2d2",
    feature = "diesel-async"
))]

use std::process::Command;

/// The release whose words are in `ui/rustc/*.stderr`: those messages are ours only in part.
const RUSTC: &str = "rustc 1.95.";

#[test]
fn compile_fail() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    let version = Command::new("rustc").arg("--version").output().expect("rustc runs: it built this test");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.starts_with(RUSTC) {
        cases.compile_fail("tests/ui/rustc/*.rs");
    } else {
        println!("tests/ui/rustc is left out: its messages are those of {RUSTC}x, and this is {version}");
    }
    cases.pass("tests/ui/pass/*.rs");
}
