//! What the hooks cost a save on PostgreSQL: interleaved runs, and what each save asks of the database and the store.

mod on_diesel;
mod on_seaorm;
mod statements;
mod trips;

use std::time::{Duration, Instant};

use cachesweeper_servers::{memcached, postgres};
use clap::{Args, ValueEnum};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{Output, Table};
use statements::Statements;
use trips::Trips;

/// How many rows each table has.
const ROWS: i64 = 1_000;
/// Saves of each kind before the clock runs: connections are open, statements prepared, and the records have logs.
const WARM_UP: u32 = 20;
/// Over how many saves statements are counted.
const COUNTED: u32 = 20;

/// What the hooks cost a save on PostgreSQL
///
/// One row is updated by its primary key: over the ORM's own connection (bare), and over one with Cachesweeper, whose store is
/// embedded or one memcached. The three take turns within one run, on the same rows, so that what the machine does meanwhile
/// meets all of them. The row is a comment, whose parent is an article, or a vote, whose parent is a comment, whose parent is an
/// article; all versions are counters in the store. It is saved alone ("outside") or in a transaction of its own ("inside").
///
///     cargo run --release -p cachesweeper-load -- saves
///
/// First on a PostgreSQL that waits for the disk at every COMMIT, as by default; then on one that never does (fsync=off), where
/// nothing hides what is added.
///
/// A disk that is busy otherwise makes COMMIT slow now and fast then; p10 is the fast one, and tells such runs.
/// Which core a server happens to run on doubles a round trip; with all on one core figures are the steadiest:
///
///     taskset -c 0 target/release/load saves
///
/// ratio: the median by the bare one's. added: the median of the differences to the bare save of the same round. SQL: statements
/// per save, BEGIN and COMMIT included, counted by PostgreSQL (pg_stat_statements) in a further short run; the file of --json
/// has their texts. trips and ops: batches sent to the store per save, and the operations in them, by the sweeper's statistics.
/// Beside the table, for each kind: what one round trip takes to either server, by a `SELECT 1` and by memcached's no-op.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Saves {
    /// Only this ORM
    #[arg(long)]
    orm: Option<Orm>,
    /// Only with this setting of PostgreSQL's fsync
    #[arg(long)]
    fsync: Option<Fsync>,
    /// How long each kind of save is measured, in seconds; there are 4 kinds of each ORM and setting
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Orm {
    Seaorm,
    Diesel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fsync {
    On,
    Off,
}

/// Over which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Bare,
    Embedded,
    Memcached,
}

const OVER: [Over; 3] = [Over::Bare, Over::Embedded, Over::Memcached];

/// Which row, and whether in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    vote: bool,
    inside: bool,
}

const KINDS: [Kind; 4] = [
    Kind { name: "comment, outside", vote: false, inside: false },
    Kind { name: "comment, inside", vote: false, inside: true },
    Kind { name: "vote, outside", vote: true, inside: false },
    Kind { name: "vote, inside", vote: true, inside: true },
];

/// What is asked of the servers beside the saves.
struct Servers {
    statements: Statements,
    trips: Trips,
}

/// An ORM with its three connections.
trait Saver {
    /// What its tables' names begin with.
    const PREFIX: &'static str;

    /// Saves a row, and tells how long it took.
    fn save(&mut self, over: Over, kind: Kind, id: i64, text: &str) -> Result<Duration, Failure>;

    /// Batches and operations that the store was sent so far.
    fn sent(&self, over: Over) -> (u64, u64);
}

const COLUMNS: &[(&str, &str)] = &[
    ("fsync", "fsync"),
    ("ORM", "orm"),
    ("save", "save"),
    ("connection", "connection"),
    ("p10 µs", "p10_us"),
    ("median µs", "median_us"),
    ("p90 µs", "p90_us"),
    ("ratio", "ratio"),
    ("added µs", "added_us"),
    ("SQL", "sql"),
    ("trips", "trips"),
    ("ops", "operations"),
    ("saves", "saves"),
];

