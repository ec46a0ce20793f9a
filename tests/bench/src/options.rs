//! Options that all plain benchmarks have, and the run on one core and on two.

use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Parser};

use crate::Failure;
use crate::pin::pin;
use crate::report::Report;

/// Options of every plain benchmark.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Runs on this many cores, with its servers. Without it: first on one, then on two.
    #[arg(long)]
    cores: Option<usize>,
    /// Only tables whose title has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes every row to this file, one line of JSON each.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A program's options, with the common ones in them.
pub trait Options: Parser {
    /// The common ones.
    fn common(&self) -> &Common;
}

/// Runs `measure` in a process that is pinned: this one if `--cores` is given, else one after the other.
///
/// # Errors
///
/// Those of `measure`, and of starting processes.
pub fn run<O: Options>(measure: impl FnOnce(&O, &Report) -> Result<(), Failure>) -> Result<(), Failure> {
    run_on(&[1, 2], measure)
}

/// As [`run`], with these numbers of cores where `--cores` is not given.
///
/// # Errors
///
/// As [`run`].
pub fn run_on<O: Options>(cores: &[usize], measure: impl FnOnce(&O, &Report) -> Result<(), Failure>) -> Result<(), Failure> {
    let options = O::parse();
    let common = options.common();
    let Some(cores) = common.cores else {
        if let Some(path) = &common.json {
            std::fs::write(path, "")?;
        }
        for cores in cores {
            // A process of its own, as threads that were started before stay where they are.
            let mut again = Command::new(std::env::current_exe()?);
            let status = again.args(std::env::args_os().skip(1)).args(["--cores", &cores.to_string()]).status()?;
            if !status.success() {
                return Err(format!("the run on {cores} cores has ended with {status}").into());
            }
        }
        return Ok(());
    };
    // Errors of the store, such as a time-out, would make all figures void.
    let filter = tracing_subscriber::EnvFilter::new("warn,cachesweeper_core::shared::lookups=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let pinned = pin(cores)?;
    let numbers = pinned.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let word = if cores == 1 { "core" } else { "cores" };
    println!("\n## On {cores} {word} (number {numbers}), shared with memcached");
    measure(&options, &Report::new(&common.only, common.json.clone(), Some(cores)))
}
