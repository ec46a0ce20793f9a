//! Transactions whose end is seen: one sweep at commit, nothing on rollback, savepoints.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachesweeper_core::face::Face;
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{ChangesPending, Micros, RecordKey, Sweeper};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait, Value,
};

use crate::climb::Seed;
use crate::commit::commit;
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
        // A transaction may go on in another task than it began in.
        if changes.seeds.len() > before && !changes.pending.iter().any(ChangesPending::is_here) {
            changes.pending.push(self.sweeper.changes_pending());
        }
        if changes.seeds.len() > before && changes.since.is_none() {
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
