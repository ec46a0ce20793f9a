//! The commit of a transaction that has changed something: find, touch, mark, COMMIT, find again, release.

use cachesweeper_core::climb::own_touches;
use cachesweeper_core::face::Face;
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{Mark, Micros, Sweeper};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr, SqliteTransactionMode, TransactionOptions, TransactionTrait, Value, sqlx,
};

use crate::climb::{Climbed, Seed, climb, current};
use crate::describe::SeaEntity;
use crate::touch::{Adapter, touch};

/// The whole commit of an outermost transaction that has changed something.
pub(crate) async fn commit(
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
        // The saved rows' versions were made when they were saved, which is long before this COMMIT; a page goes by the version
        // being recent.
        climbed.touch_also(own_touches(&seeds, SeaEntity::parse_key));
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
    match sweeper.hold_while(&mut mark, txn.commit()).await {
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
            tokio::spawn(hold_on(sweeper, db, mark, climbed));
            Err(error)
        }
    }
}

/// Holds for as long as a write with an unknown outcome may still land; then invalidates, as if it had.
pub(crate) async fn hold_on(sweeper: Sweeper, db: DatabaseConnection, mut mark: Mark, climbed: Climbed) {
    let until = tokio::time::Instant::now() + sweeper.config().unknown_commit_limit;
    while tokio::time::Instant::now() < until {
        sweeper.renew(&mut mark).await;
        tokio::time::sleep(sweeper.config().hold / 2).await;
    }
    let adapter = Adapter::of(&sweeper);
    settle_with(&sweeper, &adapter, &db, climbed, mark).await;
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
    let mode = Some(SqliteTransactionMode::Immediate);
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
