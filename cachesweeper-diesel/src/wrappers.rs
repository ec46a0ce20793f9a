//! The functions that take Diesel's place where rows are written.

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::climb::climb;
use cachesweeper_core::face::{Face, now};
use cachesweeper_core::{Dependencies, RecordKey};
use diesel::associations::HasTable;
use diesel::query_builder::{AsChangeset, AsQuery, DeleteStatement, InsertStatement, IntoUpdateTarget, UpdateStatement};
use diesel::result::Error as DieselError;
use diesel::{Insertable, QueryResult};

use crate::commit::{Ancestors, touch_alone};
use crate::connection::{Open, SweepConn};
use crate::db::Blocking;
use crate::describe::SweepTable;
use crate::error::Error;
use crate::statement::{ExecuteStatement, LoadStatement};
use crate::transaction::transaction;

/// Writes that invalidate what they change: methods of the [`Sweeper`].
///
/// Outside of a transaction each opens its own. Inside a [`transaction`](Self::transaction) they only collect what they
/// change, for its commit. Inside a plain `conn.transaction(…)`, whose end nobody sees, they mark at once.
pub trait SweepDsl {
    /// Runs `f` in a transaction: one sweep at its commit, nothing if `f` fails or panics. Inside of another it is a savepoint.
    ///
    /// On SQLite it begins as a writer (`BEGIN IMMEDIATE`), so that it never fails because another wrote in between.
    ///
    /// ```no_run
    /// # use cachesweeper_diesel::prelude::*;
    /// # use cachesweeper_diesel::{SweepConn, Sweeper};
    /// # fn example<C: SweepConn>(sweeper: &Sweeper, conn: &mut C) -> diesel::QueryResult<()> {
    /// sweeper.transaction(conn, |conn| {
    ///     // sweeper.insert_and_sweep(conn, comments::table, &new_comment)?;
    ///     // sweeper.update_and_sweep(conn, articles::table.find(7), articles::title.eq("…"))?;
    ///     diesel::QueryResult::Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `f`, and of the database. Under the policy `Abort` also [`Error::Sweeper`], if the store does not answer:
    /// the transaction was rolled back then.
    fn transaction<C, T, E, F>(&self, conn: &mut C, f: F) -> Result<T, E>
    where
        C: SweepConn,
        F: FnOnce(&mut C) -> Result<T, E>,
        E: From<DieselError>;

    /// `diesel::insert_into(table).values(values).execute(conn)`, swept. Returns how many rows were inserted.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`].
    fn insert_and_sweep<M, C, T, V>(&self, conn: &mut C, table: T, values: V) -> QueryResult<usize>
    where
        C: SweepConn,
        T: SweepTable<M>,
        V: Insertable<T>,
        InsertStatement<T, V::Values>: ExecuteStatement<M, C::Raw>;

    /// `diesel::update(target).set(changes).execute(conn)`, swept. Returns how many rows matched.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`].
    fn update_and_sweep<M, C, T, V>(&self, conn: &mut C, target: T, changes: V) -> QueryResult<usize>
    where
        C: SweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        V: AsChangeset<Target = T::Table>,
        UpdateStatement<T::Table, T::WhereClause, V::Changeset>: AsQuery + ExecuteStatement<M, C::Raw>;

    /// `diesel::delete(target).execute(conn)`, swept. Returns how many rows were deleted.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`].
    fn delete_and_sweep<M, C, T>(&self, conn: &mut C, target: T) -> QueryResult<usize>
    where
        C: SweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        DeleteStatement<T::Table, T::WhereClause>: ExecuteStatement<M, C::Raw>;

    /// Invalidates records by hand, parents included, which this connection is asked for. For data that were changed past
    /// the wrappers. Call it after the COMMIT of what has changed them.
    ///
    /// # Errors
    ///
    /// Those of the database, if the ancestors cannot be found; the records themselves are invalidated all the same. Inside
    /// of a transaction [`Error::BeforeCommit`]: nothing was invalidated then.
    fn invalidate_with<C, D>(&self, conn: &mut C, on: D) -> QueryResult<()>
    where
        C: SweepConn,
        D: Dependencies;
}

impl SweepDsl for Sweeper {
    fn transaction<C, T, E, F>(&self, conn: &mut C, f: F) -> Result<T, E>
    where
        C: SweepConn,
        F: FnOnce(&mut C) -> Result<T, E>,
        E: From<DieselError>,
    {
        transaction(self, conn, f)
    }

