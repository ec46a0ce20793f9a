//! A page's figures: times as ratios to the floor measured in the same turns, round trips, store operations.
//!
//! ```text
//! cargo bench -p cachesweeper-bench --bench page                                        # on one core, then on two
//! cargo bench -p cachesweeper-bench --bench page -- --cores 1 --only lookups --json page.jsonl
//! ```

mod embedded;
mod lookups;
mod writes;

use cachesweeper_bench::Failure;
use cachesweeper_bench::entities::graph;
use cachesweeper_bench::floor::Floor;
use cachesweeper_bench::measure::Budget;
use cachesweeper_bench::options::{Common, Options, run};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::servers::Memcached;
use cachesweeper_bench::sweepers::impatient;
use cachesweeper_core::{Sweeper, blocking};
use clap::Parser;
use tokio::runtime::Runtime;

/// Measures a page's lookups, misses and sweeps beside a raw client.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// How long to measure each figure, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

impl Options for Cli {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl Cli {
    fn budget(&self) -> Budget {
        Budget { seconds: self.seconds }
    }
}

/// Bytes of the near caches: more than is ever looked up.
const NEAR: u64 = 64 << 20;

/// A memcached, and what looks at it.
struct Bed {
    server: Memcached,
    floor: Floor,
    blocking: blocking::Sweeper,
    // Of their own, so that each face's costs are counted apart.
    tasks: Sweeper,
    /// The same with bodies kept near.
    near: blocking::Sweeper,
    near_tasks: Sweeper,
    runtime: Runtime,
}

impl Bed {
    fn new() -> Result<Self, Failure> {
        // Of several threads each would have its own core, by chance, and so each contestant's connection its own luck.
        let server = Memcached::start(512, 1)?;
        let address = server.address().to_owned();
        Ok(Self {
            floor: Floor::connect(&address)?,
            blocking: impatient(blocking::Sweeper::builder()).memcached([&address]).graph(graph()?).build()?,
            tasks: impatient(Sweeper::builder()).memcached([&address]).graph(graph()?).build()?,
            near: impatient(blocking::Sweeper::builder()).memcached([&address]).graph(graph()?).near_cache(NEAR).build()?,
            near_tasks: impatient(Sweeper::builder()).memcached([&address]).graph(graph()?).near_cache(NEAR).build()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            server,
        })
    }
}

fn main() -> Result<(), Failure> {
    run(|cli: &Cli, report: &Report| {
        let mut bed = Bed::new()?;
        println!(
            "\nmemcached {} with one worker thread, which all contestants meet; async on a current-thread runtime; medians.",
            bed.server.version()?
        );
        lookups::measure(cli, report, &mut bed)?;
        writes::misses(cli, report, &mut bed)?;
        writes::sweeps(cli, report, &mut bed)?;
        embedded::measure(cli, report)
    })
}
