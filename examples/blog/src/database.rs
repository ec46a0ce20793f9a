//! Connecting to PostgreSQL, MySQL or SQLite, and the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, MySqlConnection, PgConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, EntityTrait, Statement};

use crate::entity::article;

/// How long the database may take to answer at start.
const PATIENCE: Duration = Duration::from_secs(5);

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// The URL names no database that the blog knows.
    #[error("{url} is no database URL: write postgres://USER:PASSWORD@HOST/NAME, mysql://USER:PASSWORD@HOST/NAME or sqlite://FILE")]
    Url {
        /// The URL, without its password.
        url: String,
    },
    /// It does not answer.
    #[error("cannot connect to {url}: {cause}")]
    Connect {
        /// The URL, without its password.
        url: String,
        /// What the driver says.
        cause: String,
    },
    /// The tables could not be made.
    #[error("cannot make the tables in {url}: {cause}")]
    Tables {
        /// The URL, without its password.
        url: String,
        /// What the database says.
        cause: DbErr,
    },
    /// A replay needs empty tables.
    #[error(
        "the tables in {url} hold data, and a replay begins with empty ones: use another database, or --reset to drop the tables article, comment and vote with all their data"
    )]
    NotEmpty {
        /// The URL, without its password.
        url: String,
    },
}

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
pub(crate) async fn connect(url: &str, tasks: u32) -> Result<DatabaseConnection, DatabaseError> {
    let failed = |cause: String| DatabaseError::Connect { url: without_password(url), cause };
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).acquire_timeout(Duration::from_secs(30)).max_connections(tasks.clamp(4, 100));
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") if is_in_memory(url) => {
            // Every connection has a database of its own, which is gone with it.
            options.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
        }
        Some("sqlite") => {
            let create = !url.contains("mode=");
            options.map_sqlx_sqlite_opts(move |sqlite| {
                let sqlite = if create { sqlite.create_if_missing(true) } else { sqlite };
                // Readers go on while somebody writes; writers wait for each other.
                let sqlite = sqlite.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
                sqlite.busy_timeout(Duration::from_secs(20)).statement_cache_capacity(200)
            });
        }
        // A pool says only that it waited in vain; a single connection says why.
        Some("postgres" | "postgresql") => probe(PgConnection::connect(url)).await.map_err(failed)?,
        Some("mysql" | "mariadb") => probe(MySqlConnection::connect(url)).await.map_err(failed)?,
        _ => return Err(DatabaseError::Url { url: without_password(url) }),
    }
    let mut db = Database::connect(options).await.map_err(|error| failed(error.to_string()))?;
    db.set_metric_callback(|_| {
        let _ = QUERIES.try_with(|queries| queries.fetch_add(1, Ordering::Relaxed));
    });
    Ok(db)
}

async fn probe<C: Connection>(connecting: impl Future<Output = Result<C, sqlx::Error>>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => {
            let _ = connection.close().await;
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory") || matches!(url, "sqlite:" | "sqlite://")
}

/// A URL that may be printed.
pub(crate) fn without_password(url: &str) -> String {
    let (before, query) = url.split_once('?').map_or((url, None), |(before, query)| (before, Some(query)));
    let mut shown = match before.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (user, host))) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => before.to_owned(),
        },
        None => before.to_owned(),
    };
    if let Some(query) = query {
        let part = |part: &str| if part.starts_with("password=") { "password=***".to_owned() } else { part.to_owned() };
        shown.push('?');
        shown.push_str(&query.split('&').map(part).collect::<Vec<_>>().join("&"));
    }
    shown
}

/// Makes the tables that are not there; with `reset`, drops them first.
pub(crate) async fn prepare(db: &DatabaseConnection, url: &str, reset: bool) -> Result<(), DatabaseError> {
    let failed = |cause| DatabaseError::Tables { url: without_password(url), cause };
    if reset {
        for table in ["vote", "comment", "article"] {
            db.execute_unprepared(&format!("DROP TABLE IF EXISTS {table}")).await.map_err(failed)?;
        }
    }
    make_tables(db).await.map_err(failed)
}

