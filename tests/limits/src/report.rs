//! All measurements, one process each, and their tables.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use cachesweeper_servers as servers;

use crate::Failure;

/// All measurements.
#[derive(Debug, Args)]
pub(crate) struct All {
    /// Divides all sizes, for a quick look.
    #[arg(long, default_value_t = 1)]
    smaller: u64,
    /// Only measurements whose title has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes every result to this file, one line of JSON each.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// A table: its title, its columns by their names in the results, and the commands of its rows.
struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

/// One row: this many processes of this command, at the same time.
struct Row {
    processes: usize,
    command: Vec<String>,
}

fn row(processes: usize, command: impl AsRef<str>) -> Row {
    Row { processes, command: command.as_ref().split_whitespace().map(str::to_owned).collect() }
}

impl All {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let named = |name: &str| std::env::var(name).ok().and_then(|value| value.split(',').next().map(str::to_owned));
        let (mut memcached, mut postgres) = (named("CACHESWEEPER_TEST_MEMCACHED"), named("CACHESWEEPER_TEST_POSTGRES"));
        let mut started = Vec::new();
        for (address, start) in [
            (&mut memcached, (|| servers::memcached(2_048, 4_096)) as fn() -> _),
            (&mut postgres, (|| servers::postgres(&["fsync=off", "max_wal_size=4GB"])) as fn() -> _),
        ] {
            if address.is_none() {
                let server = start()?;
                *address = Some(server.address.clone());
                started.push(server);
            }
        }
        let (memcached, postgres) = (memcached.unwrap_or_default(), postgres.unwrap_or_default());
        let mut lines = String::new();
        for table in self.tables(&memcached, &postgres).into_iter().filter(|table| table.title.contains(&self.only)) {
            println!("\n### {}\n\n| {} |\n|{}", table.title, table.columns.join(" | "), "---|".repeat(table.columns.len()));
            for row in table.rows {
                for result in run(&row)? {
                    let cells = table.columns.iter().map(|column| cell(&result[*column])).collect::<Vec<_>>().join(" | ");
                    println!("| {cells} |");
                    lines.push_str(&format!("{result}\n"));
                }
            }
        }
        if let Some(path) = &self.json {
            std::fs::write(path, lines)?;
        }
        Ok(())
    }

    fn tables(&self, memcached: &str, postgres: &str) -> Vec<Table> {
        let million = (1_000_000 / self.smaller).max(1);
        let sizes = [million / 100, million / 10, million];
        let stores = [String::new(), format!("--memcached {memcached}")];
        let each = |command: &dyn Fn(&str) -> Vec<Row>| stores.iter().flat_map(|store| command(store)).collect();
        let crowd = |readers: u64, processes: usize, more: &str| row(processes, format!("crowd --readers {readers} {more}"));
        let (many, some) = (10_000 / self.smaller, 400 / self.smaller);
        vec![
            Table {
                title: "records swept at once, through the core",
                columns: &[
                    "store",
                    "records",
                    "first_mark_ms",
                    "mark_ms",
                    "hold_ms",
                    "hold_left_ms",
                    "renewals",
                    "release_ms",
                    "batches",
                    "operations",
                    "bytes_to",
                    "bytes_from",
                    "store_errors",
                    "records_mib",
                    "peak_mib",
                ],
                rows: each(&|store| sizes.iter().map(|records| row(1, format!("sweep --records {records} {store}"))).collect()),
            },
            Table {
                title: "rows changed by one statement of an ORM",
                columns: &[
                    "orm",
                    "store",
                    "rows",
                    "parents",
                    "changed",
                    "plain_ms",
                    "swept_ms",
                    "batches",
                    "operations",
                    "renewals",
                    "bytes_to",
                    "store_errors",
                    "marks_failed",
                    "start_mib",
                    "peak_mib",
                ],
                rows: ["seaorm", "diesel"]
                    .iter()
                    .flat_map(|orm| {
                        sizes
                            .iter()
                            .map(move |rows| row(1, format!("orm --orm {orm} --rows {rows} --postgres {postgres} --memcached {memcached}")))
                    })
                    .collect(),
            },
            Table {
                title: "a hot record",
                columns: &[
                    "store",
                    "writes_per_s",
                    "readers",
                    "reads_per_s",
                    "hit",
                    "shared",
                    "miss",
                    "bypass",
                    "log_p50",
                    "log_p99",
                    "log_max",
                ],
                rows: each(&|store| {
                    let with = |writes: u32, readers: u32| row(1, format!("hot --writes {writes} --readers {readers} {store}"));
                    vec![with(10, 4), with(100, 4), with(1_000, 4), with(1_000, 0)]
                }),
            },
            Table {
                title: "a crowd of readers of one missed fragment",
                columns: &[
                    "store",
                    "face",
                    "readers",
                    "renders",
                    "hits",
                    "shared",
                    "misses",
                    "bypasses",
                    "slowest_ms",
                    "batches",
                    "store_errors",
                    "peak_mib",
                ],
                rows: vec![
                    crowd(many, 1, "--id 1"),
                    crowd(some, 1, "--blocking --id 2"),
                    crowd(many, 1, &format!("--id 3 --memcached {memcached}")),
                    crowd(some, 1, &format!("--blocking --id 4 --memcached {memcached}")),
                    crowd(many / 4, 4, &format!("--id 5 --memcached {memcached}")),
                    crowd(some / 4, 4, &format!("--blocking --id 6 --memcached {memcached}")),
                ],
            },
            Table {
                title: "a writer that is killed after its mark",
                columns: &[
                    "store",
                    "hold_ms",
                    "skew_ms",
                    "bypassed_for_ms",
                    "reads_bypassed",
                    "then",
                    "after_it",
                    "reads_of_another_record",
                    "of_those_hits",
                ],
                rows: vec![row(1, format!("dead --memcached {memcached}"))],
            },
        ]
    }
}

fn run(row: &Row) -> Result<Vec<Value>, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(2);
    let mut running = Vec::new();
    for _ in 0..row.processes {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&row.command).stdout(Stdio::piped());
        if row.processes > 1 {
            command.args(["--at", &now.as_millis().to_string()]);
        }
        running.push(command.spawn()?);
    }
    let mut results = Vec::new();
    for process in running {
        let output = process.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("{:?} has ended with {}", row.command, output.status).into());
        }
        results.push(serde_json::from_slice(&output.stdout)?);
    }
    Ok(results)
}

/// Numbers of more than four digits with commas between.
fn cell(value: &Value) -> String {
    let Some(number) = value.as_u64() else { return value.to_string().trim_matches('"').to_owned() };
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
