//! A database of its own for every test.

use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
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

/// Connects to a fresh database with the site's tables. `None` if its server is not named in the environment.
pub async fn fresh(backend: Backend) -> Option<(DatabaseConnection, Option<TempDir>)> {
    let (db, folder) = match backend {
        Backend::Sqlite => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let url = format!("sqlite://{}?mode=rwc", folder.path().join("site.db").display());
            let db = connect(options(url)).await;
            for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF"] {
                db.execute_unprepared(pragma).await.expect(pragma);
            }
            (db, Some(folder))
        }
        Backend::Postgres => {
            let url = std::env::var("CACHESWEEPER_TEST_POSTGRES").ok()?;
            let schema = unique("test");
            let admin = connect(options(url.clone())).await;
            admin.execute_unprepared(&format!("CREATE SCHEMA {schema}")).await.expect("a schema");
            admin.close().await.expect("closed");
            let mut options = options(url);
            options.set_schema_search_path(schema);
            (connect(options).await, None)
        }
        Backend::MySql => {
            let url = std::env::var("CACHESWEEPER_TEST_MYSQL").ok()?;
            let name = unique("test");
            let admin = connect(options(url.clone())).await;
            admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database");
            admin.close().await.expect("closed");
            let (server, _) = url.rsplit_once('/').expect("a database in the URL");
            (connect(options(format!("{server}/{name}"))).await, None)
        }
    };
    for statement in tables(backend) {
        db.execute_unprepared(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    Some((db, folder))
}

fn options(url: String) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(4).sqlx_logging(false).connect_timeout(std::time::Duration::from_secs(20));
    options
}

async fn connect(options: ConnectOptions) -> DatabaseConnection {
    let url = options.get_url().to_owned();
    Database::connect(options).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn tables(backend: Backend) -> Vec<String> {
    let (id, time, text) = match backend {
        Backend::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT", "TEXT"),
        Backend::Postgres => ("BIGSERIAL PRIMARY KEY", "TIMESTAMPTZ", "TEXT"),
        Backend::MySql => ("BIGINT AUTO_INCREMENT PRIMARY KEY", "DATETIME(6)", "VARCHAR(200)"),
    };
    let deferred = if backend == Backend::MySql { "" } else { "DEFERRABLE INITIALLY DEFERRED" };
    vec![
        format!("CREATE TABLE article (id {id}, title {text} NOT NULL, views INT NOT NULL, updated_at {time} NOT NULL)"),
        format!(
            "CREATE TABLE comment (id {id}, article_id BIGINT NULL REFERENCES article (id) {deferred}, parent_id BIGINT NULL, body {text} NOT NULL, \
             views INT NOT NULL)"
        ),
        format!("CREATE TABLE vote (id {id}, comment_id BIGINT NOT NULL, voter {text} NOT NULL, UNIQUE (comment_id, voter))"),
        format!("CREATE TABLE tag (name {text} NOT NULL PRIMARY KEY, note {text} NOT NULL)"),
        format!(
            "CREATE TABLE label (article_id BIGINT NOT NULL, tag_name {text} NOT NULL, weight INT NOT NULL, PRIMARY KEY (article_id, tag_name))"
        ),
    ]
}
