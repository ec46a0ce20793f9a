//! A connection of the backend in question, and the pool of a site.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_diesel::{Sweeper, Watcher};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::{Connection, MysqlConnection, PgConnection, SqliteConnection};

use crate::database::{Backend, Database, open_sqlite};

/// A connection of one of Diesel's types.
pub enum Conn {
    /// SQLite's.
    Sqlite(SqliteConnection),
    /// PostgreSQL's.
    Postgres(PgConnection),
    /// MySQL's.
    MySql(MysqlConnection),
}

/// The same, borrowed.
pub enum ConnRef<'c> {
    /// SQLite's.
    Sqlite(&'c mut SqliteConnection),
    /// PostgreSQL's.
    Postgres(&'c mut PgConnection),
    /// MySQL's.
    MySql(&'c mut MysqlConnection),
}

impl Conn {
    /// Connects to a database.
    pub fn open(database: &Database) -> Self {
        let url = database.diesel_url();
        match database.backend {
            Backend::Sqlite => Self::Sqlite(open_sqlite(&url)),
            Backend::Postgres => Self::Postgres(PgConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}"))),
            Backend::MySql => Self::MySql(MysqlConnection::establish(&url).unwrap_or_else(|error| panic!("{url}: {error}"))),
        }
    }

    /// Hands every event to `instrumentation`.
    pub fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        match self {
            Self::Sqlite(conn) => conn.set_instrumentation(instrumentation),
            Self::Postgres(conn) => conn.set_instrumentation(instrumentation),
            Self::MySql(conn) => conn.set_instrumentation(instrumentation),
        }
    }

    /// Borrows it.
    pub fn as_mut(&mut self) -> ConnRef<'_> {
        match self {
            Self::Sqlite(conn) => ConnRef::Sqlite(conn),
            Self::Postgres(conn) => ConnRef::Postgres(conn),
            Self::MySql(conn) => ConnRef::MySql(conn),
        }
    }
}

impl ConnRef<'_> {
    /// Borrows it for a shorter time.
    pub fn reborrow(&mut self) -> ConnRef<'_> {
        match self {
            Self::Sqlite(conn) => ConnRef::Sqlite(conn),
            Self::Postgres(conn) => ConnRef::Postgres(conn),
            Self::MySql(conn) => ConnRef::MySql(conn),
        }
    }
}

/// Runs an expression on a connection of whichever type it is.
#[macro_export]
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::orm::diesel::ConnRef::Sqlite($c) => $body,
            $crate::orm::diesel::ConnRef::Postgres($c) => $body,
            $crate::orm::diesel::ConnRef::MySql($c) => $body,
        }
    };
}

/// Counts statements, without those that begin and end transactions.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Instrumentation for Counter {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let shown = query.to_string();
            let around = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"];
            if !around.iter().any(|word| shown.starts_with(word)) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Connections of a site: as many as are used at once.
pub struct Pool {
    database: Database,
    sweeper: Sweeper,
    watched: bool,
    /// Counts the statements of all.
    pub statements: Counter,
    idle: Mutex<Vec<Conn>>,
}

impl Pool {
    pub(super) fn new(database: Database, sweeper: Sweeper, watched: bool) -> Self {
        Self { database, sweeper, watched, statements: Counter::default(), idle: Mutex::default() }
    }

    /// A connection, put back when it is dropped.
    pub fn take(&self) -> Pooled<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pooled { conn: Some(idle.unwrap_or_else(|| self.connect())), pool: self }
    }

    fn connect(&self) -> Conn {
        let mut conn = Conn::open(&self.database);
        if self.watched {
            conn.set_instrumentation(Watcher::with(&self.sweeper, self.statements.clone()));
        } else {
            conn.set_instrumentation(self.statements.clone());
        }
        conn
    }
}

/// A connection of a pool.
pub struct Pooled<'p> {
    conn: Option<Conn>,
    pool: &'p Pool,
}

impl Pooled<'_> {
    /// Borrows it.
    pub fn as_mut(&mut self) -> ConnRef<'_> {
        self.conn.as_mut().expect("it is there until the drop").as_mut()
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.conn.take());
    }
}
