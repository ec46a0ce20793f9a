//! Connections that the wrappers work on. The one place that relies on what Diesel keeps hidden: the depth of transactions.

use diesel::QueryResult;
use diesel::connection::{Connection, LoadConnection, TransactionManager, TransactionManagerStatus};

use crate::rewrite::Renderer;
use crate::sql::{Dialect, SweepBackend};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::statement::inserts;

/// A connection that the wrappers work on: Diesel's three, pooled ones (feature `r2d2`), and enums of them that derive
/// Diesel's `MultiConnection` and this trait's derive, [`SweepConn`](macro@crate::SweepConn).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no connection that can be swept",
    label = "expected `SqliteConnection`, `PgConnection`, `MysqlConnection`, or a pooled one",
    note = "switch on the features `sqlite`, `postgres`, `mysql` or `r2d2` of cachesweeper-diesel",
    note = "an enum of connections derives `diesel::MultiConnection` and `cachesweeper_diesel::SweepConn`"
)]
pub trait SweepConn: Connection<Backend: SweepBackend> + LoadConnection {
    /// The connection inside a wrapper; for others, itself.
    #[doc(hidden)]
    type Raw: SweepConn<Backend = Self::Backend>;

    /// How its database takes inserts.
    #[doc(hidden)]
    type Inserts;

    #[doc(hidden)]
    fn raw(&mut self) -> &mut Self::Raw;

    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// What a statement is rendered with.
    #[doc(hidden)]
    fn renderer(&self) -> Renderer<Self::Backend>;

    /// What tells it from other connections while it is borrowed.
    #[doc(hidden)]
    fn identity(&mut self) -> usize;

    /// Begins a transaction that will write.
    #[doc(hidden)]
    fn begin_write(&mut self) -> QueryResult<()>;
}

/// What a connection has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// No transaction.
    Nothing,
    /// A test transaction alone, which will never commit: what happens inside is as if there was none.
    Test,
    /// A transaction, and savepoints inside it: how many of both.
    Transaction(u32),
}

impl Open {
    pub(crate) fn of(status: &TransactionManagerStatus) -> QueryResult<Self> {
        let TransactionManagerStatus::Valid(status) = status else {
            return Err(diesel::result::Error::BrokenTransactionManager);
        };
        Ok(match &status.in_transaction {
            None => Self::Nothing,
            Some(inside) if inside.test_transaction && inside.transaction_depth.get() == 1 => Self::Test,
            Some(inside) => Self::Transaction(inside.transaction_depth.get()),
        })
    }

    pub(crate) fn depth(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Test => 1,
            Self::Transaction(depth) => depth,
        }
    }
}

pub(crate) fn open<C: Connection>(conn: &mut C) -> QueryResult<Open> {
    Open::of(C::TransactionManager::transaction_manager_status_mut(conn))
}

macro_rules! raw {
    ($type:ty, $dialect:ident, $inserts:ident, |$conn:ident| $begin:expr) => {
        impl SweepConn for $type {
            type Raw = Self;
            type Inserts = inserts::$inserts;

            fn raw(&mut self) -> &mut Self {
                self
            }

            fn dialect(&self) -> Dialect {
                Dialect::$dialect
            }

            fn renderer(&self) -> Renderer<Self::Backend> {
                Renderer::default()
            }

            fn identity(&mut self) -> usize {
                std::ptr::from_mut(self).addr()
            }

            fn begin_write(&mut self) -> QueryResult<()> {
                let $conn = self;
                $begin
            }
        }
    };
}

#[cfg(feature = "postgres")]
raw!(diesel::PgConnection, Postgres, Returned, |conn| diesel::connection::AnsiTransactionManager::begin_transaction(conn));
#[cfg(feature = "mysql")]
raw!(diesel::MysqlConnection, MySql, Asked, |conn| diesel::connection::AnsiTransactionManager::begin_transaction(conn));
// A transaction that reads first and writes later fails if another has written in between, so it is the writer from the start.
#[cfg(feature = "sqlite")]
raw!(diesel::SqliteConnection, Sqlite, Split, |conn| match open(conn)? {
    Open::Nothing => diesel::connection::AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE"),
    Open::Test | Open::Transaction(_) => diesel::connection::AnsiTransactionManager::begin_transaction(conn),
});

#[cfg(feature = "r2d2")]
impl<C> SweepConn for diesel::r2d2::PooledConnection<diesel::r2d2::ConnectionManager<C>>
where
    C: SweepConn + diesel::r2d2::R2D2Connection + 'static,
    Self: Connection<Backend = C::Backend> + LoadConnection,
{
    type Raw = C::Raw;
    type Inserts = C::Inserts;

    fn raw(&mut self) -> &mut C::Raw {
        (**self).raw()
    }

    fn dialect(&self) -> Dialect {
        (**self).dialect()
    }

    fn renderer(&self) -> Renderer<Self::Backend> {
        (**self).renderer()
    }

    fn identity(&mut self) -> usize {
        (**self).identity()
    }

    fn begin_write(&mut self) -> QueryResult<()> {
        (**self).begin_write()
    }
}
