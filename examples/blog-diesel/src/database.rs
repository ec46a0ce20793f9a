//! Connecting to PostgreSQL, MySQL or SQLite: an enum of Diesel's connections, in a pool.

// Diesel's macro writes public items without a word on them.
#![allow(missing_docs, unreachable_pub, reason = "MultiConnection writes public items")]

use std::cell::Cell;
use std::time::Duration;

use blog_site::SiteError;
use blog_site::database::{DatabaseUrl, Dialect};
use cachesweeper_diesel::{SweepConn, Sweeper, Watcher};
use diesel::connection::{Connection as _, InstrumentationEvent, SimpleConnection as _};
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool as Pooled};
use diesel::{ConnectionResult, MultiConnection, MysqlConnection, PgConnection, SqliteConnection};

/// A connection to one of the databases. SQLite is the last, since it takes any URL for a file.
#[derive(MultiConnection, SweepConn)]
pub enum Db {
    Postgres(PgConnection),
    MySql(MysqlConnection),
    Sqlite(SqliteConnection),
}

/// The site's connections.
pub(crate) type Pool = Pooled<ConnectionManager<Db>>;

thread_local! {
    /// How many queries this thread has sent.
    static QUERIES: Cell<u64> = const { Cell::new(0) };
}

/// Runs `page` and counts its queries.
pub(crate) fn counting<T>(page: impl FnOnce() -> T) -> (T, u64) {
    let before = QUERIES.get();
    let output = page();
    (output, QUERIES.get() - before)
}

/// Runs `other` without counting its queries.
pub(crate) fn not_counting<T>(other: impl FnOnce() -> T) -> T {
    let before = QUERIES.get();
    let output = other();
    QUERIES.set(before);
    output
}

fn count(event: InstrumentationEvent<'_>) {
    if matches!(event, InstrumentationEvent::StartQuery { .. }) {
        QUERIES.set(QUERIES.get() + 1);
    }
}

/// A connection pool for at most `tasks` tasks at the same time.
pub(crate) async fn connect(url: &DatabaseUrl, tasks: u32, sweeper: &Sweeper) -> Result<Pool, SiteError> {
    let (address, dialect, in_memory) = (address(url), url.dialect(), url.is_in_memory());
    let first = address.clone();
    let establishing = tokio::task::spawn_blocking(move || establish(&first, dialect).map(drop).map_err(|error| error.to_string()));
    url.probe(async { establishing.await.unwrap_or_else(|error| Err(error.to_string())) }).await?;
    let pool = Pool::builder()
        .max_size(if in_memory { 1 } else { tasks.clamp(4, 100) })
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(30))
        .connection_customizer(Box::new(SetUp { sweeper: sweeper.clone() }));
    let pool = if in_memory { pool.idle_timeout(None).max_lifetime(None) } else { pool };
    let (pooling, url) = (tokio::task::spawn_blocking(move || pool.build(ConnectionManager::new(address))), url.clone());
    Ok(pooling.await?.map_err(|error| url.unreachable(error))?)
}

/// What Diesel calls this database.
fn address(url: &DatabaseUrl) -> String {
    let text = url.as_str();
    match url.dialect() {
        Dialect::Sqlite if url.is_in_memory() => ":memory:".to_owned(),
        // Diesel reads `sqlite://` itself.
        Dialect::Sqlite if text.starts_with("sqlite://") => text.to_owned(),
        Dialect::Sqlite => text.replacen("sqlite:", "file:", 1),
        Dialect::MySql => text.replacen("mariadb:", "mysql:", 1),
        Dialect::Postgres => text.to_owned(),
    }
}

fn establish(address: &str, dialect: Dialect) -> ConnectionResult<Db> {
    Ok(match dialect {
        Dialect::Postgres => Db::Postgres(PgConnection::establish(address)?),
        Dialect::MySql => Db::MySql(MysqlConnection::establish(address)?),
        Dialect::Sqlite => Db::Sqlite(SqliteConnection::establish(address)?),
    })
}

/// Sets a new connection up.
#[derive(Debug)]
struct SetUp {
    sweeper: Sweeper,
}

impl CustomizeConnection<Db, diesel::r2d2::Error> for SetUp {
    fn on_acquire(&self, conn: &mut Db) -> Result<(), diesel::r2d2::Error> {
        if let Db::Sqlite(conn) = conn {
            // First of all, since the next one may have to wait.
            conn.batch_execute("PRAGMA busy_timeout = 20000")?;
            // Readers go on while somebody writes; writers wait for each other.
            conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")?;
        }
        // It reads every statement, to find writes past the wrappers: that is for development.
        if cfg!(debug_assertions) {
            conn.set_instrumentation(Watcher::with(&self.sweeper, count));
        } else {
            conn.set_instrumentation(count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diesel_is_told_the_address_it_understands() {
        let address = |url: &str| address(&url.parse().expect("a URL"));
        assert_eq!(address("sqlite::memory:"), ":memory:");
        assert_eq!(address("sqlite://blog.db?mode=ro"), "sqlite://blog.db?mode=ro");
        assert_eq!(address("sqlite:blog.db"), "file:blog.db");
        assert_eq!(address("mariadb://ann@host/db"), "mysql://ann@host/db");
        assert_eq!(address("postgres://ann@host/db"), "postgres://ann@host/db");
    }
}
