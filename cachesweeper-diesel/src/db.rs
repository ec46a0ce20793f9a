//! A connection as the engine sees it, async or blocking. The engine is written once, as futures; those of a blocking
//! connection are ready at their first poll.

use std::future::{Future, ready};

use diesel::QueryResult;
use diesel::connection::{LoadConnection, TransactionManager};
use diesel::deserialize::QueryableByName;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::sql_types::Untyped;

use crate::connection::{Open, SweepConn, open};
use crate::rewrite::Renderer;
use crate::sql::{Dialect, Sql, SweepBackend, TextRow};

/// Runs statements and transactions.
pub(crate) trait Db: Send {
    /// Diesel's backend.
    type Backend: SweepBackend;

    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// What a statement is rendered with.
    fn renderer(&self) -> Renderer<Self::Backend>;

    /// What tells it from other connections while it is borrowed.
    fn identity(&mut self) -> usize;

    /// What is open.
    #[doc(hidden)]
    fn open(&mut self) -> QueryResult<Open>;

    /// Rows of any statement.
    fn load<Q, R>(&mut self, query: Q) -> impl Future<Output = QueryResult<Vec<R>>> + Send
    where
        Q: Query<SqlType = Untyped> + QueryFragment<Self::Backend> + QueryId + Send,
        R: QueryableByName<Self::Backend> + Send + 'static;

    /// Runs a statement and tells how many rows it changed.
    fn execute<Q>(&mut self, query: Q) -> impl Future<Output = QueryResult<usize>> + Send
    where
        Q: QueryFragment<Self::Backend> + QueryId + Send;

    /// Begins a transaction that will write; inside of one, a savepoint.
    fn begin(&mut self) -> impl Future<Output = QueryResult<()>> + Send;

    /// Commits the innermost.
    fn commit(&mut self) -> impl Future<Output = QueryResult<()>> + Send;

    /// Rolls the innermost back.
    fn rollback(&mut self) -> impl Future<Output = QueryResult<()>> + Send;

    /// Rows of a statement of our own.
    fn rows(&mut self, sql: Sql) -> impl Future<Output = QueryResult<Vec<TextRow>>> + Send {
        self.load(sql)
    }
}

/// A blocking connection.
pub(crate) struct Blocking<'c, C>(pub(crate) &'c mut C);

impl<C: SweepConn> Db for Blocking<'_, C> {
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

    fn load<Q, R>(&mut self, query: Q) -> impl Future<Output = QueryResult<Vec<R>>> + Send
    where
        Q: Query<SqlType = Untyped> + QueryFragment<C::Backend> + QueryId + Send,
        R: QueryableByName<C::Backend> + Send + 'static,
    {
        ready(load(self.0, query))
    }

    fn execute<Q>(&mut self, query: Q) -> impl Future<Output = QueryResult<usize>> + Send
    where
        Q: QueryFragment<C::Backend> + QueryId + Send,
    {
        ready(self.0.execute_returning_count(&query))
    }

    fn begin(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        ready(self.0.begin_write())
    }

    // Not before it is polled: the hold is renewed while it runs.
    async fn commit(&mut self) -> QueryResult<()> {
        C::TransactionManager::commit_transaction(self.0)
    }

    fn rollback(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        ready(C::TransactionManager::rollback_transaction(self.0))
    }
}

fn load<C, Q, R>(conn: &mut C, query: Q) -> QueryResult<Vec<R>>
where
    C: SweepConn,
    Q: Query<SqlType = Untyped> + QueryFragment<C::Backend> + QueryId,
    R: QueryableByName<C::Backend>,
{
    let rows = LoadConnection::load(conn, query)?;
    rows.map(|row| R::build(&row?).map_err(diesel::result::Error::DeserializationError)).collect()
}
