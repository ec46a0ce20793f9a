//! A news site with articles, comments and votes, on SeaORM and Cachesweeper; and the replay that looks for stale pages.

mod blog;
mod cache;
mod database;
mod entity;
mod forms;
mod load;
mod naive;
mod pages;
mod replay;
mod routes;
mod serve;
#[cfg(test)]
mod tests;
mod write;

use std::io::Write;
use std::process::ExitCode;

use blog_site::cli::{Cli, Command};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Usage and input errors, and whatever else keeps the program from running.
const FAILED: u8 = 2;

/// What ends the program; its text is for the user.
pub(crate) type Fatal = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = match cli.command {
        None => runtime.block_on(serve::serve(&cli.serve)).map(|()| ExitCode::SUCCESS),
        Some(Command::Replay(options)) => runtime.block_on(replay::replay(&options)),
    };
    result.unwrap_or_else(|error| failed(&*error))
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    // Standard error may be closed, which is no reason to panic.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(FAILED)
}
