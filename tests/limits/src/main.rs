//! What Cachesweeper does at its limits. It measures and asserts nothing: the figures are those of the machine it runs on.
//!
//! ```text
//! cargo run --release -p cachesweeper-limits -- all            # about 10 minutes; servers of its own
//! cargo run --release -p cachesweeper-limits -- sweep --help   # one measurement
//! ```
//!
//! Every measurement runs in a process of its own, so that its memory peak is its own. Each prints one line of JSON; `all`
//! prints tables as well.

mod crowd;
mod dead;
mod hot;
mod measure;
mod orm;
mod report;
mod sweep;

use clap::{Parser, Subcommand};

/// What goes wrong is told and ends the program.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures what Cachesweeper does at its limits.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All measurements, on servers of its own (or those named by CACHESWEEPER_TEST_MEMCACHED and CACHESWEEPER_TEST_POSTGRES).
    All(report::All),
    /// Many records swept at once, through the core.
    Sweep(sweep::Sweep),
    /// Many rows changed by one statement of an ORM, on PostgreSQL.
    Orm(orm::Orm),
    /// A record that is written all the time, and read.
    Hot(hot::Hot),
    /// A crowd of readers of one missed fragment.
    Crowd(crowd::Crowd),
    /// A writer that is killed after its mark.
    Dead(dead::Dead),
    /// The writer that is killed.
    #[command(hide = true)]
    Writer(dead::Writer),
}

fn main() -> Result<(), Failure> {
    // The records are of no table, which is said of each process otherwise.
    let filter = tracing_subscriber::EnvFilter::new("warn,cachesweeper_core::shared::lookups=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match Cli::parse().what {
        What::All(all) => return all.run(),
        What::Writer(writer) => return writer.run(),
        What::Sweep(sweep) => sweep.run()?,
        What::Orm(orm) => orm.run()?,
        What::Hot(hot) => hot.run()?,
        What::Crowd(crowd) => crowd.run()?,
        What::Dead(dead) => dead.run()?,
    };
    println!("{result}");
    Ok(())
}
