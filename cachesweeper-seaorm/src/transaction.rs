//! Transactions whose end is seen: one sweep at commit, nothing on rollback, savepoints.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachesweeper_core::registry::Entity;
use cachesweeper_core::{ChangesPending, Mark, Micros, RecordKey, Sweeper};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    RuntimeErr, Statement, StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait, Value, sqlx,
};

use crate::climb::{Climbed, Seed, Touches, climb, current};
use crate::describe::SeaEntity;
use crate::touch::{Adapter, touch};
use crate::value::record_key;

/// A transaction of a [`SweepConnection`](crate::SweepConnection).
///
/// Saves inside it only collect what they change. Its commit finds the ancestors, marks all records, commits, and releases
/// them; its rollback (also by dropping it) forgets them. A nested one is a savepoint: its part is kept or forgotten with it.
pub struct SweepTransaction {
    txn: DatabaseTransaction,
    sweeper: Sweeper,
    /// For queries after the commit.
    db: DatabaseConnection,
    /// Shared with the savepoints inside, which add to it when they are released.
    changes: Arc<Mutex<Changes>>,
    /// The changes of the transaction around this savepoint.
    outer: Option<Arc<Mutex<Changes>>>,
}

/// What a transaction has changed so far.
#[derive(Debug, Default)]
struct Changes {
    seeds: Vec<Seed>,
    /// Rows whose save changes nothing.
    idle: HashSet<RecordKey>,
    /// Rows that are being updated, until their "after" hook tells where they are. `update_without_returning` has none.
    expected: Vec<(&'static Entity, Vec<Value>)>,
    /// When the first row was saved.
    since: Option<Micros>,
    pending: Vec<ChangesPending>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SweepTransaction {
    pub(crate) fn new(txn: DatabaseTransaction, sweeper: Sweeper, db: DatabaseConnection) -> Self {
        Self { txn, sweeper, db, changes: Arc::default(), outer: None }
    }

    /// The sweeper that its commit will tell.
    pub fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    /// Remembers changed rows until the end.
    pub(crate) fn collect(&self, seeds: impl IntoIterator<Item = Seed>) {
        let mut changes = lock(&self.changes);
        let before = changes.seeds.len();
        changes.seeds.extend(seeds);
        if changes.seeds.len() > before && changes.pending.is_empty() {
            changes.pending.push(self.sweeper.changes_pending());
            changes.since = Some(self.sweeper.now());
        }
    }

    /// A row is being updated; its foreign keys in hand may be old.
    pub(crate) fn expect_row(&self, entity: &'static Entity, key: Vec<Value>) {
        lock(&self.changes).expected.push((entity, key));
    }

    /// A row was saved, and this is where it is.
    pub(crate) fn saw_row(&self, seed: Seed) {
        let is_it = |(entity, key): &(&'static Entity, Vec<Value>)| {
            std::ptr::eq(*entity, seed.entity) && seed.key.as_ref() == Some(&record_key(entity.name(), key))
        };
        {
            let mut changes = lock(&self.changes);
            if let Some(position) = changes.expected.iter().position(is_it) {
                changes.expected.swap_remove(position);
            }
        }
        self.collect([seed]);
    }

    pub(crate) fn expect_nothing(&self, key: RecordKey) {
        lock(&self.changes).idle.insert(key);
    }

    pub(crate) fn was_nothing(&self, key: &RecordKey) -> bool {
        lock(&self.changes).idle.remove(key)
    }

    fn nested(&self, txn: DatabaseTransaction) -> Self {
        let mut nested = Self::new(txn, self.sweeper.clone(), self.db.clone());
        nested.outer = Some(self.changes.clone());
        nested
    }

    /// Commits, and invalidates everything that was changed. Once begun it runs to its end, also if the caller goes away.
    ///
    /// # Errors
    ///
    /// Those of the database; and under the policy `Abort`, if the store does not answer (the transaction is then rolled back).
    pub async fn commit(self) -> Result<(), DbErr> {
        let changes = std::mem::take(&mut *lock(&self.changes));
        let Self { txn, sweeper, db, outer, .. } = self;
        if let Some(outer) = outer {
            // A savepoint's release marks nothing: the outermost commit does.
            txn.commit().await?;
            let mut outer = lock(&outer);
            outer.seeds.extend(changes.seeds);
            outer.pending.extend(changes.pending);
            outer.expected.extend(changes.expected);
            outer.since = [outer.since, changes.since].into_iter().flatten().min();
            return Ok(());
        }
        if changes.seeds.is_empty() {
            return txn.commit().await;
        }
        // In a task of its own: a caller that goes away between COMMIT and release must not leave things half-done.
        let Changes { seeds, expected, since, pending, .. } = changes;
        let committing = tokio::spawn(commit(sweeper, db, txn, seeds, expected, since));
        let result = committing.await;
        drop(pending);
        result.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(DbErr::Custom("the runtime was shut down during COMMIT; its outcome is unknown".into())),
        })
    }

