//! The command line: runs seeds, shows a table, and says how to repeat what was found.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use cachesweeper_simulation::summary::{Summary, table};
use cachesweeper_simulation::{PROFILES, Profile, run, sweep};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Seeds for a broken profile, at least.
const BROKEN_SEEDS: u64 = 3000;

/// Simulates the core of Cachesweeper: stores, network, clocks, processes and a database, all from a seed.
///
/// Sound profiles must show nothing stale; broken ones must, or the auditor sees nothing. Exit code: 0 all as expected, 1 not.
#[derive(Debug, Parser)]
#[command(name = "cachesweeper-simulation", version)]
struct Args {
    /// Seeds per sound profile; broken profiles end at the first stale read
    #[arg(long, default_value_t = 200, value_name = "N")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    from: u64,
    /// Runs this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Prints everything that happens; with --seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// One profile (default: all)
    #[arg(long, value_name = "NAME", value_parser = profile_names())]
    profile: Option<String>,
    /// Threads (default: as many as there are processors)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The summary as JSON
    #[arg(long)]
    json: bool,
}

fn profile_names() -> clap::builder::PossibleValuesParser {
    let value = |profile: &Profile| clap::builder::PossibleValue::new(profile.name).help(profile.about);
    PROFILES.iter().map(value).collect::<Vec<_>>().into()
}

fn main() -> ExitCode {
    let args = Args::parse();
    match execute(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads has gone away: there is nobody to tell.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(args: &Args) -> std::io::Result<bool> {
    let chosen = args.profile.as_deref().and_then(Profile::named);
    if let Some(seed) = args.seed {
        return one(chosen.or_else(|| Profile::named("faults")), seed, args);
    }
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let profiles: Vec<&Profile> = PROFILES.iter().filter(|profile| chosen.is_none_or(|chosen| chosen.name == profile.name)).collect();
    let mut summaries = Vec::new();
    for profile in profiles {
        // What is rare takes more seeds to be found; they end with the first find.
        let seeds = if profile.broken { args.seeds.max(BROKEN_SEEDS) } else { args.seeds };
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(seeds) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>14} {bar:40} {pos}/{len} seeds, {eta} left") {
            bar.set_style(style);
        }
        bar.set_prefix(profile.name);
        let mut summary = Summary::new(profile);
        sweep(profile, args.from..args.from.saturating_add(seeds), threads, |report| {
            summary.add(report);
            bar.inc(1);
        });
        bar.finish_and_clear();
        summaries.push(summary);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &summaries)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&summaries))?;
    }
    for summary in &summaries {
        for line in summary.findings() {
            eprintln!("{line}");
        }
    }
    Ok(summaries.iter().all(Summary::is_as_expected))
}

fn one(profile: Option<&Profile>, seed: u64, args: &Args) -> std::io::Result<bool> {
    let Some(profile) = profile else { return Ok(false) };
    let (report, trace) = run(profile, seed, args.trace);
    let mut out = std::io::stdout().lock();
    for line in trace {
        writeln!(out, "{line}")?;
    }
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    }
    let mut summary = Summary::new(profile);
    summary.add(report);
    if !args.json {
        write!(out, "{}", table(std::slice::from_ref(&summary)))?;
    }
    for line in summary.findings() {
        writeln!(out, "{line}")?;
    }
    Ok(summary.is_as_expected())
}
