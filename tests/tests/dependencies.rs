//! What a user of blocking Diesel takes along: no async runtime.

use std::process::Command;

/// The packages that `cargo tree` lists for these arguments.
fn tree(arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).arg("tree").args(arguments);
    command.args(["-e", "normal", "--prefix", "none", "--format", "{p}", "--offline", "--locked"]);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

#[test]
fn blocking_diesel_brings_no_async_runtime() {
    let features = "sqlite,postgres,mysql,r2d2,chrono,memcached,minijinja";
    let packages = tree(&["-p", "cachesweeper-diesel", "--no-default-features", "--features", features]);
    for expected in [
        "cachesweeper-diesel",
        "cachesweeper-core",
        "diesel",
        "r2d2",
        "memcache",
        "minijinja",
        "libsqlite3-sys",
        "pq-sys",
        "mysqlclient-sys",
    ] {
        assert!(
            packages.iter().any(|package| package == expected),
            "{expected} is not in the tree, so that the tree is not that of a user: {packages:?}"
        );
    }
    let runtimes =
        ["tokio", "async-std", "smol", "async-io", "async-executor", "futures-executor", "futures-util", "diesel-async", "sea-orm", "sqlx"];
    for unwanted in runtimes {
        assert!(!packages.iter().any(|package| package == unwanted), "{unwanted} is in the tree");
    }
}

#[test]
fn the_list_would_show_a_runtime() {
    let packages = tree(&["-p", "cachesweeper-seaorm", "--features", "sqlx-sqlite"]);
    assert!(packages.iter().any(|package| package == "tokio") && packages.iter().any(|package| package == "sea-orm"), "{packages:?}");
}