impl Saves {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut table = self.output.table(COLUMNS)?;
        let wanted = |orm: Orm| self.orm.is_none_or(|only| only == orm);
        for fsync in [Fsync::On, Fsync::Off].into_iter().filter(|fsync| self.fsync.is_none_or(|only| only == *fsync)) {
            let setting = if fsync == Fsync::On { "fsync=on" } else { "fsync=off" };
            let database = postgres(&[&[setting], statements::SETTINGS].concat())?;
            let memcached = memcached(64, 1_024)?;
            let (postgres, store) = (&*database.address, &*memcached.address);
            let mut servers = Servers { statements: Statements::of(postgres)?, trips: Trips::open(postgres, store)? };
            let place = |orm: &str| json!({ "fsync": setting.trim_start_matches("fsync="), "orm": orm });
            if wanted(Orm::Seaorm) {
                make_tables::<on_seaorm::Connections>(postgres)?;
                let mut saver = on_seaorm::Connections::open(postgres, store)?;
                self.measure(&mut saver, &place("seaorm"), &mut servers, &mut table)?;
            }
            if wanted(Orm::Diesel) {
                make_tables::<on_diesel::Connections>(postgres)?;
                let mut saver = on_diesel::Connections::open(postgres, store)?;
                self.measure(&mut saver, &place("diesel"), &mut servers, &mut table)?;
            }
        }
        Ok(())
    }

    fn measure<S: Saver>(&self, saver: &mut S, place: &Value, servers: &mut Servers, table: &mut Table) -> Result<(), Failure> {
        for kind in KINDS {
            let mut taken: [Vec<f64>; 3] = Default::default();
            for _ in 0..WARM_UP {
                round(saver, kind)?;
            }
            let before = OVER.map(|over| saver.sent(over));
            let until = Instant::now() + Duration::from_secs(self.seconds.into());
            while Instant::now() < until {
                for (all, took) in taken.iter_mut().zip(round(saver, kind)?) {
                    all.push(took);
                }
            }
            let after = OVER.map(|over| saver.sent(over));
            let (sql_trip, store_trip) = (servers.trips.postgres_trip()?, servers.trips.memcached_trip()?);
            eprintln!("One round trip: {sql_trip:.0} µs to PostgreSQL, {store_trip:.0} µs to memcached.");
            let saves = taken[0].len() as f64;
            let bare = quantile(&taken[0], 0.5);
            for (at, over) in OVER.into_iter().enumerate() {
                let median = quantile(&taken[at], 0.5);
                let added: Vec<f64> = taken[at].iter().zip(&taken[0]).map(|(with, bare)| with - bare).collect();
                let (sql, statements) = servers.statements.of_each(COUNTED, || save_any(saver, over, kind).map(drop))?;
                let mut row = json!({
                    "save": kind.name, "connection": format!("{over:?}").to_lowercase(),
                    "p10_us": quantile(&taken[at], 0.1), "median_us": median, "p90_us": quantile(&taken[at], 0.9), "ratio": median / bare, "added_us": quantile(&added, 0.5),
                    "sql": sql, "statements": statements, "trips": (after[at].0 - before[at].0) as f64 / saves,
                    "operations": (after[at].1 - before[at].1) as f64 / saves, "saves": taken[at].len(), "sql_trip_us": sql_trip, "store_trip_us": store_trip,
                });
                if let (Value::Object(row), Value::Object(place)) = (&mut row, place.clone()) {
                    row.extend(place);
                }
                table.row(&row)?;
            }
        }
        Ok(())
    }
}

/// The same row saved over each connection, and how many µs that took. The order is another one each time, since a save feels
/// what the one before it has left to do.
fn round<S: Saver>(saver: &mut S, kind: Kind) -> Result<[f64; 3], Failure> {
    let (id, mut took, mut order) = (fastrand::i64(1..=ROWS), [0.0; 3], [0, 1, 2]);
    fastrand::shuffle(&mut order);
    for at in order {
        took[at] = save(saver, OVER[at], kind, id)?.as_secs_f64() * 1e6;
    }
    Ok(took)
}

fn save_any<S: Saver>(saver: &mut S, over: Over, kind: Kind) -> Result<Duration, Failure> {
    save(saver, over, kind, fastrand::i64(1..=ROWS))
}

/// Saves a row with a text that it has not had.
fn save<S: Saver>(saver: &mut S, over: Over, kind: Kind, id: i64) -> Result<Duration, Failure> {
    saver.save(over, kind, id, &format!("text {:016x}", fastrand::u64(..)))
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Makes and fills an ORM's tables.
fn make_tables<S: Saver>(postgres: &str) -> Result<(), Failure> {
    let p = S::PREFIX;
    let mut admin = PgConnection::establish(postgres)?;
    admin.batch_execute(&format!(
        "CREATE TABLE {p}article (id BIGINT PRIMARY KEY, title TEXT NOT NULL);
         CREATE TABLE {p}comment (id BIGINT PRIMARY KEY, article_id BIGINT NOT NULL REFERENCES {p}article, body TEXT NOT NULL);
         CREATE TABLE {p}vote (id BIGINT PRIMARY KEY, comment_id BIGINT NOT NULL REFERENCES {p}comment, voter TEXT NOT NULL);
         INSERT INTO {p}article SELECT i, 'title' FROM generate_series(1, {ROWS}) AS i;
         INSERT INTO {p}comment SELECT i, i, 'body' FROM generate_series(1, {ROWS}) AS i;
         INSERT INTO {p}vote SELECT i, i, 'voter' FROM generate_series(1, {ROWS}) AS i;
         CREATE INDEX ON {p}comment (article_id); CREATE INDEX ON {p}vote (comment_id);
         ANALYZE {p}article, {p}comment, {p}vote;"
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.9), quantile(&values, 1.0)), (3.0, 5.0, 5.0));
    }
}
