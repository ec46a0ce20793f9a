//! The connection that sees what hooks cannot: the end of transactions, statements that fail, rows that move.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cachesweeper_core::climb::own_touches;
use cachesweeper_core::face::Face;
use cachesweeper_core::store::BoxFuture;
use cachesweeper_core::{Micros, RecordKey, Resolver, Sweeper, WeakSweeper};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement, StreamTrait,
    TransactionError, TransactionOptions, TransactionTrait,
};

use crate::climb::{Climbed, Seed, climb, current, lock_parents};
use crate::commit::{hold_on, is_definite, report, touch_alone};
use crate::describe::SeaEntity;
use crate::hooks::end_save;
use crate::in_flight::Found;
use crate::touch::{Adapter, current_stamp, rising, stamp_value, touch};
use crate::transaction::{SweepTransaction, run, run_async};

/// SeaORM's connection, with a sweeper.
///
/// Use it in place of the `DatabaseConnection`: every save, in and outside of transactions, then invalidates what it changed,
/// at the moment it commits. Cheap to clone.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cachesweeper_seaorm::{SweepConnection, Sweeper};
/// use sea_orm::Database;
///
/// let sweeper = Sweeper::builder().memory(64 << 20).build()?;
/// let db = SweepConnection::new(Database::connect("sqlite::memory:").await?, sweeper.clone());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SweepConnection {
    db: DatabaseConnection,
    sweeper: Sweeper,
    adapter: Arc<Adapter>,
}

impl SweepConnection {
    /// Gives the connection a sweeper. The sweeper learns how to find ancestors, for [`Sweeper::invalidate`].
    pub fn new(db: DatabaseConnection, sweeper: Sweeper) -> Self {
        sweeper.set_resolver(Arc::new(DatabaseResolver { db: db.clone(), sweeper: sweeper.downgrade() }));
        Self { adapter: Adapter::of(&sweeper), db, sweeper }
    }

    /// The sweeper.
    pub fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    /// SeaORM's connection. What is written through it is seen by the hooks of single saves only.
    pub fn inner(&self) -> &DatabaseConnection {
        &self.db
    }

    fn wrap(&self, txn: sea_orm::DatabaseTransaction) -> SweepTransaction {
        SweepTransaction::new(txn, self.sweeper.clone(), self.db.clone())
    }

