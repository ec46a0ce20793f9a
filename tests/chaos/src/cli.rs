//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::phases::Assumption;
use crate::spec::Naive;

/// Real faults on real processes, and an auditor that looks for stale pages.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts private servers and workers, injects faults, and judges what was served. Exit code 0: all as expected.
    Run(RunArgs),
    /// A process that writes or reads; started by `run`.
    #[command(hide = true)]
    Worker {
        /// What to do, as JSON.
        #[arg(long)]
        spec: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How long the faults of each phase last (default: 8; with --quick 3).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds_per_phase: Option<u64>,
    /// Only these phases, and the one without faults.
    #[arg(long, value_delimiter = ',')]
    pub(crate) phases: Vec<String>,
    /// Which ORMs: `both` at the same time, on the same rows and fragments; `each` after the other.
    #[arg(long, default_value = "both")]
    pub(crate) orm: OrmChoice,
    /// Which databases: those of CACHESWEEPER_TEST_POSTGRES and CACHESWEEPER_TEST_MYSQL, or private ones (both, but for --quick).
    #[arg(long, default_value = "both")]
    pub(crate) database: DatabaseChoice,
    /// Which memcached (default: the one in PATH).
    #[arg(long, value_name = "PATH")]
    pub(crate) memcached_bin: Option<PathBuf>,
    /// The same with a naive scheme instead of the library; stale pages must be found.
    #[arg(long, num_args = 0..=1, default_missing_value = "after-save")]
    pub(crate) naive: Option<Naive>,
    /// Break a condition of the promises; stale pages must be found.
    #[arg(long = "break", value_name = "CONDITION", value_delimiter = ',', conflicts_with = "naive")]
    pub(crate) broken: Vec<Assumption>,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keep the histories in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// A few short phases and a naive scheme: about a minute.
    #[arg(long, conflicts_with_all = ["naive", "broken"])]
    pub(crate) quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrmChoice {
    Seaorm,
    Diesel,
    Both,
    Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatabaseChoice {
    Postgres,
    Mariadb,
    Both,
}
