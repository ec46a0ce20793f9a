//! Diesel's statements that can be swept: what each needs, so that the changed rows are known.

use std::marker::PhantomData;

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::face::now;
use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::query_builder::{
    BatchInsert, DefaultValues, DeleteStatement, InsertOrIgnore, InsertStatement, Query, QueryFragment, QueryId, ReturningClause,
    UpdateStatement, ValuesClause,
};
use diesel::query_dsl::CompatibleType;

use crate::connection::SweepConn;
use crate::db::Blocking;
use crate::describe::SweepTable;
use crate::runnable::{Counted, Loaded, Ran, Runnable};
use crate::write::write;

/// A statement without RETURNING that can be swept on a connection `C`; `M` is the table's model.
///
/// UPDATE and DELETE of a table or of a filtered one; INSERT of rows, with `on_conflict…` on PostgreSQL and SQLite.
#[diagnostic::on_unimplemented(
    message = "this statement does not tell which rows it changes on `{C}`",
    label = "expected an insert, update or delete of a table whose model derives `CacheSweep`",
    note = "`REPLACE` removes rows that nobody names: update the row, and insert it if there was none, in one `sweeper.transaction(…)`",
    note = "MySQL does not tell which rows an upsert changed: use `update_and_sweep`, then `insert_and_sweep`"
)]
pub trait ExecuteStatement<M, C: SweepConn> {
    #[doc(hidden)]
    fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize>;
}

/// A statement with RETURNING that can be swept on a connection `C`, and returns rows of type `U`.
#[diagnostic::on_unimplemented(
    message = "this statement does not return rows that are swept on `{C}`",
    label = "`{C}` may be without RETURNING, or the rows cannot be read as `{U}`",
    note = "on MySQL use `execute_and_sweep`, and load the rows"
)]
pub trait LoadStatement<M, C: SweepConn, U> {
    #[doc(hidden)]
    fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>>;
}

/// The type of a returned row, as Diesel understands it.
pub(crate) type RowType<S, U, DB> = <<S as Query>::SqlType as CompatibleType<U, DB>>::SqlType;

/// How a connection's database takes inserts.
#[doc(hidden)]
pub mod inserts {
    /// It returns the new rows (PostgreSQL).
    #[derive(Debug)]
    pub struct Returned;
    /// It returns the new rows, if they are not many in one statement; those Diesel splits up itself (SQLite).
    #[derive(Debug)]
    pub struct Split;
    /// It does not return them (MySQL).
    #[derive(Debug)]
    pub struct Asked;
}

pub(crate) fn run<'c, M, T, C, R>(sweeper: &Sweeper, conn: &'c mut C, statement: R) -> QueryResult<Ran<R::Row>>
where
    T: SweepTable<M>,
    C: SweepConn,
    R: Runnable<Blocking<'c, C>>,
{
    now(write(sweeper, &mut Blocking(conn), T::entity(), statement))
}

fn load<M, T, C, S, U>(sweeper: &Sweeper, conn: &mut C, statement: S) -> QueryResult<Vec<U>>
where
    T: SweepTable<M>,
    C: SweepConn,
    S: Query + QueryFragment<C::Backend> + QueryId + Send,
    S::SqlType: CompatibleType<U, C::Backend>,
    U: FromSqlRow<RowType<S, U, C::Backend>, C::Backend> + Send + 'static,
    RowType<S, U, C::Backend>: 'static,
{
    let loaded = Loaded { statement, row: PhantomData::<fn() -> (U, RowType<S, U, C::Backend>)> };
    Ok(run::<M, T, C, _>(sweeper, conn, loaded)?.rows)
}

impl<M, C, T, W, V> ExecuteStatement<M, C> for UpdateStatement<T, W, V>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: QueryFragment<C::Backend> + QueryId + Send,
{
    fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
        Ok(run::<M, T, C, _>(sweeper, conn, Counted(self))?.affected)
    }
}

impl<M, C, U, T, W, V, R> LoadStatement<M, C, U> for UpdateStatement<T, W, V, ReturningClause<R>>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: Query + QueryFragment<C::Backend> + QueryId + Send,
    <Self as Query>::SqlType: CompatibleType<U, C::Backend>,
    U: FromSqlRow<RowType<Self, U, C::Backend>, C::Backend> + Send + 'static,
    RowType<Self, U, C::Backend>: 'static,
{
    fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>> {
        load::<M, T, C, Self, U>(sweeper, conn, self)
    }
}

impl<M, C, T, W> ExecuteStatement<M, C> for DeleteStatement<T, W>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: QueryFragment<C::Backend> + QueryId + Send,
{
    fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
        Ok(run::<M, T, C, _>(sweeper, conn, Counted(self))?.affected)
    }
}