    fn insert_and_sweep<M, C, T, V>(&self, conn: &mut C, table: T, values: V) -> QueryResult<usize>
    where
        C: SweepConn,
        T: SweepTable<M>,
        V: Insertable<T>,
        InsertStatement<T, V::Values>: ExecuteStatement<M, C::Raw>,
    {
        diesel::insert_into(table).values(values).execute_swept(self, conn.raw())
    }

    fn update_and_sweep<M, C, T, V>(&self, conn: &mut C, target: T, changes: V) -> QueryResult<usize>
    where
        C: SweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        V: AsChangeset<Target = T::Table>,
        UpdateStatement<T::Table, T::WhereClause, V::Changeset>: AsQuery + ExecuteStatement<M, C::Raw>,
    {
        diesel::update(target).set(changes).execute_swept(self, conn.raw())
    }

    fn delete_and_sweep<M, C, T>(&self, conn: &mut C, target: T) -> QueryResult<usize>
    where
        C: SweepConn,
        T: IntoUpdateTarget,
        T::Table: SweepTable<M>,
        DeleteStatement<T::Table, T::WhereClause>: ExecuteStatement<M, C::Raw>,
    {
        diesel::delete(target).execute_swept(self, conn.raw())
    }

    fn invalidate_with<C, D>(&self, conn: &mut C, on: D) -> QueryResult<()>
    where
        C: SweepConn,
        D: Dependencies,
    {
        let mut dependencies = Vec::new();
        on.collect_into(&mut dependencies);
        let records: Vec<RecordKey> = dependencies.into_iter().map(|dependency| dependency.record).collect();
        now(invalidate(self, &mut Blocking(conn), records))
    }
}

/// Finds the ancestors of these records, touches those with timestamps, and invalidates all.
pub(crate) async fn invalidate<S: Face, D: crate::db::Db>(sweeper: &S, db: &mut D, records: Vec<RecordKey>) -> QueryResult<()> {
    // Who reads before the COMMIT would fill the fragments anew with what is there so far.
    if let (Open::Transaction(_), Some(record)) = (db.open()?, records.first()) {
        return Err(Error::BeforeCommit { record: record.to_string() }.into());
    }
    let swept = find(sweeper, db, &records).await;
    let all = swept.as_ref().map_or(records.as_slice(), Vec::as_slice);
    Face::invalidate_records(sweeper, all).await;
    swept.map(|_| ())
}

async fn find<S: Face, D: crate::db::Db>(sweeper: &S, db: &mut D, records: &[RecordKey]) -> QueryResult<Vec<RecordKey>> {
    use crate::describe::DieselEntity;
    use cachesweeper_core::climb::{Rows, Seed, own_touches};
    let mut seeds = Vec::new();
    for record in records {
        let Some(node) = sweeper.graph().node(record) else { continue };
        let (Some(entity), Some(table)) = (node.entity_of::<DieselEntity>(), node.adapter::<DieselEntity>()) else { continue };
        let mut seed = Seed { entity, key: Some(record.clone()), parents: Vec::new() };
        if let Some(key) = table.parse_key(record) {
            let by: Vec<String> = table.primary_key().iter().map(|(name, _)| (*name).to_owned()).collect();
            if let Some(row) = Ancestors(&mut *db).find(table, &by, vec![key]).await?.pop() {
                seed.parents = row.parents;
            }
        }
        seeds.push(seed);
    }
    let mut climbed = climb(sweeper, Ancestors(&mut *db), &seeds).await?;
    climbed.touch_also(own_touches::<DieselEntity>(&seeds, |table, record| table.parse_key(record)));
    touch_alone(sweeper, db, &climbed).await?;
    // Those of no entity of Diesel's too.
    climbed.records.extend(records.iter().cloned());
    Ok(climbed.records)
}

