//! Connecting to PostgreSQL, MySQL or SQLite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blog_site::database::{DatabaseError, DatabaseUrl, Dialect};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{Connection, MySqlConnection, PgConnection};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

tokio::task_local! {
    /// Counts the queries of one page, in the task that renders it.
    static QUERIES: Arc<AtomicU64>;
}

/// Runs a future and counts the queries of its task.
pub(crate) async fn counting<F: Future>(future: F) -> (F::Output, u64) {
    let queries = Arc::new(AtomicU64::new(0));
    let output = QUERIES.scope(queries.clone(), future).await;
    (output, queries.load(Ordering::Relaxed))
}

/// A connection pool for at most `tasks` tasks at the same time.
pub(crate) async fn connect(url: &DatabaseUrl, tasks: u32) -> Result<DatabaseConnection, DatabaseError> {
    let mut options = ConnectOptions::new(url.as_str());
    options.sqlx_logging(false).acquire_timeout(Duration::from_secs(30)).max_connections(tasks.clamp(4, 100));
    match url.dialect() {
        Dialect::Sqlite if url.is_in_memory() => {
            options.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
        }
        Dialect::Sqlite => {
            let create = !url.as_str().contains("mode=");
            options.map_sqlx_sqlite_opts(move |sqlite| {
                let sqlite = if create { sqlite.create_if_missing(true) } else { sqlite };
                // Readers go on while somebody writes; writers wait for each other.
                let sqlite = sqlite.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
                sqlite.busy_timeout(Duration::from_secs(20)).statement_cache_capacity(200)
            });
        }
        Dialect::Postgres => drop(url.probe(PgConnection::connect(url.as_str())).await?.close().await),
        Dialect::MySql => drop(url.probe(MySqlConnection::connect(url.as_str())).await?.close().await),
    }
    let mut db = Database::connect(options).await.map_err(|error| url.unreachable(error))?;
    db.set_metric_callback(|_| {
        let _ = QUERIES.try_with(|queries| queries.fetch_add(1, Ordering::Relaxed));
    });
    Ok(db)
}
