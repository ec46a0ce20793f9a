//! diesel-async's connections.

use std::future::Future;

use diesel::QueryResult;
use diesel::deserialize::QueryableByName;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::sql_types::Untyped;
use diesel_async::{AsyncConnection, AsyncConnectionCore, TransactionManager};
use futures_util::StreamExt as _;

use crate::connection::Open;
use crate::db::Db;
use crate::rewrite::Renderer;
use crate::sql::{Dialect, SweepBackend};
#[cfg(any(feature = "sqlite", feature = "postgres_backend", feature = "mysql_backend"))]
use crate::statement::inserts;

/// A connection that the async wrappers work on: diesel-async's `AsyncPgConnection` and `AsyncMysqlConnection`, its wrapper of
/// `SqliteConnection`, and pooled ones (features `bb8` and `deadpool`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no async connection that can be swept",
    label = "expected `AsyncPgConnection`, `AsyncMysqlConnection`, `SyncConnectionWrapper<SqliteConnection>`, or a pooled one",
    note = "switch on the features `postgres_backend`, `mysql_backend`, `sqlite`, `bb8` or `deadpool` of cachesweeper-diesel"
)]
pub trait AsyncSweepConn: AsyncConnection<Backend: SweepBackend> {
    /// How its database takes inserts.
    #[doc(hidden)]
    type Inserts;

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
    fn begin_write(&mut self) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! raw {
    ($([$($generics:tt)*])? $type:ty, $dialect:ident, $inserts:ident, |$conn:ident| $begin:expr) => {
        impl$(<$($generics)*>)? AsyncSweepConn for $type {
            type Inserts = inserts::$inserts;

            fn dialect(&self) -> Dialect {
                Dialect::$dialect
            }

            fn renderer(&self) -> Renderer<Self::Backend> {
                Renderer::default()
            }

            fn identity(&mut self) -> usize {
                std::ptr::from_mut(self).addr()
            }

            fn begin_write(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
                let $conn = self;
                $begin
            }
        }
    };
}

#[cfg(feature = "postgres_backend")]
raw!(diesel_async::AsyncPgConnection, Postgres, Returned, |conn| diesel_async::AnsiTransactionManager::begin_transaction(conn));
#[cfg(feature = "mysql_backend")]
raw!(diesel_async::AsyncMysqlConnection, MySql, Asked, |conn| diesel_async::AnsiTransactionManager::begin_transaction(conn));
// The writer from the start, as in the blocking face. The connection is SQLite's own, on a thread that may block.
#[cfg(feature = "sqlite")]
raw!(diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>, Sqlite, Returned, |conn| conn
    .spawn_blocking(begin_sqlite));

#[cfg(feature = "sqlite")]
fn begin_sqlite(conn: &mut diesel::SqliteConnection) -> QueryResult<()> {
    crate::connection::SweepConn::begin_write(conn)
}

// One by one, since a pool's own bounds are not known of every connection.
#[cfg(any(feature = "bb8", feature = "deadpool"))]
macro_rules! pooled {
    ($connection:ty) => {
        #[cfg(feature = "bb8")]
        pooled!(@pool [<'p>] diesel_async::pooled_connection::bb8::PooledConnection<'p, $connection>, $connection);
        #[cfg(feature = "deadpool")]
        pooled!(@pool [] diesel_async::pooled_connection::deadpool::Object<$connection>, $connection);
    };
    (@pool [$($generics:tt)*] $type:ty, $connection:ty) => {
        impl$($generics)* AsyncSweepConn for $type {
            type Inserts = <$connection as AsyncSweepConn>::Inserts;

            fn dialect(&self) -> Dialect {
                (**self).dialect()
            }

            fn renderer(&self) -> Renderer<Self::Backend> {
                (**self).renderer()
            }

            fn identity(&mut self) -> usize {
                (**self).identity()
            }

            fn begin_write(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
                (**self).begin_write()
            }
        }
    };
}

#[cfg(all(feature = "postgres_backend", any(feature = "bb8", feature = "deadpool")))]
pooled!(diesel_async::AsyncPgConnection);
#[cfg(all(feature = "mysql_backend", any(feature = "bb8", feature = "deadpool")))]
pooled!(diesel_async::AsyncMysqlConnection);
#[cfg(all(feature = "sqlite", any(feature = "bb8", feature = "deadpool")))]
pooled!(diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>);

/// What a connection has open.
pub(super) fn open<C: AsyncConnection>(conn: &mut C) -> QueryResult<Open> {
    Open::of(C::TransactionManager::transaction_manager_status_mut(conn))
}

/// An async connection, as the engine sees it.
pub(super) struct Asynchronous<'c, C>(pub(super) &'c mut C);

impl<C: AsyncSweepConn> Db for Asynchronous<'_, C> {
    type Backend = C::Backend;

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn renderer(&self) -> Renderer<C::Backend> {
        self.0.renderer()
    }

    fn identity(&mut self) -> usize {
        self.0.identity()
    }

    fn open(&mut self) -> QueryResult<Open> {
        open(self.0)
    }

    async fn load<Q, R>(&mut self, query: Q) -> QueryResult<Vec<R>>
    where
        Q: Query<SqlType = Untyped> + QueryFragment<C::Backend> + QueryId + Send,
        R: QueryableByName<C::Backend> + Send + 'static,
    {
        let mut rows = std::pin::pin!(AsyncConnectionCore::load(self.0, query).await?);
        let mut loaded = Vec::new();
        while let Some(row) = rows.next().await {
            loaded.push(R::build(&row?).map_err(diesel::result::Error::DeserializationError)?);
        }
        Ok(loaded)
    }

    async fn execute<Q>(&mut self, query: Q) -> QueryResult<usize>
    where
        Q: QueryFragment<C::Backend> + QueryId + Send,
    {
        AsyncConnectionCore::execute_returning_count(self.0, query).await
    }

    fn begin(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        self.0.begin_write()
    }

    fn commit(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        C::TransactionManager::commit_transaction(self.0)
    }

    fn rollback(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        C::TransactionManager::rollback_transaction(self.0)
    }
}
