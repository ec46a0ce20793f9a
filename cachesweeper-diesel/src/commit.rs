//! The commit of a transaction that has changed something: find, touch, mark, COMMIT, find again, release.

use cachesweeper_core::climb::{Climbed, Row, Rows, Seed, climb, own_touches, rows_per_statement};
use cachesweeper_core::face::Face;
use cachesweeper_core::{Mark, Micros, RecordKey};
use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::db::Db;
use crate::describe::DieselEntity;
use crate::error::Error;
use crate::frames::Changes;
use crate::sql::Dialect;
use crate::touch::touch;

/// Finds ancestors by queries on a connection.
pub(crate) struct Ancestors<'d, D>(pub(crate) &'d mut D);

impl<D: Db> Rows for Ancestors<'_, D> {
    type Table = DieselEntity;
    type Error = DieselError;

    async fn find(&mut self, table: &'static DieselEntity, by: &[String], values: Vec<Vec<String>>) -> QueryResult<Vec<Row<String>>> {
        let dialect = self.0.dialect();
        let keys = table.keys();
        let by: Vec<_> = keys.iter().filter(|(name, _)| by.iter().any(|column| column == name)).copied().collect();
        let mut found = Vec::with_capacity(values.len());
        for chunk in values.chunks(rows_per_statement(by.len())) {
            let mut select = table.select_keys(dialect);
            select.push(" WHERE ");
            select.push_among(dialect, &by, chunk);
            let rows = self.0.rows(select.kept_prepared(chunk.len() == 1)).await?;
            found.extend(rows.iter().filter_map(|row| table.read(row)));
        }
        Ok(found)
    }
}

/// A hold that is kept up in the background if whoever has it goes away before its end.
struct Held<S: Face> {
    sweeper: S,
    mark: Option<Mark>,
}

impl<S: Face> Drop for Held<S> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.sweeper.count_unknown_commit();
            self.sweeper.hold_on(mark);
        }
    }
}

/// The whole commit of an outermost transaction.
pub(crate) async fn commit<S: Face, D: Db>(sweeper: &S, db: &mut D, changes: Changes) -> QueryResult<()> {
    if changes.is_empty() {
        return db.commit().await;
    }
    let (climbed, mark) = match prepare(sweeper, db, &changes).await {
        Ok(prepared) => prepared,
        Err(error) => {
            // The first error is the one to tell.
            let _ = db.rollback().await;
            return Err(error);
        }
    };
    sweeper.count_sweep();
    let dialect = db.dialect();
    let mut held = Held { sweeper: sweeper.clone(), mark: Some(mark) };
    let mut mark = held.mark.clone().unwrap_or_default();
    match sweeper.hold_while(&mut mark, db.commit()).await {
        Ok(()) => {
            let beyond = beyond(sweeper, db, &changes.seeds, &climbed).await;
            held.mark = Some(mark.clone());
            sweeper.release_and_invalidate(mark, &beyond).await;
            held.mark = None;
            Ok(())
        }
        Err(error) if is_definite(dialect, &error) => {
            sweeper.release(&mark).await;
            held.mark = None;
            Err(error)
        }
        Err(error) => {
            tracing::error!(%error, "the outcome of a COMMIT is unknown; what it may have changed is not cached for now");
            // Kept up in the background by its drop.
            held.mark = Some(mark);
            Err(error)
        }
    }
}

/// Everything before COMMIT.
async fn prepare<S: Face, D: Db>(sweeper: &S, db: &mut D, changes: &Changes) -> QueryResult<(Climbed<DieselEntity>, Mark)> {
    let mut climbed = climb(sweeper, Ancestors(db), &changes.seeds).await?;
    let quick = changes.since.is_none_or(|since| sweeper.now() < since.plus(Micros::from(sweeper.config().hold / 2)));
    let keys = |table: &DieselEntity, record: &RecordKey| table.parse_key(record);
    // Versions that were made long before COMMIT: a page goes by the version being recent.
    let stale: Vec<Seed<String>> = match quick {
        true => {
            changes.seeds.iter().filter(|seed| seed.key.as_ref().is_some_and(|key| changes.old_versions.contains(key))).cloned().collect()
        }
        false => changes.seeds.clone(),
    };
    climbed.touch_also(own_touches::<DieselEntity>(&stale, keys));
    touch(sweeper, db, &climbed.touches).await?;
    let mark = sweeper.mark(&climbed.records).await.map_err(Error::from)?;
    Ok((climbed, mark))
}

