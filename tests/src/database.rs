//! A database of its own for every test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, MysqlConnection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded, in a temporary file.
    Sqlite,
    /// `CACHESWEEPER_TEST_POSTGRES`.
    Postgres,
    /// `CACHESWEEPER_TEST_MYSQL` (MySQL or MariaDB).
    MySql,
}

/// A name that no other test of this machine uses.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A fresh database. On PostgreSQL it is a schema.
#[derive(Clone, Debug)]
pub struct Database {
    /// Of which kind.
    pub backend: Backend,
    url: String,
    schema: Option<String>,
    _folder: Option<Arc<TempDir>>,
}

impl Database {
    /// An empty one. `None` if its server is not named in the environment.
    pub fn empty(backend: Backend) -> Option<Self> {
        let (url, schema, folder) = match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let url = folder.path().join("site.db").display().to_string();
                open_sqlite(&url).batch_execute("PRAGMA journal_mode = WAL").expect("the journal");
                (url, None, Some(Arc::new(folder)))
            }
            Backend::Postgres => {
                let url = std::env::var("CACHESWEEPER_TEST_POSTGRES").ok()?;
                let schema = unique("test");
                let mut admin = PgConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
                admin.batch_execute(&format!("CREATE SCHEMA {schema}")).expect("a schema");
                (url, Some(schema), None)
            }
            Backend::MySql => {
                let url = std::env::var("CACHESWEEPER_TEST_MYSQL").ok()?;
                let name = unique("test");
                let mut admin = MysqlConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
                admin.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
                let (server, _) = url.rsplit_once('/').expect("a database in the URL");
                (format!("{server}/{name}"), None, None)
            }
        };
        Some(Self { backend, url, schema, _folder: folder })
    }

    /// One with the site's tables.
    pub fn with_site(backend: Backend) -> Option<Self> {
        let database = Self::empty(backend)?;
        database.run(&tables(backend));
        Some(database)
    }

    /// What SeaORM connects to, and PostgreSQL's schema.
    pub fn sqlx_url(&self) -> (String, Option<&str>) {
        let url = if self.backend == Backend::Sqlite { format!("sqlite://{}?mode=rwc", self.url) } else { self.url.clone() };
        (url, self.schema.as_deref())
    }

    /// What Diesel connects to.
    pub fn diesel_url(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}?options=-csearch_path%3D{schema}", self.url),
            None => self.url.clone(),
        }
    }

    /// PostgreSQL's schema.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Runs statements on a connection of its own.
    pub fn run(&self, statements: &str) {
        let url = self.diesel_url();
        let ran = match self.backend {
            Backend::Sqlite => open_sqlite(&url).batch_execute(statements),
            Backend::Postgres => PgConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}")).batch_execute(statements),
            Backend::MySql => MysqlConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}")).batch_execute(statements),
        };
        ran.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }
}

/// A connection to SQLite that waits for its turn to write. What the disk has after a crash of the machine is of no interest here.
pub fn open_sqlite(path: &str) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    conn.batch_execute("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF").expect("the pragmas");
    conn
}

fn tables(backend: Backend) -> String {
    let (id, time, text) = match backend {
        Backend::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT", "TEXT"),
        Backend::Postgres => ("BIGSERIAL PRIMARY KEY", "TIMESTAMP", "TEXT"),
        Backend::MySql => ("BIGINT AUTO_INCREMENT PRIMARY KEY", "DATETIME(6)", "VARCHAR(200)"),
    };
    let seconds = match backend {
        Backend::Sqlite => "TEXT",
        Backend::Postgres => "TIMESTAMP(0)",
        Backend::MySql => "DATETIME",
    };
    let deferred = if backend == Backend::MySql { "" } else { "DEFERRABLE INITIALLY DEFERRED" };
    format!(
        "CREATE TABLE article (id {id}, title {text} NOT NULL, views INT NOT NULL, updated_at {time} NOT NULL);
         CREATE TABLE comment (id {id}, article_id BIGINT NULL REFERENCES article (id) {deferred}, parent_id BIGINT NULL, \
            body {text} NOT NULL, views INT NOT NULL);
         CREATE TABLE vote (id {id}, comment_id BIGINT NOT NULL, voter {text} NOT NULL, UNIQUE (comment_id, voter));
         CREATE TABLE tag (name {text} NOT NULL PRIMARY KEY, note {text} NOT NULL);
         CREATE TABLE label (article_id BIGINT NOT NULL, tag_name {text} NOT NULL, weight INT NOT NULL, PRIMARY KEY (article_id, tag_name));
         CREATE TABLE coarse (id BIGINT PRIMARY KEY, body {text} NOT NULL, changed_at {seconds} NOT NULL);
         CREATE TABLE part (id BIGINT PRIMARY KEY, coarse_id BIGINT NOT NULL);"
    )
}
