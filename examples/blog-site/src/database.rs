//! Databases by their URLs, and the tables: the same ones for every ORM.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::site::{Site, SiteError};

/// How long a database may take to answer at start.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The databases that the site knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

/// Where a database is. It is printed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    url: String,
    dialect: Dialect,
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL names no database that the site knows.
    #[error("{url} is no database URL: write postgres://USER:PASSWORD@HOST/NAME, mysql://USER:PASSWORD@HOST/NAME or sqlite://FILE")]
    Url {
        /// The URL, without its password.
        url: String,
    },
    /// It does not answer.
    #[error("cannot connect to {url}: {cause}")]
    Connect {
        /// The database.
        url: DatabaseUrl,
        /// What the driver says.
        cause: String,
    },
    /// The tables could not be made.
    #[error("cannot make the tables in {url}: {cause}")]
    Tables {
        /// The database.
        url: DatabaseUrl,
        /// What it says.
        cause: SiteError,
    },
    /// A replay needs empty tables.
    #[error(
        "the tables in {url} hold data, and a replay begins with empty ones: use another database, or --reset to drop the tables article, comment and vote with all their data"
    )]
    NotEmpty {
        /// The database.
        url: DatabaseUrl,
    },
}

impl DatabaseUrl {
    /// All of it, with its password.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether it is SQLite without a file: every connection has a database of its own, which is gone with it.
    pub fn is_in_memory(&self) -> bool {
        let url = &self.url;
        self.dialect == Dialect::Sqlite
            && (url.contains(":memory:") || url.contains("mode=memory") || matches!(&**url, "sqlite:" | "sqlite://"))
    }

    /// The database does not answer.
    pub fn unreachable(&self, cause: impl fmt::Display) -> DatabaseError {
        DatabaseError::Connect { url: self.clone(), cause: cause.to_string() }
    }

    /// Waits for a first connection, but not for long. A pool says only that it waited in vain; a single connection says why.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Connect`]
    pub async fn probe<T, E: fmt::Display>(&self, connecting: impl Future<Output = Result<T, E>>) -> Result<T, DatabaseError> {
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.unreachable(format_args!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseError;

    fn from_str(url: &str) -> Result<Self, DatabaseError> {
        let dialect = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Dialect::Sqlite,
            Some("postgres" | "postgresql") => Dialect::Postgres,
            Some("mysql" | "mariadb") => Dialect::MySql,
            _ => return Err(DatabaseError::Url { url: without_password(url) }),
        };
        Ok(Self { url: url.to_owned(), dialect })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.url))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL that may be printed.
fn without_password(url: &str) -> String {
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
pub(crate) async fn prepare<S: Site>(site: &S, url: &DatabaseUrl, reset: bool) -> Result<(), DatabaseError> {
    let drop = ["vote", "comment", "article"].into_iter().filter(|_| reset).map(|table| format!("DROP TABLE IF EXISTS {table}"));
    for sql in drop.chain(tables(url.dialect)) {
        site.execute(sql).await.map_err(|cause| DatabaseError::Tables { url: url.clone(), cause })?;
    }
    Ok(())
}

/// As [`prepare`], for those who need empty tables.
pub(crate) async fn prepare_empty<S: Site>(site: &S, url: &DatabaseUrl, reset: bool) -> Result<(), DatabaseError> {
    prepare(site, url, reset).await?;
    match site.is_empty().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(DatabaseError::NotEmpty { url: url.clone() }),
        Err(cause) => Err(DatabaseError::Tables { url: url.clone(), cause }),
    }
}

/// By hand, because timestamps need microseconds: they are versions.
fn tables(dialect: Dialect) -> Vec<String> {
    // MySQL has no CREATE INDEX IF NOT EXISTS, and makes those of foreign keys itself.
    let (id, key, time, index, options) = match dialect {
        Dialect::Postgres => ("BIGINT", "BIGINT GENERATED BY DEFAULT AS IDENTITY", "TIMESTAMP WITH TIME ZONE", "", ""),
        Dialect::MySql => {
            let index = ", INDEX article_activity (updated_at, id)";
            ("BIGINT", "BIGINT AUTO_INCREMENT", "DATETIME(6)", index, " ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4")
        }
        // Only INTEGER is the row's own number.
        Dialect::Sqlite => ("INTEGER", "INTEGER", "timestamp_with_timezone_text", "", ""),
    };
    let mut statements = vec![
        format!(
            "CREATE TABLE IF NOT EXISTS article (id {id} PRIMARY KEY, title TEXT NOT NULL, url TEXT, author VARCHAR(255) NOT NULL, \
             created_at {time} NOT NULL, updated_at {time} NOT NULL{index}){options}"
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
    if dialect != Dialect::MySql {
        let indexes = [
            ("article_activity", "article (updated_at, id)"),
            ("comment_article", "comment (article_id)"),
            ("comment_parent", "comment (parent_id)"),
            ("vote_article", "vote (article_id)"),
            ("vote_comment", "vote (comment_id)"),
        ];
        statements.extend(indexes.map(|(name, columns)| format!("CREATE INDEX IF NOT EXISTS {name} ON {columns}")));
    }
    statements
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

    #[test]
    fn urls_tell_the_database() {
        let dialect = |url: &str| url.parse::<DatabaseUrl>().map(|url| url.dialect()).ok();
        assert_eq!(dialect("sqlite://blog.db"), Some(Dialect::Sqlite));
        assert_eq!(dialect("postgresql://host/db"), Some(Dialect::Postgres));
        assert_eq!(dialect("mariadb://host/db"), Some(Dialect::MySql));
        assert_eq!(dialect("blog.db"), None);
        assert!("sqlite::memory:".parse::<DatabaseUrl>().is_ok_and(|url| url.is_in_memory()));
    }
}
