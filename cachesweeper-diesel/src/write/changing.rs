//! UPDATE and DELETE.
//!
//! Where the database returns what it changed, and no key changes, one statement does. Otherwise the rows are read first, with
//! the lock that the statement would take, and the statement is confined to them.

use std::fmt::Write as _;

use cachesweeper_core::Micros;
use cachesweeper_core::climb::{Row, rows_per_statement};
use cachesweeper_core::face::Face;
use diesel::QueryResult;

use super::{Done, Write};
use crate::anatomy::{Assignment, Delete, Update, placeholders};
use crate::commit::primary_keys;
use crate::db::Db;
use crate::frames::Changes;
use crate::runnable::{Ran, Runnable};
use crate::sql::{Dialect, Kind, Sql, TextRow, canonical};
use crate::touch::{latest, rising_expression, sqlite_stamp, tick};

/// Rows as they are before a statement changes them, locked.
#[derive(Default)]
struct First {
    rows: Vec<Row<String>>,
    /// The newest version among them, where it is needed.
    newest: Option<Micros>,
    /// On MySQL, the parents that the statement gives them.
    planned: Vec<Vec<(usize, Vec<String>)>>,
}

impl<S, D, R> Write<'_, S, D, R>
where
    S: Face,
    D: Db,
    R: Runnable<D>,
{
    pub(super) async fn update(&mut self, update: &Update<'_>) -> QueryResult<Done<R::Row>> {
        let set = |test: &dyn Fn(&str) -> bool| update.assignments.iter().any(|assignment| test(&assignment.column));
        let returning = update.returning.map(|returning| format!(" RETURNING {returning}")).unwrap_or_default();
        if !set(&|column| self.table.sweeps(column)) {
            let text =
                format!("{}{}{}{returning}", update.head, assignments(self.dialect, &update.assignments), condition(update.condition));
            let how = self.how(text, Sql::default(), update.returning.is_some());
            return Ok((self.run.run(self.db, &how).await?, Changes::default()));
        }
        let moves = set(&|column| self.table.is_key(column));
        let renames = set(&|column| self.table.primary_key().iter().any(|(name, _)| *name == column));
        if renames && !self.dialect.returns() {
            let statement = format!("{}…", update.head);
            return Err(self.untold(&statement, "MySQL does not tell which primary keys it gave: delete the row and insert it anew"));
        }
        let stamped_by_value = self.dialect == Dialect::Sqlite && self.table.strategy.is_some();
        let first = moves || stamped_by_value || !self.dialect.returns();
        let First { rows: before, newest, planned } = match first {
            true => self.read_first(update.condition, &update.assignments, update.returning).await?,
            false => First::default(),
        };
        if first && before.is_empty() {
            return Ok((Ran::default(), Changes::default()));
        }
        if moves && self.dialect == Dialect::MySql {
            let parents = before.iter().map(|row| row.parents.clone()).chain(planned).collect();
            self.lock_parents(parents).await?;
        }
        let assignments = self.stamped(&update.assignments, newest).await?;
        let head = format!("{}{assignments}", update.head);
        // SQLite has one writer, so the rows are the same still.
        let confined = first && self.dialect != Dialect::Sqlite;
        let (ran, after) = self.run_on(&head, update.condition, &returning, confined.then_some(before.as_slice())).await?;
        let after = match self.dialect.returns() {
            true => after,
            false if moves => self.rows_by_key(&primary_keys(&before)).await?,
            false => Vec::new(),
        };
        let seeds = self.seeds(before.into_iter().chain(after));
        Ok((ran, Self::changes(seeds, Vec::new())))
    }

    pub(super) async fn delete(&mut self, delete: &Delete<'_>) -> QueryResult<Done<R::Row>> {
        let returning = delete.returning.map(|returning| format!(" RETURNING {returning}")).unwrap_or_default();
        if self.dialect.returns() {
            let (ran, rows) = self.run_on(delete.head, delete.condition, &returning, None).await?;
            let seeds = self.seeds(rows);
            return Ok((ran, Self::changes(seeds, Vec::new())));
        }
        let before = self.read_first(delete.condition, &[], delete.returning).await?.rows;
        let (ran, _) = self.run_on(delete.head, delete.condition, &returning, Some(&before)).await?;
        let seeds = self.seeds(before);
        Ok((ran, Self::changes(seeds, Vec::new())))
    }

    /// Reads the rows that the statement will change, locked.
    async fn read_first(&mut self, condition: Option<&str>, assignments: &[Assignment<'_>], returning: Option<&str>) -> QueryResult<First> {
        let mut columns = self.table.key_expressions(self.dialect);
        let version = columns.len();
        if let Some(strategy) = self.table.strategy.filter(|_| self.dialect == Dialect::Sqlite) {
            columns.push(format!("CAST({} AS TEXT)", self.dialect.quote(strategy.name)));
        }
        let mut ignored = String::new();
        if self.dialect != Dialect::Postgres {
            // Its values come in the statement's order, so those of the SET clause are taken here: what keys will be, and whether
            // the others are there.
            columns.extend(assignments.iter().flat_map(|assignment| match self.key_kind(&assignment.column) {
                Some(kind) => vec![self.dialect.as_text(kind, assignment.expression)],
                None => vec!["(? IS NULL)".to_owned(); placeholders(self.dialect, assignment.expression)],
            }));
            ignored = " AND (? IS NULL OR TRUE)".repeat(returning.map_or(0, |returning| placeholders(self.dialect, returning)));
        }
        let condition = condition.unwrap_or("TRUE");
        let text = format!(
            "SELECT {} FROM {} WHERE ({condition}){ignored} ORDER BY {}{}",
            columns.join(", "),
            self.table.quoted(self.dialect),
            self.primary_key_names(),
            self.dialect.lock()
        );
        let rows = self.run.select(self.db, &text).await?;
        let newest = if self.table.strategy.is_some() { latest(&rows, version) } else { None };
        let planned = rows.iter().map(|row| self.planned(row, version, assignments)).collect();
        Ok(First { rows: self.read(&rows), newest, planned })
    }

    fn key_kind(&self, column: &str) -> Option<Kind> {
        self.table.keys().iter().find(|(name, _)| *name == column).map(|(_, kind)| *kind)
    }

    /// The parents that a row will have, from what [`read_first`](Self::read_first) selected after its keys.
    fn planned(&self, TextRow(row): &TextRow, mut at: usize, assignments: &[Assignment<'_>]) -> Vec<(usize, Vec<String>)> {
        let mut values = Vec::new();
        for assignment in assignments {
            let Some(kind) = self.key_kind(&assignment.column) else {
                at += placeholders(self.dialect, assignment.expression);
                continue;
            };
            let value = row.get(at).cloned().flatten().map(|value| canonical(kind, value));
            values.push((assignment.column.as_str(), value));
            at += 1;
        }
        self.table.parents_of(|column| values.iter().find(|(name, _)| *name == column)?.1.clone())
    }

    /// The SET clause, with the version raised.
    async fn stamped(&mut self, given: &[Assignment<'_>], newest: Option<Micros>) -> QueryResult<String> {
        let Some(strategy) = self.table.strategy else { return Ok(assignments(self.dialect, given)) };
        let column = self.dialect.quote(strategy.name);
        let qualified = format!("{}.{column}", self.table.quoted(self.dialect));
        let wanted = given.iter().find(|assignment| assignment.column == strategy.name).map(|assignment| assignment.expression);
        let stamp = match self.dialect {
            Dialect::Sqlite => {
                let least = sqlite_stamp(self.sweeper, self.table, strategy, newest)?;
                // Not before now, whatever the caller says: a version tells when the row was last written.
                wanted.map_or(least.clone(), |wanted| format!("max(coalesce({wanted}, {least}), {least})"))
            }
            _ => {
                let tick = tick(self.sweeper, self.db, self.table).await?;
                rising_expression(self.dialect, &qualified, strategy.zoned, tick, wanted)
            }
        };
        let others: Vec<String> = given
            .iter()
            .map(|assignment| match assignment.column == strategy.name {
                true => format!("{column} = {stamp}"),
                false => format!("{} = {}", self.dialect.quote(&assignment.column), assignment.expression),
            })
            .collect();
        let more = if wanted.is_none() { format!(", {column} = {stamp}") } else { String::new() };
        Ok(format!("{}{more}", others.join(", ")))
    }

    /// Runs the statement; on these rows alone, if they are given.
    async fn run_on(
        &mut self,
        head: &str,
        given: Option<&str>,
        returning: &str,
        rows: Option<&[Row<String>]>,
    ) -> QueryResult<(Ran<R::Row>, Vec<Row<String>>)> {
        let Some(rows) = rows else {
            let how = self.how(format!("{head}{}{returning}", condition(given)), Sql::default(), !returning.is_empty());
            let ran = self.run.run(self.db, &how).await?;
            let changed = self.read(&ran.keys);
            return Ok((ran, changed));
        };
        let (mut all, mut changed) = (Ran::default(), Vec::new());
        // One statement is done or not done; so are several.
        let size = rows_per_statement(self.table.primary_key().len());
        let several = rows.len() > size;
        if several {
            self.db.begin().await?;
        }
        for chunk in rows.chunks(size) {
            let mut confine = Sql::default();
            confine.push_among(self.dialect, &self.table.primary_key(), &primary_keys(chunk));
            let mut text = head.to_owned();
            // Writing to a string cannot fail.
            let _ = write!(text, " WHERE ({}) AND ", given.unwrap_or("TRUE"));
            let bound: usize = [head, given.unwrap_or_default(), returning].into_iter().map(|sql| placeholders(self.dialect, sql)).sum();
            text.push_str(&confine.text_after(self.dialect, bound));
            text.push_str(returning);
            let how = self.how(text, confine, !returning.is_empty());
            match self.run.run(self.db, &how).await {
                Ok(ran) => {
                    changed.extend(self.read(&ran.keys));
                    all.affected += ran.affected;
                    all.rows.extend(ran.rows);
                }
                Err(error) => {
                    if several {
                        let _ = self.db.rollback().await;
                    }
                    return Err(error);
                }
            }
        }
        if several {
            self.db.commit().await?;
        }
        Ok((all, changed))
    }
}

fn assignments(dialect: Dialect, given: &[Assignment<'_>]) -> String {
    let given = given.iter().map(|assignment| format!("{} = {}", dialect.quote(&assignment.column), assignment.expression));
    given.collect::<Vec<_>>().join(", ")
}

fn condition(condition: Option<&str>) -> String {
    condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
}