/// After a commit: finds the ancestors again, since one may have moved meanwhile, and touches those that are new.
async fn beyond<S: Face, D: Db>(sweeper: &S, db: &mut D, seeds: &[Seed<String>], known: &Climbed<DieselEntity>) -> Vec<RecordKey> {
    if !known.queried {
        return Vec::new();
    }
    let again = match climb(sweeper, Ancestors(db), seeds).await {
        Ok(again) => again.beyond(known),
        Err(error) => {
            report(sweeper, seeds, &error);
            return Vec::new();
        }
    };
    if !again.touches.is_empty()
        && let Err(error) = touch_alone(sweeper, db, &again).await
    {
        report(sweeper, seeds, &error);
    }
    again.records
}

/// Touches outside of the writer's transaction.
pub(crate) async fn touch_alone<S: Face, D: Db>(sweeper: &S, db: &mut D, climbed: &Climbed<DieselEntity>) -> QueryResult<()> {
    if climbed.touches.is_empty() {
        return Ok(());
    }
    db.begin().await?;
    match touch(sweeper, db, &climbed.touches).await {
        Ok(()) => db.commit().await,
        Err(error) => {
            let _ = db.rollback().await;
            Err(error)
        }
    }
}

/// In a transaction whose end cannot be seen: everything at once, with the long hold, and never released.
pub(crate) async fn mark_plain<S: Face, D: Db>(sweeper: &S, db: &mut D, changes: &Changes) -> QueryResult<()> {
    if changes.is_empty() {
        return Ok(());
    }
    if sweeper.count_plain_write() {
        let hold = sweeper.config().plain_hold;
        tracing::warn!(
            ?hold,
            "a row was written in a transaction whose end cannot be seen: its fragments are not cached for the whole hold, and the transaction \
             must end within it. Begin the transaction with `sweeper.transaction(conn, |conn| …)`; in tests, with `begin_test_transaction`"
        );
    }
    let mut climbed = climb(sweeper, Ancestors(db), &changes.seeds).await?;
    let keys = |table: &DieselEntity, record: &RecordKey| table.parse_key(record);
    let stale: Vec<Seed<String>> =
        changes.seeds.iter().filter(|seed| seed.key.as_ref().is_some_and(|key| changes.old_versions.contains(key))).cloned().collect();
    climbed.touch_also(own_touches::<DieselEntity>(&stale, keys));
    touch(sweeper, db, &climbed.touches).await?;
    sweeper.mark_plain(&climbed.records).await.map_err(Error::from)?;
    Ok(())
}

fn report<S: Face>(sweeper: &S, seeds: &[Seed<String>], error: &DieselError) {
    let record = seeds.iter().find_map(|seed| seed.key.as_ref()).map_or_else(|| "a written row".to_owned(), ToString::to_string);
    sweeper.report_incomplete(&cachesweeper_core::Error::Database { record, cause: error.to_string() });
}

/// Whether an error of COMMIT means that nothing was written. Anything else may have been.
///
/// After a failed COMMIT Diesel rolls back. If that works, the connection is alive, and PostgreSQL and SQLite have answered that
/// they did not commit (SQLite would have no transaction to roll back). MySQL's errors are judged by their kind.
pub(crate) fn is_definite(dialect: Dialect, error: &DieselError) -> bool {
    match error {
        DieselError::DatabaseError(kind, _) => match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation => true,
            DatabaseErrorKind::Unknown => dialect != Dialect::MySql,
            _ => false,
        },
        // Nothing was sent.
        DieselError::NotInTransaction => true,
        // The connection is gone, or worse.
        _ => false,
    }
}

/// The primary key's values of rows, for statements about them.
pub(crate) fn primary_keys(rows: &[Row<String>]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.key.clone()).collect()
}
