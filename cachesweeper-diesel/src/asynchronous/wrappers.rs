//! The functions that take diesel-async's place where rows are written. They are those of the blocking face, as futures.

use std::future::Future;

use cachesweeper_core::{Dependencies, RecordKey, Sweeper};
use diesel::associations::HasTable;
use diesel::query_builder::{AsChangeset, AsQuery, DeleteStatement, InsertStatement, IntoUpdateTarget, UpdateStatement};
use diesel::result::Error as DieselError;
use diesel::{Insertable, QueryResult};

use super::connection::{AsyncSweepConn, Asynchronous};
use super::statement::{AsyncExecuteStatement, AsyncLoadStatement};
use super::transaction::{Body, transaction};
use crate::describe::SweepTable;

/// Writes that invalidate what they change: methods of the async [`Sweeper`]. As those of [`SweepDsl`](crate::SweepDsl).
pub trait AsyncSweepDsl {
    /// Runs an async closure in a transaction: one sweep at its commit, nothing if it fails or panics, or if the future is
    /// dropped. Inside of another it is a savepoint.
    ///
    /// # Errors
    ///
    /// Those of the closure, and of the database. Under the policy `Abort` also [`Error::Sweeper`](crate::Error::Sweeper), if
    /// the store does not answer: the transaction was rolled back then.
    fn transaction<C, T, E, F>(&self, conn: &mut C, f: F) -> impl Future<Output = Result<T, E>> + Send
    where
        C: AsyncSweepConn,
        F: for<'c> AsyncFnOnce(&'c mut C) -> Result<T, E> + for<'c> Body<&'c mut C, Result<T, E>, Running: Send> + Send,
        T: Send,
        E: From<DieselError> + Send;

    /// `diesel::insert_into(table).values(values).execute(conn)`, swept. Returns how many rows were inserted.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`](crate::Error).
    fn insert_and_sweep<M, C, T, V>(&self, conn: &mut C, table: T, values: V) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: SweepTable<M>,
        V: Insertable<T>,
        InsertStatement<T, V::Values>: AsyncExecuteStatement<M, C>;

    /// `diesel::update(target).set(changes).execute(conn)`, swept. Returns how many rows matched.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`](crate::Error).
    fn update_and_sweep<M, C, T, V>(&self, conn: &mut C, target: T, changes: V) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        V: AsChangeset<Target = T::Table>,
        UpdateStatement<T::Table, T::WhereClause, V::Changeset>: AsQuery + AsyncExecuteStatement<M, C>;

    /// `diesel::delete(target).execute(conn)`, swept. Returns how many rows were deleted.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`](crate::Error).
    fn delete_and_sweep<M, C, T>(&self, conn: &mut C, target: T) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        DeleteStatement<T::Table, T::WhereClause>: AsyncExecuteStatement<M, C>;

    /// Invalidates records by hand, parents included; as [`SweepDsl::invalidate_with`](crate::SweepDsl::invalidate_with).
    ///
    /// # Errors
    ///
    /// Those of the database, if the ancestors cannot be found; the records themselves are invalidated all the same.
    fn invalidate_with<C, D>(&self, conn: &mut C, on: D) -> impl Future<Output = QueryResult<()>> + Send
    where
        C: AsyncSweepConn,
        D: Dependencies;
}

impl AsyncSweepDsl for Sweeper {
    fn transaction<C, T, E, F>(&self, conn: &mut C, f: F) -> impl Future<Output = Result<T, E>> + Send
    where
        C: AsyncSweepConn,
        F: for<'c> AsyncFnOnce(&'c mut C) -> Result<T, E> + for<'c> Body<&'c mut C, Result<T, E>, Running: Send> + Send,
        T: Send,
        E: From<DieselError> + Send,
    {
        transaction(self, conn, f)
    }

    fn insert_and_sweep<M, C, T, V>(&self, conn: &mut C, table: T, values: V) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: SweepTable<M>,
        V: Insertable<T>,
        InsertStatement<T, V::Values>: AsyncExecuteStatement<M, C>,
    {
        diesel::insert_into(table).values(values).execute_swept(self, conn)
    }

    fn update_and_sweep<M, C, T, V>(&self, conn: &mut C, target: T, changes: V) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        V: AsChangeset<Target = T::Table>,
        UpdateStatement<T::Table, T::WhereClause, V::Changeset>: AsQuery + AsyncExecuteStatement<M, C>,
    {
        diesel::update(target).set(changes).execute_swept(self, conn)
    }

    fn delete_and_sweep<M, C, T>(&self, conn: &mut C, target: T) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        DeleteStatement<T::Table, T::WhereClause>: AsyncExecuteStatement<M, C>,
    {
        diesel::delete(target).execute_swept(self, conn)
    }

    fn invalidate_with<C, D>(&self, conn: &mut C, on: D) -> impl Future<Output = QueryResult<()>> + Send
    where
        C: AsyncSweepConn,
        D: Dependencies,
    {
        let mut dependencies = Vec::new();
        on.collect_into(&mut dependencies);
        let records: Vec<RecordKey> = dependencies.into_iter().map(|dependency| dependency.record).collect();
        async move { crate::wrappers::invalidate(self, &mut Asynchronous(conn), records).await }
    }
}