    /// Runs an async closure in a transaction: committed if it returns `Ok`, rolled back if not.
    ///
    /// ```
    /// # use cachesweeper_seaorm::SweepConnection;
    /// # use sea_orm::{DbErr, TransactionError};
    /// # async fn example(db: &SweepConnection) -> Result<(), TransactionError<DbErr>> {
    /// db.transaction_async(async |txn| {
    ///     // article.update(txn).await?; comment.insert(txn).await?;
    ///     Ok(())
    /// }).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the callback, and of the database.
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> AsyncFnOnce(&'c SweepTransaction) -> Result<T, E>,
        E: fmt::Display + fmt::Debug,
    {
        run_async(self.begin().await.map_err(TransactionError::Connection)?, callback).await
    }

    /// The save in flight that a statement belongs to, if any.
    fn save_of(&self, stmt: &Statement) -> Option<Found> {
        if self.adapter.in_flight.is_empty() {
            return None;
        }
        let values = stmt.values.as_ref().map_or(&[][..], |values| values.0.as_slice());
        self.adapter.in_flight.save_of(&stmt.sql, values)
    }

    /// `update_without_returning` has no "after" hook, so its end is seen here: an UPDATE that asks for no row. MySQL's
    /// `update` looks the same; there the hold is left to its hook, or to its deadline, and only the touches are done.
    async fn updated(&self, save: &Found) {
        let mut seeds = save.seeds.clone();
        let row = seeds.first().and_then(|seed| Some((seed.entity, seed.entity.adapter::<SeaEntity>()?.parse_key(seed.key.as_ref()?)?)));
        if let Some((entity, key)) = row {
            // Where the row is now; the copy in hand may be old.
            match current(&self.db, entity, &key, false).await {
                Ok(now) => seeds.extend(now),
                Err(error) => report(&self.sweeper, &seeds, &error),
            }
        }
        if self.db.support_returning() {
            let ended = self.adapter.in_flight.end_one(&save.key, save.id);
            let ending = tokio::spawn(end_save(self.sweeper.clone(), self.db.clone(), seeds, ended));
            // It cannot be cancelled, and a panic is reported by the runtime.
            let _ = ending.await;
            return;
        }
        let mut climbed = Climbed { touches: save.touches.clone(), ..Climbed::default() };
        match climb(&self.sweeper, &self.db, &seeds).await {
            Ok(again) => climbed.touch_also(again.touches),
            Err(error) => report(&self.sweeper, &seeds, &error),
        }
        if climbed.touches.is_empty() {
            return;
        }
        match touch_alone(&self.sweeper, &self.adapter, &self.db, &climbed).await {
            Ok(()) => self.adapter.in_flight.was_touched(save, climbed.touches),
            Err(error) => report(&self.sweeper, &seeds, &error),
        }
    }

    /// A statement that definitely failed has written nothing: its hold ends now. If that is not certain, it may still land.
    async fn failed(&self, save: &Found, definite: bool) {
        if definite {
            for save in self.adapter.in_flight.end_one(&save.key, save.id).last {
                self.sweeper.release(&save.mark).await;
            }
        } else if let Some(save) = self.adapter.in_flight.take(&save.key, save.id) {
            self.sweeper.count_unknown_commit();
            tokio::spawn(hold_on(self.sweeper.clone(), self.db.clone(), save.mark, save.climbed));
        }
    }

    /// Gives the locked row a version that is its own: another save may have made the one that the statement has.
    async fn restamp(&self, save: &Found, txn: &sea_orm::DatabaseTransaction, stmt: &mut Statement) -> Result<(), DbErr> {
        let (Some(stamp), Some(seed), Some(row)) = (&save.stamp, save.seeds.first(), &save.row) else { return Ok(()) };
        let Some(sea) = seed.entity.adapter::<SeaEntity>() else { return Ok(()) };
        let Some(strategy) = &sea.strategy else { return Ok(()) };
        let old = current_stamp(txn, seed.entity, row, true).await?;
        let tick = self.adapter.ticks.of(&self.sweeper, txn, sea).await?;
        let at = rising(stamp.at, old, tick);
        if at == stamp.at {
            return Ok(());
        }
        let values = stmt.values.as_mut().map_or(&mut [][..], |values| values.0.as_mut_slice());
        let mut places = values.iter_mut().filter(|value| **value == stamp.value);
        match (places.next(), places.next()) {
            (Some(place), None) => *place = stamp_value(sea, strategy, at)?,
            _ => {
                let row = seed.key.as_ref().map_or_else(|| sea.name(), ToString::to_string);
                return Err(DbErr::Custom(format!(
                    "{row} was saved by another at the same moment, and {} keeps too little of a second to tell the two apart: save it again, \
                     or give the column microseconds",
                    strategy.name
                )));
            }
        }
        Ok(())
    }

    /// Runs a save's statement in a transaction that locks the row first, so that its parents are known for certain, and touches
    /// them before COMMIT. An error comes with whether it is certain that nothing was written.
    async fn in_transaction<T, F>(&self, save: &Found, mut stmt: Statement, run: F) -> Result<T, (DbErr, bool)>
    where
        F: AsyncFnOnce(&sea_orm::DatabaseTransaction, Statement) -> Result<T, DbErr>,
    {
        let mode = Some(sea_orm::SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        let before = |error: DbErr| (error, true);
        let txn = self.db.begin_with_options(options).await.map_err(before)?;
        lock_parents(&self.sweeper, &txn, &save.seeds).await.map_err(before)?;
        let mut climbed = match (save.seeds.first(), &save.row) {
            (Some(seed), Some(row)) => {
                let now: Vec<Seed> = current(&txn, seed.entity, row, true).await.map_err(before)?.into_iter().collect();
                climb(&self.sweeper, &txn, &now).await.map_err(before)?
            }
            // An insert has the parents that it says.
            _ => Climbed { records: save.marked.clone(), ..Climbed::default() },
        };
        self.restamp(save, &txn, &mut stmt).await.map_err(before)?;
        let result = run(&txn, stmt).await.map_err(before)?;
        climbed.touch_also(save.touches.clone());
        touch(&self.sweeper, &self.adapter.ticks, &txn, &climbed.touches).await.map_err(before)?;
        // What holds for long enough need not be marked again.
        if save.until >= self.sweeper.now().plus(Micros::from(self.sweeper.config().hold / 2)) {
            climbed.records.retain(|record| !save.marked.contains(record));
        }
        let mark = self.sweeper.mark(&climbed.records).await.map_err(|error| (DbErr::Custom(error.to_string()), true))?;
        self.adapter.in_flight.extend(save, mark, climbed.records);
        txn.commit().await.map_err(|error| {
            let definite = is_definite(&error);
            (error, definite)
        })?;
        self.adapter.in_flight.was_touched(save, climbed.touches);
        Ok(result)
    }
}

impl fmt::Debug for SweepConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweepConnection").field("db", &self.db).finish_non_exhaustive()
    }
}

