//! Real faults on real processes: `chaos run`.
//!
//! An orchestrator starts private servers and many worker processes, which write through the library and read pages through it.
//! It kills, stops and cuts some of them, one kind of fault at a time. The workers write histories, and an auditor, which knows
//! nothing of the library, looks in them for stale pages.

mod audit;
mod cli;
mod crew;
mod db;
mod history;
mod nemesis;
mod phases;
mod proxy;
mod report;
mod run;
mod servers;
mod spec;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Worker { spec } => serde_json::from_str(&spec).map_err(Into::into).and_then(worker::run).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}