    /// Rolls back. Nothing is invalidated.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn rollback(self) -> Result<(), DbErr> {
        let Self { txn, .. } = self;
        txn.rollback().await
    }

    /// Runs `callback` in a savepoint; as [`SweepConnection::transaction_async`](crate::SweepConnection::transaction_async).
    ///
    /// # Errors
    ///
    /// Those of the callback, and of the database.
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> AsyncFnOnce(&'c Self) -> Result<T, E>,
        E: fmt::Display + fmt::Debug,
    {
        let txn = self.begin().await.map_err(TransactionError::Connection)?;
        run_async(txn, callback).await
    }
}

/// The whole commit of an outermost transaction that has changed something.
async fn commit(
    sweeper: Sweeper,
    db: DatabaseConnection,
    txn: DatabaseTransaction,
    mut seeds: Vec<Seed>,
    expected: Vec<(&'static Entity, Vec<Value>)>,
    since: Option<Micros>,
) -> Result<(), DbErr> {
    let adapter = Adapter::of(&sweeper);
    // If anything fails before COMMIT, the transaction is dropped, and with it rolled back.
    for (entity, key) in expected {
        seeds.extend(current(&txn, entity, &key, true).await?);
    }
    let mut climbed = climb(&sweeper, &txn, &seeds).await?;
    let quick = since.is_none_or(|since| sweeper.now() < since.plus(Micros::from(sweeper.config().hold / 2)));
    if !quick {
        climbed.touch_also(own_touches(&seeds));
    }
    touch(&sweeper, &adapter.ticks, &txn, &climbed.touches).await?;
    let mut mark = match sweeper.mark(&climbed.records).await {
        Ok(mark) => mark,
        Err(error) => {
            txn.rollback().await?;
            return Err(DbErr::Custom(error.to_string()));
        }
    };
    sweeper.count_sweep();
    match commit_under(&sweeper, &mut mark, txn.commit()).await {
        Ok(()) => {
            settle(&sweeper, &adapter, &db, &seeds, &climbed, mark).await;
            Ok(())
        }
        Err(error) if is_definite(&error) => {
            sweeper.release(&mark).await;
            Err(error)
        }
        Err(error) => {
            sweeper.count_unknown_commit();
            tracing::error!(%error, "the outcome of a COMMIT is unknown; what it may have changed is not cached for now");
            tokio::spawn(hold_on(sweeper, mark));
            Err(error)
        }
    }
}

/// The saved rows themselves, as rows to be touched: their versions were made when they were saved, which in a long
/// transaction is long before COMMIT; a page goes by the version being recent.
fn own_touches(seeds: &[Seed]) -> Touches {
    let mut touches = Touches::new();
    for seed in seeds {
        let Some(sea) = SeaEntity::of(seed.entity).filter(|sea| sea.strategy.is_some()) else { continue };
        let Some((record, key)) = seed.key.as_ref().and_then(|record| Some((record, sea.parse_key(record)?))) else { continue };
        let (_, rows) = touches.entry(sea.name()).or_insert_with(|| (sea, BTreeMap::new()));
        rows.insert(record.clone(), key);
    }
    touches
}

/// Renews the hold at half time while COMMIT runs.
async fn commit_under(sweeper: &Sweeper, mark: &mut Mark, commit: impl Future<Output = Result<(), DbErr>>) -> Result<(), DbErr> {
    let half = sweeper.config().hold / 2;
    let mut commit = std::pin::pin!(commit);
    loop {
        tokio::select! {
            result = &mut commit => return result,
            () = tokio::time::sleep(half) => sweeper.renew(mark).await,
        }
    }
}

/// Holds for as long as a COMMIT with an unknown outcome may still land; releases nothing.
pub(crate) async fn hold_on(sweeper: Sweeper, mut mark: Mark) {
    let until = tokio::time::Instant::now() + sweeper.config().unknown_commit_limit;
    while tokio::time::Instant::now() < until {
        sweeper.renew(&mut mark).await;
        tokio::time::sleep(sweeper.config().hold / 2).await;
    }
}

/// After a commit: finds the ancestors again, since one may have moved meanwhile; invalidates those that are new, and
/// releases the hold.
pub(crate) async fn settle(sweeper: &Sweeper, adapter: &Adapter, db: &DatabaseConnection, seeds: &[Seed], known: &Climbed, mark: Mark) {
    let mut beyond = Climbed::default();
    if known.queried {
        match climb(sweeper, db, seeds).await {
            Ok(again) => beyond = again.beyond(known),
            Err(error) => report(sweeper, seeds, &error),
        }
    }
    settle_with(sweeper, adapter, db, beyond, mark).await;
}

/// Touches and invalidates `beyond`, and releases the hold, in one batch.
pub(crate) async fn settle_with(sweeper: &Sweeper, adapter: &Adapter, db: &DatabaseConnection, beyond: Climbed, mark: Mark) {
    if !beyond.touches.is_empty()
        && let Err(error) = touch_alone(sweeper, adapter, db, &beyond).await
    {
        report(sweeper, &[], &error);
    }
    sweeper.release_and_invalidate(mark, &beyond.records).await;
}

/// Touches outside of the writer's transaction.
pub(crate) async fn touch_alone(sweeper: &Sweeper, adapter: &Adapter, db: &DatabaseConnection, climbed: &Climbed) -> Result<(), DbErr> {
    // SQLite reads before it writes, so it must be the writer from the start.
    let mode = Some(sea_orm::SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
    let txn = db.begin_with_options(options).await?;
    touch(sweeper, &adapter.ticks, &txn, &climbed.touches).await?;
    txn.commit().await
}

pub(crate) fn report(sweeper: &Sweeper, seeds: &[Seed], error: &DbErr) {
    let record = seeds.iter().find_map(|seed| seed.key.as_ref()).map_or_else(|| "a saved row".to_owned(), ToString::to_string);
    sweeper.report_incomplete(&cachesweeper_core::Error::Database { record, cause: error.to_string() });
}

/// Whether an error of COMMIT, or of a statement outside a transaction, means that nothing was written.
///
/// By SQLSTATE: class 23 is an integrity constraint, 40 a rollback (but 40003, "statement completion unknown"), 42 a statement
/// that was not understood, 22 bad data. SQLite: BUSY, LOCKED, FULL and CONSTRAINT. Anything else may have been written.
pub(crate) fn is_definite(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return matches!(error, DbErr::RecordNotInserted | DbErr::RecordNotUpdated | DbErr::ConnectionAcquire(_));
    };
    let sqlx::Error::Database(error) = &**error else { return false };
    let Some(code) = error.code() else { return false };
    if code.len() == 5 {
        return code != "40003" && ["22", "23", "40", "42"].contains(&&code[..2]);
    }
    // SQLite's extended result codes; the low byte is the primary one.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xFF, 5 | 6 | 13 | 19))
}

pub(crate) async fn run_async<F, T, E>(txn: SweepTransaction, callback: F) -> Result<T, TransactionError<E>>
where
    F: for<'c> AsyncFnOnce(&'c SweepTransaction) -> Result<T, E>,
    E: fmt::Display + fmt::Debug,
{
    match callback(&txn).await {
        Ok(value) => {
            txn.commit().await.map_err(TransactionError::Connection)?;
            Ok(value)
        }
        Err(error) => {
            txn.rollback().await.map_err(TransactionError::Connection)?;
            Err(TransactionError::Transaction(error))
        }
    }
}

