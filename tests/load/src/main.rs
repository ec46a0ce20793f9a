//! The demo sites under HTTP load, with and without the cache; and what the hooks cost a save. It measures: the figures are those
//! of the machine it runs on.

mod folder;
mod output;
mod pages;
mod saves;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong is told and ends the program.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures whole pages and whole saves, with Cachesweeper and without.
///
/// All servers are started for this run alone: on 127.0.0.1, on free ports, with their data in temporary folders. Needed are
/// memcached, PostgreSQL and, for pages, wrk (Debian: apt-get install memcached postgresql wrk).
///
/// Figures of a build without --release are of no use.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Pages(pages::Pages),
    Saves(saves::Saves),
}

fn run(what: What) -> Result<(), Failure> {
    let _folder = folder::make()?;
    match what {
        What::Pages(pages) => pages.run(),
        What::Saves(saves) => saves.run(),
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if cfg!(debug_assertions) {
        eprintln!("This is not a release build, so the figures are of no use.");
    }
    match run(Cli::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
