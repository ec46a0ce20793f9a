//! What invalidating and refilling the same fragments leaves in memcached, by its own statistics, beside the classic scheme that has
//! the version in the key.
//!
//! ```text
//! cargo bench -p cachesweeper-bench --bench memory                    # 10,000 rounds of 100 fragments
//! cargo bench -p cachesweeper-bench --bench memory -- --rounds 500
//! ```

use std::convert::Infallible;

use cachesweeper_bench::Failure;
use cachesweeper_bench::entities::graph;
use cachesweeper_bench::floor::{Floor, Request};
use cachesweeper_bench::options::{Common, Options, run_on};
use cachesweeper_bench::report::{Report, Table};
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, NAMESPACE, body, comments};
use cachesweeper_bench::servers::{Memcached, THREADS};
use cachesweeper_bench::sweepers::{fill, impatient};
use cachesweeper_core::keys::Namespace;
use cachesweeper_core::{CacheSweep, RecordKey, blocking};
use clap::Parser;
use serde_json::json;

/// Measures what many invalidations leave in the store.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// How often all fragments are invalidated and refilled.
    #[arg(long, default_value_t = 10_000)]
    rounds: u32,
    /// How many fragments.
    #[arg(long, default_value_t = 100)]
    fragments: usize,
    /// The size of each memcached, in MiB.
    #[arg(long, default_value_t = 1_024)]
    mib: u32,
}

impl Options for Cli {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> Result<(), Failure> {
    // No times are told, so the number of cores does not matter.
    run_on(&[2], |cli: &Cli, report: &Report| {
        let title = format!("what {} rounds of invalidating and refilling {} fragments leave in memcached", cli.rounds, cli.fragments);
        if !report.wants(&title) {
            return Ok(());
        }
        let table = report.table(&title, &["scheme", "after round", "items", "bytes", "evictions", "longest log so far, bytes"]);
        in_the_value(cli, &table)?;
        in_the_key(cli, &table)
    })
}

fn tell(table: &Table<'_>, scheme: &str, round: u32, server: &Memcached, longest: Option<usize>) -> Result<(), Failure> {
    let usage = server.usage()?;
    table.row(&[json!(scheme), json!(round), json!(usage.items), json!(usage.bytes), json!(usage.evictions), json!(longest)])
}

/// Whether to tell of this round: the first, the last, and some between.
fn is_told(cli: &Cli, round: u32) -> bool {
    round == cli.rounds || [1, 10, 100, 1_000].contains(&round)
}

fn in_the_value(cli: &Cli, table: &Table<'_>) -> Result<(), Failure> {
    let server = Memcached::start(cli.mib, THREADS)?;
    let sweeper = impatient(blocking::Sweeper::builder()).memcached([server.address()]).graph(graph()?).build()?;
    let (rows, html, mut floor) = (comments(cli.fragments), body(BODY), Floor::connect(server.address())?);
    let records: Vec<RecordKey> = rows.iter().map(CacheSweep::record_key).collect();
    let logs: Vec<String> = records.iter().map(|record| Namespace::new(NAMESPACE).log(record).to_string()).collect();
    fill(&sweeper, &rows, COMMENT_HTML, &html)?;
    let mut longest = 0;
    for round in 1..=cli.rounds {
        let mark = sweeper.mark(&records)?;
        sweeper.release(&mark);
        longest = longest.max(floor.lengths(&logs)?.into_iter().max().ok_or("the logs are gone")?);
        let render = |missing: &[&_]| Ok::<_, Infallible>(vec![html.clone(); missing.len()]);
        let served = sweeper.fragments(&rows, COMMENT_HTML).get_or_render(render)?;
        if let Some(other) = served.iter().find(|served| served.outcome().word() != "miss") {
            return Err(format!("an invalidated fragment was a {:?} in round {round}", other.outcome()).into());
        }
        if is_told(cli, round) {
            tell(table, "version in the value (this crate)", round, &server, Some(longest))?;
        }
    }
    Ok(())
}

fn in_the_key(cli: &Cli, table: &Table<'_>) -> Result<(), Failure> {
    let server = Memcached::start(cli.mib, THREADS)?;
    let (rows, html, mut floor) = (comments(cli.fragments), body(BODY), Floor::connect(server.address())?);
    for round in 1..=cli.rounds {
        let mut fills = Request::default();
        for row in &rows {
            // The classic key: the row's name and when it was last changed.
            let key = format!("{NAMESPACE}/f/{COMMENT_HTML}/{}-{:020}", row.record_key(), round);
            fills.push(format!("ms {key} {} T86400\r\n{html}\r\n", html.len()).as_bytes());
        }
        floor.exchange(&fills)?;
        if is_told(cli, round) {
            tell(table, "version in the key (classic)", round, &server, None)?;
        }
    }
    Ok(())
}