impl<M, C, U, T, W, R> LoadStatement<M, C, U> for DeleteStatement<T, W, ReturningClause<R>>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: Query + QueryFragment<C::Backend> + QueryId + Send,
    <Self as Query>::SqlType: CompatibleType<U, C::Backend>,
    U: FromSqlRow<RowType<Self, U, C::Backend>, C::Backend> + Send + 'static,
    RowType<Self, U, C::Backend>: 'static,
{
    fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>> {
        load::<M, T, C, Self, U>(sweeper, conn, self)
    }
}

/// `INSERT`, and `INSERT OR IGNORE`; not `REPLACE`, which removes rows that nobody names.
#[diagnostic::on_unimplemented(
    message = "`{Self}` removes rows that nobody names, so that what it changes cannot be swept",
    label = "update the row, and insert it if there was none, in one `sweeper.transaction(…)`",
    note = "`insert_into(…)` and `insert_or_ignore_into(…)` can be swept"
)]
pub trait KeepsRows {}

/// Diesel names the operator of a plain insert nowhere, but shows it here.
trait HasOperator {
    type Operator;
}

impl<T: diesel::QuerySource, V, Op, Ret> HasOperator for InsertStatement<T, V, Op, Ret> {
    type Operator = Op;
}

diesel::table! {
    /// Stands for any table.
    any (id) {
        /// Its key.
        id -> Integer,
    }
}

impl KeepsRows for <InsertStatement<any::table, ()> as HasOperator>::Operator {}
impl KeepsRows for InsertOrIgnore {}

/// A way to take inserts that tells the rows which these values make.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "MySQL does not tell which rows an upsert, or an insert from a select, changes",
    label = "use `update_and_sweep`, and `insert_and_sweep` if there was none, in one `sweeper.transaction(…)`",
    note = "PostgreSQL and SQLite tell it"
)]
pub trait TakesValues<T, V> {}

impl<T, V> TakesValues<T, V> for inserts::Returned {}
impl<T, V> TakesValues<T, V> for inserts::Split {}
impl<T, V> TakesValues<T, ValuesClause<V, T>> for inserts::Asked {}
impl<T, V, QId, const STATIC: bool> TakesValues<T, BatchInsert<V, T, QId, STATIC>> for inserts::Asked {}
impl<T> TakesValues<T, DefaultValues> for inserts::Asked {}

/// An insert in the way that a connection's database takes it.
#[doc(hidden)]
pub trait InsertOn<M, C: SweepConn, How> {
    fn insert_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize>;
}

/// As [`InsertOn`], with rows for the user.
#[doc(hidden)]
pub trait LoadInsertOn<M, C: SweepConn, U, How> {
    fn load_inserted(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>>;
}

impl<M, C, T, V, Op> ExecuteStatement<M, C> for InsertStatement<T, V, Op>
where
    T: SweepTable<M>,
    C: SweepConn,
    Op: KeepsRows,
    C::Inserts: TakesValues<T, V>,
    Self: InsertOn<M, C, C::Inserts>,
{
    fn execute_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
        self.insert_swept(sweeper, conn)
    }
}

impl<M, C, U, T, V, Op, R> LoadStatement<M, C, U> for InsertStatement<T, V, Op, ReturningClause<R>>
where
    T: SweepTable<M>,
    C: SweepConn,
    Op: KeepsRows,
    Self: LoadInsertOn<M, C, U, C::Inserts>,
{
    fn load_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>> {
        self.load_inserted(sweeper, conn)
    }
}

impl<M, C, T, V, Op> InsertOn<M, C, inserts::Returned> for InsertStatement<T, V, Op>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: QueryFragment<C::Backend> + QueryId + Send,
{
    fn insert_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
        Ok(run::<M, T, C, _>(sweeper, conn, Counted(self))?.affected)
    }
}

impl<M, C, U, T, V, Op, R> LoadInsertOn<M, C, U, inserts::Returned> for InsertStatement<T, V, Op, ReturningClause<R>>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: Query + QueryFragment<C::Backend> + QueryId + Send,
    <Self as Query>::SqlType: CompatibleType<U, C::Backend>,
    U: FromSqlRow<RowType<Self, U, C::Backend>, C::Backend> + Send + 'static,
    RowType<Self, U, C::Backend>: 'static,
{
    fn load_inserted(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>> {
        load::<M, T, C, Self, U>(sweeper, conn, self)
    }
}

impl<M, C, T, V, Op> InsertOn<M, C, inserts::Asked> for InsertStatement<T, V, Op>
where
    T: SweepTable<M>,
    C: SweepConn,
    Self: QueryFragment<C::Backend> + QueryId + Send,
{
    fn insert_swept(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize> {
        Ok(run::<M, T, C, _>(sweeper, conn, Counted(self))?.affected)
    }
}