macro_rules! watched {
    ($self:ident, $stmt:ident, $method:ident) => {{
        let Some(save) = $self.save_of(&$stmt) else { return $self.db.$method($stmt).await };
        let result = match save.needs_transaction {
            true => $self.in_transaction(&save, $stmt, async |txn: &sea_orm::DatabaseTransaction, stmt| txn.$method(stmt).await).await,
            false => $self.db.$method($stmt).await.map_err(|error| {
                let definite = is_definite(&error);
                (error, definite)
            }),
        };
        if let Err((_, definite)) = &result {
            $self.failed(&save, *definite).await;
        }
        (result.map_err(|(error, _)| error), save)
    }};
}

#[async_trait::async_trait]
impl ConnectionTrait for SweepConnection {
    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.db)
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        let (result, save) = watched!(self, stmt, execute_raw);
        if result.is_ok() && save.is_update {
            self.updated(&save).await;
        }
        result
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        watched!(self, stmt, query_one_raw).0
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        watched!(self, stmt, query_all_raw).0
    }

    fn support_returning(&self) -> bool {
        self.db.support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        self.db.is_mock_connection()
    }
}

#[async_trait::async_trait]
impl TransactionTrait for SweepConnection {
    type Transaction = SweepTransaction;

    async fn begin(&self) -> Result<SweepTransaction, DbErr> {
        Ok(self.wrap(self.db.begin().await?))
    }

    async fn begin_with_config(&self, isolation: Option<IsolationLevel>, access: Option<AccessMode>) -> Result<SweepTransaction, DbErr> {
        Ok(self.wrap(self.db.begin_with_config(isolation, access).await?))
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<SweepTransaction, DbErr> {
        Ok(self.wrap(self.db.begin_with_options(options).await?))
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c SweepTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        run(self.begin().await.map_err(TransactionError::Connection)?, callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c SweepTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        run(self.begin_with_config(isolation, access).await.map_err(TransactionError::Connection)?, callback).await
    }
}

impl StreamTrait for SweepConnection {
    type Stream<'a> = <DatabaseConnection as StreamTrait>::Stream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.db)
    }

    fn stream_raw<'a>(&'a self, stmt: Statement) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        self.db.stream_raw(stmt)
    }
}

/// Finds ancestors for [`Sweeper::invalidate`].
struct DatabaseResolver {
    db: DatabaseConnection,
    sweeper: WeakSweeper,
}

impl fmt::Debug for DatabaseResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseResolver")
    }
}

impl Resolver for DatabaseResolver {
    fn sweep(&self, records: Vec<RecordKey>) -> BoxFuture<'_, Result<Vec<RecordKey>, cachesweeper_core::Error>> {
        Box::pin(async move {
            let Some(sweeper) = self.sweeper.upgrade() else { return Ok(records) };
            let failed = |error: DbErr| cachesweeper_core::Error::Database {
                record: records.first().map(ToString::to_string).unwrap_or_default(),
                cause: error.to_string(),
            };
            let mut seeds = Vec::with_capacity(records.len());
            for record in &records {
                seeds.extend(read_row(&sweeper, &self.db, record).await.map_err(failed)?);
            }
            let mut climbed = climb(&sweeper, &self.db, &seeds).await.map_err(failed)?;
            climbed.touch_also(own_touches(&seeds, SeaEntity::parse_key));
            if !climbed.touches.is_empty() {
                touch_alone(&sweeper, &Adapter::of(&sweeper), &self.db, &climbed).await.map_err(failed)?;
            }
            let mut swept = records.clone();
            swept.extend(climbed.records.into_iter().filter(|record| !records.contains(record)));
            Ok(swept)
        })
    }
}

/// The row of a record that is known by its key. `None` for other ORMs' entities, collections and rows that are gone.
async fn read_row(sweeper: &Sweeper, db: &DatabaseConnection, record: &RecordKey) -> Result<Option<Seed>, DbErr> {
    let Some(node) = sweeper.graph().node(record).filter(|_| record.is_row()) else { return Ok(None) };
    let Some(entity) = node.entity_of::<SeaEntity>() else { return Ok(None) };
    let Some(key) = entity.adapter::<SeaEntity>().and_then(|sea| sea.parse_key(record)) else { return Ok(None) };
    let Some(seed) = current(db, entity, &key, false).await? else { return Ok(None) };
    Ok(Some(Seed { key: Some(record.clone()), ..seed }))
}
