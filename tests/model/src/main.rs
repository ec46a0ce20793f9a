//! Checks the protocol's scenarios, and prints the table.

use std::process::ExitCode;
use std::time::Duration;

use cachesweeper_model::run::{Limits, Outcome, Verdict, check};
use cachesweeper_model::scenarios::{Scenario, Set, all};
use cachesweeper_model::table;
use clap::{Parser, ValueEnum};

/// Looks at every interleaving of small scenarios of writers, readers and faults, on the production code of the protocol.
///
/// Exit code: 0 if every scenario showed what was expected of it, 1 if one did not or was not finished, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Which scenarios: the small set takes less than a minute, the full one an hour or more.
    #[arg(long, value_enum, default_value_t = Chosen::Small)]
    set: Chosen,
    /// Only those of either set whose name contains this; prints the way to each stale read that is found.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Lists the scenarios, and runs none.
    #[arg(long)]
    list: bool,
    /// So many threads.
    #[arg(long, value_name = "N", default_value_t = std::thread::available_parallelism().map_or(2, usize::from))]
    threads: usize,
    /// A scenario that takes longer is reported as not finished.
    #[arg(long, value_name = "SECS", default_value_t = 1800)]
    timeout: u64,
    /// So is one that takes more than so many million steps from state to state: ten million take 1 to 4 GiB of memory.
    #[arg(long, value_name = "MILLIONS", default_value_t = 60)]
    steps: usize,
    /// Prints the table as Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Prints the results as JSON, with the ways to the stale reads.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Chosen {
    Small,
    Full,
}

impl Cli {
    fn wants(&self, scenario: &Scenario) -> bool {
        match &self.only {
            Some(part) => scenario.name.contains(part.as_str()),
            None => self.set == Chosen::Full || scenario.set == Set::Small,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen: Vec<&Scenario> = all().filter(|scenario| cli.wants(scenario)).collect();
    if chosen.is_empty() {
        eprintln!("error: no scenario's name contains {:?}; see --list", cli.only.unwrap_or_default());
        return ExitCode::from(2);
    }
    if cli.list {
        for scenario in chosen {
            println!("{:<44} {:<20} {}", scenario.name, scenario.expectation.text(), scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    let limits = Limits { time: Duration::from_secs(cli.timeout), steps: cli.steps.max(1).saturating_mul(1_000_000) };
    let mut outcomes = Vec::with_capacity(chosen.len());
    for scenario in chosen {
        let outcome = check(scenario, cli.threads.max(1), limits);
        eprintln!("{}", table::line(&outcome));
        if cli.only.is_some() || (outcome.verdict == Verdict::FoundStale && !outcome.met) {
            outcome.trace.iter().for_each(|step| eprintln!("    {step}"));
        }
        outcomes.push(outcome);
    }
    if cli.json {
        match serde_json::to_string_pretty(&outcomes) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("error: the results cannot be written as JSON: {error}"),
        }
    } else if cli.markdown {
        print!("{}", table::markdown(&outcomes));
    } else {
        print!("{}", table::plain(&outcomes));
    }
    verdict(&outcomes)
}

/// The most memory that this process has had, where the system tells.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("at most {} MiB of memory", kib / 1024))
}

fn verdict(outcomes: &[Outcome]) -> ExitCode {
    let (states, seconds) = outcomes.iter().fold((0, 0.0), |(states, seconds), one| (states + one.states, seconds + one.seconds));
    eprintln!("{states} states in {seconds:.0} s, {}", peak().unwrap_or_else(|| "memory unknown".into()));
    let unmet = outcomes.iter().filter(|outcome| !outcome.met).count();
    if unmet == 0 {
        eprintln!("all {} scenarios showed what was expected of them", outcomes.len());
        return ExitCode::SUCCESS;
    }
    eprintln!("{unmet} of {} scenarios did not show what was expected of them", outcomes.len());
    ExitCode::FAILURE
}