/// Statements that invalidate what they change; as [`ExecuteAndSweep`](crate::ExecuteAndSweep).
pub trait AsyncExecuteAndSweep: Sized {
    /// Runs the statement, and sweeps the rows that it changed. Returns how many they are.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`](crate::Error).
    fn execute_and_sweep<M, C>(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<usize>> + Send
    where
        C: AsyncSweepConn,
        Self: AsyncExecuteStatement<M, C>,
    {
        self.execute_swept(sweeper, conn)
    }

    /// Runs the statement, sweeps the rows that it changed, and returns them; or what `.returning(…)` says of them.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`](crate::Error).
    fn get_results_and_sweep<M, U, C>(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<Vec<U>>> + Send
    where
        C: AsyncSweepConn,
        Self: AsQuery,
        Self::Query: AsyncLoadStatement<M, C, U>,
    {
        self.as_query().load_swept(sweeper, conn)
    }

    /// As [`get_results_and_sweep`](Self::get_results_and_sweep), for one row. If the statement changed several, the first is
    /// returned, and all are swept.
    ///
    /// # Errors
    ///
    /// [`NotFound`](DieselError::NotFound) if it changed none; those of the database, and [`Error`](crate::Error).
    fn get_result_and_sweep<M, U, C>(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<U>> + Send
    where
        C: AsyncSweepConn,
        Self: AsQuery,
        Self::Query: AsyncLoadStatement<M, C, U>,
        U: Send,
    {
        let loading = self.as_query().load_swept(sweeper, conn);
        async move { loading.await?.into_iter().next().ok_or(DieselError::NotFound) }
    }
}

impl<T: diesel::QuerySource, W, V, R> AsyncExecuteAndSweep for UpdateStatement<T, W, V, R> {}
impl<T: diesel::QuerySource, W, R> AsyncExecuteAndSweep for DeleteStatement<T, W, R> {}
impl<T: diesel::QuerySource, V, Op, R> AsyncExecuteAndSweep for InsertStatement<T, V, Op, R> {}

/// diesel-async's `save_changes`, swept.
pub trait AsyncSaveChangesAndSweep: Sized {
    /// Updates the record's row, sweeps it, and loads it anew: `record.save_changes_and_sweep(&sweeper, conn).await?`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](DieselError::NotFound) if there is no such row; those of the database, and [`Error`](crate::Error).
    fn save_changes_and_sweep<'q, M, R, C>(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<R>> + Send
    where
        C: AsyncSweepConn,
        Self: AsyncSaveAndLoad<'q, M, C, R, C::Inserts>,
    {
        self.save_and_load(sweeper, conn)
    }
}

impl<T> AsyncSaveChangesAndSweep for T where T: Copy + AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget {}

/// A record that can be saved and loaded anew on a connection `C`; `'q` is how long what it borrows lives.
pub trait AsyncSaveAndLoad<'q, M, C: AsyncSweepConn, R, How> {
    #[doc(hidden)]
    fn save_and_load(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<R>> + Send;
}

impl<'q, M, C, T, R> AsyncSaveAndLoad<'q, M, C, R, crate::statement::inserts::Returned> for T
where
    C: AsyncSweepConn,
    T: AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget + Copy,
    UpdateStatement<T::Table, T::WhereClause, T::Changeset>: AsQuery,
    <UpdateStatement<T::Table, T::WhereClause, T::Changeset> as AsQuery>::Query: AsyncLoadStatement<M, C, R>,
    R: Send,
{
    fn save_and_load(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<R>> + Send {
        let saving = diesel::update(self).set(self).as_query().load_swept(sweeper, conn);
        async move { saving.await?.into_iter().next().ok_or(DieselError::NotFound) }
    }
}

impl<'q, M, C, T, R> AsyncSaveAndLoad<'q, M, C, R, crate::statement::inserts::Asked> for T
where
    C: AsyncSweepConn,
    T: AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget + diesel::Identifiable + Copy,
    T::Table: SweepTable<M> + diesel::query_dsl::methods::FindDsl<T::Id>,
    UpdateStatement<<T as HasTable>::Table, T::WhereClause, T::Changeset>: AsQuery + AsyncExecuteStatement<M, C>,
    diesel::dsl::Find<T::Table, T::Id>: diesel_async::RunQueryDsl<C> + diesel_async::methods::LoadQuery<'q, C, R> + Send + 'q,
    R: Send,
{
    // Not in one transaction: the row is loaded as it is then.
    fn save_and_load(self, sweeper: &Sweeper, conn: &mut C) -> impl Future<Output = QueryResult<R>> + Send {
        use diesel::query_dsl::methods::FindDsl as _;
        let (update, find) = (diesel::update(self).set(self), T::table().find(self.id()));
        async move {
            update.execute_swept(sweeper, conn).await?;
            diesel_async::RunQueryDsl::get_result(find, conn).await
        }
    }
}