/// As [`prepare`], for those who need empty tables.
pub(crate) async fn prepare_empty(db: &DatabaseConnection, url: &str, reset: bool) -> Result<(), DatabaseError> {
    prepare(db, url, reset).await?;
    match is_empty(db).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(DatabaseError::NotEmpty { url: without_password(url) }),
        Err(cause) => Err(DatabaseError::Tables { url: without_password(url), cause }),
    }
}

/// Whether there is no article; there can be no comments and votes then.
pub(crate) async fn is_empty(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(article::Entity::find().one(db).await?.is_none())
}

/// By hand, because timestamps need microseconds: they are versions.
async fn make_tables(db: &DatabaseConnection) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let (id, key, time, options) = match backend {
        DbBackend::Postgres => ("BIGINT", "BIGINT GENERATED BY DEFAULT AS IDENTITY", "TIMESTAMP WITH TIME ZONE", ""),
        DbBackend::MySql => ("BIGINT", "BIGINT AUTO_INCREMENT", "DATETIME(6)", " ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"),
        // Only INTEGER is the row's own number.
        _ => ("INTEGER", "INTEGER", "timestamp_with_timezone_text", ""),
    };
    let tables = [
        format!(
            "CREATE TABLE IF NOT EXISTS article (id {id} PRIMARY KEY, title TEXT NOT NULL, url TEXT, author VARCHAR(255) NOT NULL, \
             created_at {time} NOT NULL, updated_at {time} NOT NULL){options}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS comment (id {key} PRIMARY KEY, article_id BIGINT NOT NULL, parent_id BIGINT, author VARCHAR(255) NOT NULL, \
             text TEXT NOT NULL, created_at {time} NOT NULL, FOREIGN KEY (article_id) REFERENCES article (id), \
             FOREIGN KEY (parent_id) REFERENCES comment (id)){options}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS vote (id {key} PRIMARY KEY, article_id BIGINT, comment_id BIGINT, voter VARCHAR(255) NOT NULL, \
             created_at {time} NOT NULL, FOREIGN KEY (article_id) REFERENCES article (id), \
             FOREIGN KEY (comment_id) REFERENCES comment (id)){options}"
        ),
    ];
    for table in &tables {
        db.execute_unprepared(table).await?;
    }
    let indexes = [
        ("article_activity", "article (updated_at, id)"),
        ("comment_article", "comment (article_id)"),
        ("comment_parent", "comment (parent_id)"),
        ("vote_article", "vote (article_id)"),
        ("vote_comment", "vote (comment_id)"),
    ];
    for (name, columns) in indexes {
        let sql = match backend {
            // MySQL makes those of foreign keys itself, and has no IF NOT EXISTS for the other one.
            DbBackend::MySql if !columns.starts_with("article") || has_index(db, name).await? => continue,
            DbBackend::MySql => format!("CREATE INDEX {name} ON {columns}"),
            _ => format!("CREATE INDEX IF NOT EXISTS {name} ON {columns}"),
        };
        db.execute_unprepared(&sql).await?;
    }
    Ok(())
}

async fn has_index(db: &DatabaseConnection, name: &str) -> Result<bool, DbErr> {
    let sql = format!("SHOW INDEX FROM article WHERE Key_name = '{name}'");
    Ok(db.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(without_password("postgres://ann:s3:cr@t@host:5/db"), "postgres://ann:***@host:5/db");
        assert_eq!(without_password("postgres://ann@host/db?password=secret&x=1"), "postgres://ann@host/db?password=***&x=1");
        assert_eq!(without_password("sqlite://blog.db?mode=rwc"), "sqlite://blog.db?mode=rwc");
        assert_eq!(without_password("nonsense"), "nonsense");
    }
}