/// Statements that invalidate what they change: `diesel::update(…).set(…).execute_and_sweep(&sweeper, conn)`.
///
/// They run as the methods of [`SweepDsl`] do.
pub trait ExecuteAndSweep: Sized {
    /// Runs the statement, and sweeps the rows that it changed. Returns how many they are.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`].
    fn execute_and_sweep<M, C>(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<usize>
    where
        C: SweepConn,
        Self: ExecuteStatement<M, C::Raw>,
    {
        self.execute_swept(sweeper, conn.raw())
    }

    /// Runs the statement, sweeps the rows that it changed, and returns them; or what `.returning(…)` says of them.
    ///
    /// # Errors
    ///
    /// Those of the database, and [`Error`].
    fn get_results_and_sweep<M, U, C>(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<Vec<U>>
    where
        C: SweepConn,
        Self: AsQuery,
        Self::Query: LoadStatement<M, C::Raw, U>,
    {
        self.as_query().load_swept(sweeper, conn.raw())
    }

    /// As [`get_results_and_sweep`](Self::get_results_and_sweep), for one row. If the statement changed several, the first is
    /// returned, and all are swept.
    ///
    /// # Errors
    ///
    /// [`NotFound`](DieselError::NotFound) if it changed none; those of the database, and [`Error`].
    fn get_result_and_sweep<M, U, C>(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<U>
    where
        C: SweepConn,
        Self: AsQuery,
        Self::Query: LoadStatement<M, C::Raw, U>,
    {
        self.get_results_and_sweep(sweeper, conn)?.into_iter().next().ok_or(DieselError::NotFound)
    }
}

impl<T: diesel::QuerySource, W, V, R> ExecuteAndSweep for UpdateStatement<T, W, V, R> {}
impl<T: diesel::QuerySource, W, R> ExecuteAndSweep for DeleteStatement<T, W, R> {}
impl<T: diesel::QuerySource, V, Op, R> ExecuteAndSweep for InsertStatement<T, V, Op, R> {}

/// Diesel's `save_changes`, swept.
pub trait SaveChangesAndSweep: Sized {
    /// Updates the record's row, sweeps it, and loads it anew: `record.save_changes_and_sweep(&sweeper, conn)?`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](DieselError::NotFound) if there is no such row; those of the database, and [`Error`].
    fn save_changes_and_sweep<M, R, C>(self, sweeper: &Sweeper, conn: &mut C) -> QueryResult<R>
    where
        C: SweepConn,
        C::Raw: SaveAndLoad<M, Self, R>,
    {
        conn.raw().save_and_load(sweeper, self)
    }
}

impl<T> SaveChangesAndSweep for T where T: Copy + AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget {}

/// How a connection saves a record and loads it anew: by one statement where it can.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot save this record and load it anew",
    label = "use `sweeper.update_and_sweep(conn, &record, &record)`, and load the row",
    note = "`SqliteConnection`, `PgConnection` and `MysqlConnection` can; an enum of them cannot"
)]
pub trait SaveAndLoad<M, T, R>: SweepConn {
    fn save_and_load(&mut self, sweeper: &Sweeper, record: T) -> QueryResult<R>;
}

macro_rules! by_returning {
    ($connection:ty) => {
        impl<M, T, R> SaveAndLoad<M, T, R> for $connection
        where
            T: AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget + Copy,
            UpdateStatement<T::Table, T::WhereClause, T::Changeset>: AsQuery,
            <UpdateStatement<T::Table, T::WhereClause, T::Changeset> as AsQuery>::Query: LoadStatement<M, Self, R>,
        {
            fn save_and_load(&mut self, sweeper: &Sweeper, record: T) -> QueryResult<R> {
                let saved = diesel::update(record).set(record).as_query().load_swept(sweeper, self)?;
                saved.into_iter().next().ok_or(DieselError::NotFound)
            }
        }
    };
}

#[cfg(feature = "postgres")]
by_returning!(diesel::PgConnection);
#[cfg(feature = "sqlite")]
by_returning!(diesel::SqliteConnection);

#[cfg(feature = "mysql")]
impl<'q, M, T, R> SaveAndLoad<M, T, R> for diesel::MysqlConnection
where
    T: AsChangeset<Target = <T as HasTable>::Table> + IntoUpdateTarget + diesel::Identifiable + Copy,
    T::Table: SweepTable<M> + diesel::query_dsl::methods::FindDsl<T::Id>,
    UpdateStatement<<T as HasTable>::Table, T::WhereClause, T::Changeset>: AsQuery + ExecuteStatement<M, Self>,
    diesel::dsl::Find<T::Table, T::Id>:
        diesel::RunQueryDsl<Self> + diesel::query_dsl::methods::LimitDsl + diesel::query_dsl::methods::LoadQuery<'q, Self, R>,
{
    fn save_and_load(&mut self, sweeper: &Sweeper, record: T) -> QueryResult<R> {
        use diesel::RunQueryDsl as _;
        use diesel::query_dsl::methods::FindDsl as _;
        transaction(sweeper, self, |conn| {
            diesel::update(record).set(record).execute_swept(sweeper, conn)?;
            T::table().find(record.id()).get_result(conn)
        })
    }
}
