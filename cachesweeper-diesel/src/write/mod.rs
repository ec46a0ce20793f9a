//! One write: runs the statement so that it tells which rows it changes, and sweeps them.

mod changing;
mod inserting;

use cachesweeper_core::climb::{Row, Seed, rows_per_statement};
use cachesweeper_core::face::Face;
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{Policy, RecordKey};
use diesel::QueryResult;

use crate::anatomy::Anatomy;
use crate::commit::{commit, mark_plain};
use crate::connection::Open;
use crate::db::Db;
use crate::describe::{DieselEntity, seed};
use crate::error::Error;
use crate::frames::{Changes, Owner, collect, owner};
use crate::rewrite::SWEPT;
use crate::runnable::{How, Ran, Runnable};
use crate::sql::{Dialect, Sql, TextRow};

/// A statement under way.
struct Write<'w, S, D, R> {
    sweeper: &'w S,
    db: &'w mut D,
    entity: &'static Entity,
    table: &'static DieselEntity,
    dialect: Dialect,
    run: R,
}

/// What a statement returned, and what it changed.
type Done<T> = (Ran<T>, Changes);

/// Runs a statement and sweeps what it changed: in a transaction of its own, or as part of the one that is open.
pub(crate) async fn write<S, D, R>(sweeper: &S, db: &mut D, entity: &'static Entity, run: R) -> QueryResult<Ran<R::Row>>
where
    S: Face,
    D: Db,
    R: Runnable<D>,
{
    let Some(table) = entity.adapter::<DieselEntity>() else {
        return Err(Error::NotRegistered { table: entity.name().to_owned() }.into());
    };
    let (identity, open, dialect) = (db.identity(), db.open()?, db.dialect());
    let owner = owner(sweeper, identity);
    if owner == Owner::Other {
        return Err(Error::OtherSweeper { what: format!("the write to `{}`", entity.name()) }.into());
    }
    if open == Open::Nothing || (open == Open::Test && owner == Owner::Nobody) {
        db.begin().await?;
        let done = Write { sweeper, db: &mut *db, entity, table, dialect, run }.perform().await;
        return match done {
            Ok((ran, mut changes)) => {
                changes.since = Some(sweeper.now());
                commit(sweeper, db, changes).await?;
                Ok(ran)
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = db.rollback().await;
                Err(error)
            }
        };
    }
    if owner == Owner::Ours {
        let (ran, changes) = Write { sweeper, db, entity, table, dialect, run }.perform().await?;
        collect(sweeper, identity, changes);
        return Ok(ran);
    }
    // A write that is refused must be undone, whatever becomes of the transaction around it.
    let undoable = sweeper.config().policy == Policy::Abort;
    if undoable {
        db.begin().await?;
    }
    let done = async {
        let (ran, changes) = Write { sweeper, db: &mut *db, entity, table, dialect, run }.perform().await?;
        mark_plain(sweeper, db, &changes).await?;
        Ok(ran)
    };
    let done = done.await;
    if undoable {
        savepoint_ended(db, done.is_ok()).await?;
    }
    done
}

/// Keeps or undoes what was done since the last `begin`. After a failure only the failure is told.
async fn savepoint_ended<D: Db>(db: &mut D, keep: bool) -> QueryResult<()> {
    if keep {
        return db.commit().await;
    }
    let _ = db.rollback().await;
    Ok(())
}

impl<S, D, R> Write<'_, S, D, R>
where
    S: Face,
    D: Db,
    R: Runnable<D>,
{
    async fn perform(mut self) -> QueryResult<Done<R::Row>> {
        let text = self.run.text(self.db)?;
        match Anatomy::of(self.dialect, &text) {
            Some(Anatomy::Update(update)) => self.update(&update).await,
            Some(Anatomy::Delete(delete)) => self.delete(&delete).await,
            Some(Anatomy::Insert(insert)) => self.insert(&insert).await,
            // No row to insert: Diesel makes a query that finds nothing.
            None if text.starts_with("SELECT 1 FROM ") => Ok((Ran::default(), Changes::default())),
            None => Err(self.untold(&text, "Write each row by its own, or invalidate by hand")),
        }
    }

    fn untold(&self, statement: &str, advice: &'static str) -> diesel::result::Error {
        Error::Untold { statement: statement.to_owned(), advice }.into()
    }

    /// How to run `text`, which may end with RETURNING, so that it returns keys too.
    fn how(&self, mut text: String, extra: Sql, returning: bool) -> How {
        let keys = self.dialect.returns().then(|| self.keys_as_json(&[]));
        if let Some(keys) = &keys {
            text.push_str(if returning { ", " } else { " RETURNING " });
            text.push_str(keys);
        }
        text.push_str(SWEPT);
        How { text, extra, keys }
    }

    /// One column with a row's keys, and further text expressions.
    fn keys_as_json(&self, more: &[String]) -> String {
        let mut columns = self.table.key_expressions(self.dialect);
        columns.extend_from_slice(more);
        let columns = columns.join(", ");
        match self.dialect {
            Dialect::Postgres => format!("CAST(json_build_array({columns}) AS TEXT)"),
            Dialect::Sqlite | Dialect::MySql => format!("json_array({columns})"),
        }
    }

    fn read(&self, rows: &[TextRow]) -> Vec<Row<String>> {
        rows.iter().filter_map(|row| self.table.read(row)).collect()
    }

    fn seeds(&self, rows: impl IntoIterator<Item = Row<String>>) -> Vec<Seed<String>> {
        rows.into_iter().map(|row| seed(self.entity, row)).collect()
    }

    /// The rows with these primary keys, as they are now.
    async fn rows_by_key(&mut self, keys: &[Vec<String>]) -> QueryResult<Vec<Row<String>>> {
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(rows_per_statement(self.table.primary_key().len())) {
            let mut select = self.table.select_keys(self.dialect);
            select.push(" WHERE ");
            select.push_among(self.dialect, &self.table.primary_key(), chunk);
            let rows = self.db.rows(select.kept_prepared(chunk.len() == 1)).await?;
            found.extend(self.read(&rows));
        }
        Ok(found)
    }

    fn changes(seeds: Vec<Seed<String>>, old_versions: Vec<RecordKey>) -> Changes {
        Changes::of_write(seeds, old_versions)
    }

    /// The names of the primary key, in quotes.
    fn primary_key_names(&self) -> String {
        let names: Vec<String> = self.table.primary_key().iter().map(|(name, _)| self.dialect.quote(name)).collect();
        names.join(", ")
    }
}
