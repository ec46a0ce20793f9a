//! What the compiler says: `ui/*.rs` must not compile, and say what their `.stderr` says; `ui/pass/*.rs` must compile and run.
//!
//! After a change of the messages: `TRYBUILD=overwrite cargo test -p cachesweeper-seaorm --all-features --test ui`, and read the
//! difference.

// The cases use all column types, and the types that a message lists depend on the features.
#![cfg(all(feature = "chrono", feature = "time", feature = "uuid", feature = "sqlx-sqlite"))]

#[test]
fn compile_fail() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
