//! How costs grow: with fragments, with swept records, with nodes, with entities, with depth.
//!
//! ```text
//! cargo bench -p cachesweeper-bench --bench growth                        # on two cores, under three minutes
//! cargo bench -p cachesweeper-bench --bench growth -- --plots target/plots --only fragments
//! ```

mod curve;
mod graphs;
mod stores;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cachesweeper_bench::Failure;
use cachesweeper_bench::options::{Common, Options, run_on};
use cachesweeper_bench::report::Report;
use clap::Parser;

/// Measures how costs grow, and says in which shape.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// Draws each curve into this folder, as an SVG.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// The largest page, in fragments.
    #[arg(long, default_value_t = 100_000)]
    fragments: usize,
    /// The largest sweep, in records.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// The most memcached nodes.
    #[arg(long, default_value_t = 16)]
    nodes: usize,
    /// How long to measure each point, in seconds; at least one call is made.
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
}

impl Options for Cli {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> Result<(), Failure> {
    run_on(&[2], |cli: &Cli, report: &Report| {
        if let Some(folder) = &cli.plots {
            std::fs::create_dir_all(folder)?;
        }
        stores::fragments(cli, report)?;
        stores::sweeps(cli, report)?;
        stores::nodes(cli, report)?;
        graphs::entities(cli, report)?;
        graphs::depth(cli, report)
    })
}

impl Cli {
    /// The median time of a call, in microseconds.
    fn micros(&self, mut call: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
        const MOST: usize = 10_000;
        // Untimed: it connects, and fills what is filled at the first use.
        call()?;
        let (until, mut times) = (Instant::now() + Duration::from_secs_f64(self.seconds), Vec::new());
        while times.is_empty() || (times.len() < MOST && Instant::now() < until) {
            let started = Instant::now();
            call()?;
            times.push(started.elapsed().as_nanos() as f64 / 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}

/// 1, 3, 10, 30, … up to `most`, which is always one of them.
fn steps(most: usize) -> Vec<usize> {
    let mut steps: Vec<usize> =
        (0..).flat_map(|power| [10_usize.pow(power), 3 * 10_usize.pow(power)]).take_while(|step| *step < most).collect();
    steps.push(most);
    steps
}

/// 1, 2, 4, … up to `most`.
fn doublings(most: usize) -> impl Iterator<Item = usize> {
    (0..).map(|power| 1 << power).take_while(move |step| *step <= most)
}
