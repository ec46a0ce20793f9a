//! A connection of the backend in question, and the pool of a site.

use std::sync::{Mutex, PoisonError};

use cachesweeper_diesel::Watcher;
use cachesweeper_diesel::asynchronous::Sweeper;
use diesel::SqliteConnection;
use diesel::connection::Instrumentation;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::database::{Backend, Database};
use crate::orm::diesel::Counter;

/// SQLite's connection, on a thread that may block.
pub type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

/// A connection of one of diesel-async's types.
#[expect(clippy::large_enum_variant, reason = "a few, of tests")]
pub enum AsyncConn {
    /// SQLite's.
    Sqlite(AsyncSqlite),
    /// PostgreSQL's.
    Postgres(AsyncPgConnection),
    /// MySQL's.
    MySql(AsyncMysqlConnection),
}

/// The same, borrowed.
pub enum AsyncConnRef<'c> {
    /// SQLite's.
    Sqlite(&'c mut AsyncSqlite),
    /// PostgreSQL's.
    Postgres(&'c mut AsyncPgConnection),
    /// MySQL's.
    MySql(&'c mut AsyncMysqlConnection),
}

async fn establish<C: AsyncConnection>(url: &str) -> C {
    C::establish(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

impl AsyncConn {
    /// Connects to a database.
    pub async fn open(database: &Database) -> Self {
        let url = database.diesel_url();
        match database.backend {
            Backend::Sqlite => {
                let mut conn: AsyncSqlite = establish(&url).await;
                conn.batch_execute("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF").await.expect("the pragmas");
                Self::Sqlite(conn)
            }
            Backend::Postgres => Self::Postgres(establish(&url).await),
            Backend::MySql => Self::MySql(establish(&url).await),
        }
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        match self {
            Self::Sqlite(conn) => conn.set_instrumentation(instrumentation),
            Self::Postgres(conn) => conn.set_instrumentation(instrumentation),
            Self::MySql(conn) => conn.set_instrumentation(instrumentation),
        }
    }
}

impl<'c> From<&'c mut AsyncConn> for AsyncConnRef<'c> {
    fn from(conn: &'c mut AsyncConn) -> Self {
        match conn {
            AsyncConn::Sqlite(conn) => Self::Sqlite(conn),
            AsyncConn::Postgres(conn) => Self::Postgres(conn),
            AsyncConn::MySql(conn) => Self::MySql(conn),
        }
    }
}

impl AsyncConnRef<'_> {
    /// Borrows it for a shorter time.
    pub fn reborrow(&mut self) -> AsyncConnRef<'_> {
        match self {
            Self::Sqlite(conn) => AsyncConnRef::Sqlite(conn),
            Self::Postgres(conn) => AsyncConnRef::Postgres(conn),
            Self::MySql(conn) => AsyncConnRef::MySql(conn),
        }
    }
}

/// Runs an expression on a connection of whichever type it is.
#[macro_export]
macro_rules! on_async_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::orm::diesel_async::AsyncConnRef::Sqlite($c) => $body,
            $crate::orm::diesel_async::AsyncConnRef::Postgres($c) => $body,
            $crate::orm::diesel_async::AsyncConnRef::MySql($c) => $body,
        }
    };
}

/// Connections of a site: as many as are used at once.
pub struct AsyncPool {
    database: Database,
    sweeper: Sweeper,
    watched: bool,
    /// Counts the statements of all.
    pub statements: Counter,
    #[expect(clippy::vec_box, reason = "boxed while they are taken")]
    idle: Mutex<Vec<Box<AsyncConn>>>,
}

impl AsyncPool {
    pub(super) fn new(database: Database, sweeper: Sweeper, watched: bool) -> Self {
        Self { database, sweeper, watched, statements: Counter::default(), idle: Mutex::default() }
    }

    /// A connection, put back when it is dropped.
    pub async fn take(&self) -> AsyncPooled<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => Box::new(self.connect().await),
        };
        AsyncPooled { conn: Some(conn), pool: self }
    }

    async fn connect(&self) -> AsyncConn {
        let mut conn = AsyncConn::open(&self.database).await;
        if self.watched {
            conn.set_instrumentation(Watcher::with(&self.sweeper, self.statements.clone()));
        } else {
            conn.set_instrumentation(self.statements.clone());
        }
        conn
    }
}

/// A connection of a pool.
pub struct AsyncPooled<'p> {
    conn: Option<Box<AsyncConn>>,
    pool: &'p AsyncPool,
}

impl AsyncPooled<'_> {
    /// Borrows it.
    pub fn as_mut(&mut self) -> AsyncConnRef<'_> {
        self.conn.as_deref_mut().expect("it is there until the drop").into()
    }
}

impl Drop for AsyncPooled<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.conn.take());
    }
}
