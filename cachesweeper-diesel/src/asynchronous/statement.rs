//! Diesel's statements on async connections: the same as on blocking ones, but for several rows in one insert on SQLite,
//! which diesel-async does not have either.

use std::future::Future;
use std::marker::PhantomData;

use cachesweeper_core::Sweeper;
use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::query_builder::{DeleteStatement, InsertStatement, Query, QueryFragment, QueryId, ReturningClause, UpdateStatement};
use diesel::query_dsl::CompatibleType;

use super::connection::{AsyncSweepConn, Asynchronous};
use crate::describe::SweepTable;
use crate::runnable::{Counted, Loaded};
use crate::statement::{KeepsRows, RowType, TakesValues};
use crate::write::write;

/// A statement without RETURNING that can be swept on a connection `C`; see [`ExecuteStatement`](crate::ExecuteStatement).
#[diagnostic::on_unimplemented(
    message = "this statement does not tell which rows it changes on `{C}`",
    label = "expected an insert, update or delete of a table whose model derives `CacheSweep`",
    note = "MySQL does not tell which rows an upsert changed: use `update_and_sweep`, then `insert_and_sweep`",
    note = "on SQLite, insert several rows one by one, in one `sweeper.transaction(…)`"
)]
pub trait AsyncExecuteStatement<M, C: AsyncSweepConn>: Send {
    #[doc(hidden)]
    fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<usize>> + Send;
}

/// A statement with RETURNING that can be swept on a connection `C`; see [`LoadStatement`](crate::LoadStatement).
#[diagnostic::on_unimplemented(
    message = "this statement does not return rows that are swept on `{C}`",
    label = "`{C}` may be without RETURNING, or the rows cannot be read as `{U}`",
    note = "on MySQL use `execute_and_sweep`, and load the rows"
)]
pub trait AsyncLoadStatement<M, C: AsyncSweepConn, U>: Send {
    #[doc(hidden)]
    fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<Vec<U>>> + Send;
}

macro_rules! statements {
    ($([$($generics:ident),*] $statement:ident<$($arguments:ident),*> { $($bounds:tt)* })*) => {$(
        impl<M, C, T, $($generics),*> AsyncExecuteStatement<M, C> for $statement<T, $($arguments),*>
        where
            T: SweepTable<M>,
            C: AsyncSweepConn,
            Self: QueryFragment<C::Backend> + QueryId + Send,
            $($bounds)*
        {
            async fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
                Ok(write(sweeper, &mut Asynchronous(conn), T::entity(), Counted(self)).await?.affected)
            }
        }

        impl<M, C, U, T, R, $($generics),*> AsyncLoadStatement<M, C, U> for returning!($statement, T, R, $($arguments),*)
        where
            T: SweepTable<M>,
            C: AsyncSweepConn,
            Self: Query + QueryFragment<C::Backend> + QueryId + Send,
            <Self as Query>::SqlType: CompatibleType<U, C::Backend>,
            U: FromSqlRow<RowType<Self, U, C::Backend>, C::Backend> + Send + 'static,
            RowType<Self, U, C::Backend>: 'static,
            $($bounds)*
        {
            async fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>> {
                let loaded = Loaded { statement: self, row: PhantomData::<fn() -> (U, RowType<Self, U, C::Backend>)> };
                Ok(write(sweeper, &mut Asynchronous(conn), T::entity(), loaded).await?.rows)
            }
        }
    )*};
}

macro_rules! returning {
    (UpdateStatement, $table:ident, $returning:ident, $where:ident, $values:ident) => {
        UpdateStatement<$table, $where, $values, ReturningClause<$returning>>
    };
    (DeleteStatement, $table:ident, $returning:ident, $where:ident) => {
        DeleteStatement<$table, $where, ReturningClause<$returning>>
    };
    (InsertStatement, $table:ident, $returning:ident, $values:ident, $operator:ident) => {
        InsertStatement<$table, $values, $operator, ReturningClause<$returning>>
    };
}

statements! {
    [W, V] UpdateStatement<W, V> {}
    [W] DeleteStatement<W> {}
    [V, Op] InsertStatement<V, Op> { Op: KeepsRows, C::Inserts: TakesValues<T, V>, }
}