pub(crate) async fn run<F, T, E>(txn: SweepTransaction, callback: F) -> Result<T, TransactionError<E>>
where
    F: for<'c> FnOnce(&'c SweepTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
    T: Send,
    E: fmt::Display + fmt::Debug + Send,
{
    match callback(&txn).await {
        Ok(value) => {
            txn.commit().await.map_err(TransactionError::Connection)?;
            Ok(value)
        }
        Err(error) => {
            txn.rollback().await.map_err(TransactionError::Connection)?;
            Err(TransactionError::Transaction(error))
        }
    }
}

impl fmt::Debug for SweepTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweepTransaction").field("changes", &lock(&self.changes).seeds.len()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for SweepTransaction {
    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.txn)
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.txn.execute_raw(stmt).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.txn.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.txn.query_one_raw(stmt).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.txn.query_all_raw(stmt).await
    }

    fn support_returning(&self) -> bool {
        self.txn.support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        self.txn.is_mock_connection()
    }
}

#[async_trait::async_trait]
impl TransactionTrait for SweepTransaction {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        Ok(self.nested(self.txn.begin().await?))
    }

    async fn begin_with_config(&self, isolation: Option<IsolationLevel>, access: Option<AccessMode>) -> Result<Self, DbErr> {
        Ok(self.nested(self.txn.begin_with_config(isolation, access).await?))
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        Ok(self.nested(self.txn.begin_with_options(options).await?))
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
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
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        run(self.begin_with_config(isolation, access).await.map_err(TransactionError::Connection)?, callback).await
    }
}

#[async_trait::async_trait]
impl TransactionSession for SweepTransaction {
    async fn commit(self) -> Result<(), DbErr> {
        self.commit().await
    }

    async fn rollback(self) -> Result<(), DbErr> {
        self.rollback().await
    }
}

impl StreamTrait for SweepTransaction {
    type Stream<'a> = <DatabaseTransaction as StreamTrait>::Stream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.txn)
    }

    fn stream_raw<'a>(&'a self, stmt: Statement) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        self.txn.stream_raw(stmt)
    }
}
