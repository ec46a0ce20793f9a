//! INSERT, and upserts.
//!
//! PostgreSQL and SQLite return the new rows. An upsert that may move rows needs their old parents as well: PostgreSQL is asked
//! for the rows that are there, with a lock; on SQLite a trigger of this connection alone tells them. MySQL tells the first
//! key that it made, and the others follow it.

use std::collections::HashSet;
use std::time::Duration;

use cachesweeper_core::climb::{Level, Row, Seed, rows_per_statement, timestamped_parents};
use cachesweeper_core::face::Face;
use cachesweeper_core::{Micros, RecordKey};
use diesel::QueryResult;

use super::{Done, Write};
use crate::anatomy::{Conflict, Insert};
use crate::db::Db;
use crate::describe::{DieselEntity, seed};
use crate::error::Error;
use crate::rewrite::{SWEPT, read_keys};
use crate::runnable::Runnable;
use crate::sql::{Dialect, Kind, Sql, TextRow, canonical};
use crate::touch::{rising_expression, tick};
use crate::value::SqliteTime;

impl<S, D, R> Write<'_, S, D, R>
where
    S: Face,
    D: Db,
    R: Runnable<D>,
{
    pub(super) async fn insert(&mut self, insert: &Insert<'_>) -> QueryResult<Done<R::Row>> {
        let updates = insert.conflict.as_ref().filter(|conflict| !conflict.assignments.is_empty());
        let moves = updates.filter(|conflict| conflict.assignments.iter().any(|assignment| self.table.is_key(&assignment.column)));
        match (self.dialect, moves) {
            (Dialect::MySql, _) => self.insert_and_ask(insert).await,
            (Dialect::Postgres, Some(conflict)) => self.upsert_and_move(insert, conflict).await,
            (Dialect::Sqlite, Some(_)) => {
                self.watch("BEFORE UPDATE", "OLD").await?;
                let inserted = self.insert_and_return(insert, updates, None).await;
                let before = self.watched().await;
                let (ran, mut changes) = inserted?;
                let before = self.read(&before?);
                changes.seeds.extend(self.seeds(before));
                Ok((ran, changes))
            }
            // Diesel sends several rows one by one, and takes one that returns nothing for a failure.
            (Dialect::Sqlite, None) if insert.body.starts_with("INSERT OR IGNORE") && !R::RETURNS => {
                self.watch("AFTER INSERT", "NEW").await?;
                let how = crate::runnable::How { text: format!("{}{SWEPT}", insert.body), ..Default::default() };
                let inserted = self.run.run(self.db, &how).await;
                let made = self.watched().await;
                let (ran, made) = (inserted?, made?);
                let (mut seeds, mut old_versions) = (Vec::new(), Vec::new());
                for returned in &made {
                    let Some(row) = self.table.read(returned) else { continue };
                    if self.table.strategy.is_some() && self.is_old(returned) {
                        old_versions.push(row.record.clone());
                    }
                    seeds.push(seed(self.entity, row));
                }
                Ok((ran, Self::changes(seeds, old_versions)))
            }
            (_, None) => self.insert_and_return(insert, updates, None).await,
        }
    }

    /// An upsert that may move rows: those that are in its way are locked first. If others come in between, once more.
    async fn upsert_and_move(&mut self, insert: &Insert<'_>, updates: &Conflict<'_>) -> QueryResult<Done<R::Row>> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            // What an interrupted try has written must be undone, also in a transaction that goes on.
            self.db.begin().await?;
            let done = match self.rows_in_the_way(insert, updates).await {
                Ok(there) => self.insert_and_return(insert, Some(updates), Some(there)).await,
                Err(error) => Err(error),
            };
            super::savepoint_ended(self.db, done.is_ok()).await?;
            match done {
                Err(error) if is_interrupted(&error) => {}
                done => return done,
            }
        }
        Err(Error::Interrupted { table: self.table.name.clone() }.into())
    }

    async fn insert_and_return(
        &mut self,
        insert: &Insert<'_>,
        updates: Option<&Conflict<'_>>,
        there: Option<Vec<Row<String>>>,
    ) -> QueryResult<Done<R::Row>> {
        let mut more = Vec::new();
        if let Some(old) = self.old_version() {
            more.push(old);
        }
        if there.is_some() {
            // Of a row that was there, unlike of a new one, the transaction holds a lock.
            more.push("CASE WHEN xmax = 0 THEN NULL ELSE 'there' END".to_owned());
        }
        let keys = self.keys_as_json(&more);
        let body = match updates {
            Some(updates) if self.dialect == Dialect::Postgres => self.stamped_upsert(insert, updates).await?,
            _ => insert.body.to_owned(),
        };
        let returning = insert.returning.map(|returning| format!("{returning}, ")).unwrap_or_default();
        let text = format!("{body} RETURNING {returning}{keys}{SWEPT}");
        let how = crate::runnable::How { text, extra: Sql::default(), keys: Some(keys) };
        let ran = self.run.run(self.db, &how).await?;

        let known: HashSet<RecordKey> = there.iter().flatten().map(|row| row.record.clone()).collect();
        // On SQLite the version of a row that an upsert has changed is raised at the commit.
        let raise = updates.is_some() && self.dialect == Dialect::Sqlite;
        let (mut seeds, mut old_versions) = (self.seeds(there.iter().flatten().cloned()), Vec::new());
        for returned in &ran.keys {
            let Some(row) = self.table.read(returned) else { continue };
            if there.is_some() && returned.0.last().is_some_and(Option::is_some) && !known.contains(&row.record) {
                return Err(Error::Interrupted { table: self.table.name.clone() }.into());
            }
            if self.table.strategy.is_some() && (raise || self.is_old(returned)) {
                old_versions.push(row.record.clone());
            }
            seeds.push(seed(self.entity, row));
        }
        Ok((ran, Self::changes(seeds, old_versions)))
    }

    /// How far a new row's version may lie back: a page takes a version for settled when it is a hold old, and a commit may
    /// take half of one.
    fn leeway(&self) -> Duration {
        self.sweeper.config().hold / 4
    }

    /// An expression that tells whether a new row's version lies too far back; on SQLite, the version itself.
    fn old_version(&self) -> Option<String> {
        let strategy = self.table.strategy?;
        let (column, leeway) = (self.dialect.quote(strategy.name), self.leeway().as_micros());
        Some(match self.dialect {
            Dialect::Sqlite => format!("CAST({column} AS TEXT)"),
            Dialect::MySql => {
                format!("CASE WHEN {column} >= UTC_TIMESTAMP(6) - INTERVAL {leeway} MICROSECOND THEN NULL ELSE 'old' END")
            }
            Dialect::Postgres => {
                let clock = if strategy.zoned { "clock_timestamp()" } else { "(clock_timestamp() AT TIME ZONE 'UTC')" };
                format!("CASE WHEN {column} >= {clock} - INTERVAL '{leeway} microseconds' THEN NULL ELSE 'old' END")
            }
        })
    }

    fn is_old(&self, TextRow(row): &TextRow) -> bool {
        let told = row.get(self.table.keys().len()).and_then(Option::as_deref);
        match self.dialect {
            Dialect::Sqlite => {
                let least = self.sweeper.now().minus(Micros::from(self.leeway()));
                told.and_then(SqliteTime::read).is_none_or(|version| version < least)
            }
            Dialect::Postgres | Dialect::MySql => told.is_some(),
        }
    }

    /// The upsert with the version raised in its SET clause.
    async fn stamped_upsert(&mut self, insert: &Insert<'_>, updates: &Conflict<'_>) -> QueryResult<String> {
        let Some(strategy) = self.table.strategy else { return Ok(insert.body.to_owned()) };
        let tick = tick(self.sweeper, self.db, self.table).await?;
        let column = self.dialect.quote(strategy.name);
        // The row that is there is named by the table alone, without its schema.
        let there = format!("{}.{column}", self.dialect.quote(self.table.table_name()));
        let stamp = |wanted| rising_expression(self.dialect, &there, strategy.zoned, tick, wanted);
        let given = updates.assignments.iter().find(|assignment| assignment.column == strategy.name);
        let Some(given) = given else {
            let (before, after) = insert.body.split_at(updates.assignments_end);
            return Ok(format!("{before}, {column} = {}{after}", stamp(None)));
        };
        let begin = given.expression.as_ptr().addr() - insert.body.as_ptr().addr();
        let (before, after) = (&insert.body[..begin], &insert.body[begin + given.expression.len()..]);
        Ok(format!("{before}{}{after}", stamp(Some(given.expression))))
    }

    /// The rows that an upsert will find, locked.
    async fn rows_in_the_way(&mut self, insert: &Insert<'_>, conflict: &Conflict<'_>) -> QueryResult<Vec<Row<String>>> {
        const ADVICE: &str = "An upsert that sets a foreign key must name its conflict's columns, and list their values. Or update the row, and \
                              insert it if there was none, in one transaction";
        let untold = || Error::Untold { statement: insert.body.to_owned(), advice: ADVICE };
        let (Some(target), Some(rows)) = (&conflict.target, &insert.rows) else { return Err(untold().into()) };
        let positions: Option<Vec<usize>> = target.iter().map(|column| insert.columns.iter().position(|listed| listed == column)).collect();
        let positions = positions.ok_or_else(untold)?;
        // A row whose target is left to a default is not in the way: it gets a new key.
        let rows = rows.iter().filter(|row| positions.iter().all(|&at| row[at] != "DEFAULT"));
        let alike = rows.map(|row| {
            let equal = positions.iter().zip(target).map(|(&at, column)| format!("{} = {}", self.dialect.quote(column), row[at]));
            format!("({})", equal.collect::<Vec<_>>().join(" AND "))
        });
        let alike: Vec<String> = alike.collect();
        if alike.is_empty() {
            return Ok(Vec::new());
        }
        let text = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {}{}",
            self.table.key_expressions(self.dialect).join(", "),
            self.table.quoted(self.dialect),
            alike.join(" OR "),
            self.primary_key_names(),
            self.dialect.lock()
        );
        let rows = self.run.select(self.db, &text).await?;
        Ok(self.read(&rows))
    }

    /// Notes the keys of the rows that the next statement changes, and their versions: `OLD` ones before, or `NEW` ones after.
    /// Both the trigger and its table are this connection's alone.
    async fn watch(&mut self, when: &str, which: &str) -> QueryResult<()> {
        let column = |name: &str| format!("{which}.{}", self.dialect.quote(name));
        let keys = self.table.keys().into_iter().map(|(name, kind)| self.dialect.as_text(kind, &column(name)));
        let version = self.table.strategy.map(|strategy| format!("CAST({} AS TEXT)", column(strategy.name)));
        let (noted, table) = (keys.chain(version).collect::<Vec<_>>().join(", "), self.dialect.quote(self.table.table_name()));
        let schema = self.dialect.quote(self.table.schema().unwrap_or("main"));
        self.db.execute(Sql::new("CREATE TEMP TABLE IF NOT EXISTS cachesweeper_changed (keys TEXT)")).await?;
        let trigger = format!(
            "CREATE TEMP TRIGGER cachesweeper_changes {when} ON {schema}.{table} BEGIN INSERT INTO cachesweeper_changed VALUES (json_array({noted})); END"
        );
        self.db.execute(Sql::new(trigger)).await?;
        Ok(())
    }

    async fn watched(&mut self) -> QueryResult<Vec<TextRow>> {
        self.db.execute(Sql::new("DROP TRIGGER IF EXISTS cachesweeper_changes")).await?;
        let rows = self.db.rows(Sql::new("SELECT keys FROM cachesweeper_changed")).await?;
        self.db.execute(Sql::new(format!("DELETE FROM cachesweeper_changed{SWEPT}"))).await?;
        rows.iter().filter_map(|row| row.0.first()?.as_deref()).map(read_keys).collect()
    }

    /// MySQL returns nothing, so the new rows are read after they were inserted.
    async fn insert_and_ask(&mut self, insert: &Insert<'_>) -> QueryResult<Done<R::Row>> {
        const ADVICE: &str = "MySQL does not tell which rows an upsert, or an INSERT … SELECT, changes. Load the rows and insert them, or update \
                              the row and insert it if there was none, in one transaction";
        let Some(rows) = insert.rows.as_ref().filter(|_| insert.conflict.is_none()) else {
            return Err(self.untold(insert.body, ADVICE));
        };
        let primary_key = self.table.primary_key();
        let listed = |name: &str| insert.columns.iter().any(|column| column == name);
        let given = match primary_key.iter().any(|(name, _)| listed(name)) || self.has_timestamped_parents() {
            true => self.given_values(insert, rows).await?,
            false => Vec::new(),
        };
        let keys: Vec<Vec<String>> =
            given.iter().filter_map(|row| primary_key.iter().map(|(name, _)| row.value(name)).collect::<Option<_>>()).collect();
        let made_by_database = match primary_key.as_slice() {
            [(name, Kind::Integer)] => Some(self.dialect.quote(name)),
            _ if keys.len() < rows.len() => {
                return Err(self.untold(insert.body, "Its primary key is left to a default, which MySQL does not tell: give it a value"));
            }
            _ => None,
        };
        self.lock_parents(given.iter().map(|row| self.table.parents_of(|column| row.value(column))).collect()).await?;
        let how = self.how(insert.body.to_owned(), Sql::default(), false);
        let ran = self.run.run(self.db, &how).await?;

        let mut columns = self.table.key_expressions(self.dialect);
        columns.extend(self.old_version());
        let select = format!("SELECT {} FROM {} WHERE ", columns.join(", "), self.table.quoted(self.dialect));
        let mut found = Vec::new();
        for chunk in keys.chunks(rows_per_statement(primary_key.len())) {
            let mut sql = Sql::new(select.as_str());
            sql.push_among(self.dialect, &primary_key, chunk);
            found.extend(self.db.rows(sql.kept_prepared(chunk.len() == 1)).await?);
        }
        // A key that is 0 or NULL is made by the database too, so it is asked whenever a row was not found by what was given.
        // One statement's keys follow each other: MySQL's manual, "AUTO_INCREMENT Handling in InnoDB", simple inserts.
        if let Some(name) = made_by_database.filter(|_| found.len() < rows.len()) {
            let beyond = format!("{} * @@auto_increment_increment", rows.len());
            let sql = Sql::new(format!("{select}{name} >= LAST_INSERT_ID() AND {name} < LAST_INSERT_ID() + {beyond}"));
            found.extend(self.db.rows(sql.kept_prepared(rows.len() == 1)).await?);
        }
        let (mut seeds, mut old_versions) = (Vec::new(), Vec::new());
        for row in &found {
            let Some(read) = self.table.read(row) else { continue };
            if self.table.strategy.is_some() && self.is_old(row) {
                old_versions.push(read.record.clone());
            }
            seeds.push(seed(self.entity, read));
        }
        Ok((ran, Self::changes(seeds, old_versions)))
    }

    fn has_timestamped_parents(&self) -> bool {
        let graph = self.sweeper.graph();
        let parents = graph.table(&self.table.name).map(|node| node.parents.as_slice()).unwrap_or_default();
        parents.iter().any(|parent| graph.table(parent).is_some_and(|node| node.strategy == cachesweeper_core::Strategy::UpdatedAt))
    }

    /// The keys that an INSERT lists, as the database understands them.
    async fn given_values(&mut self, insert: &Insert<'_>, rows: &[Vec<&str>]) -> QueryResult<Vec<Given>> {
        if insert.columns.is_empty() {
            // `DEFAULT VALUES` lists nothing, and nothing can be selected.
            return Ok(rows.iter().map(|_| Given(Vec::new())).collect());
        }
        let keys = self.table.keys();
        let kind = |column: &String| keys.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind);
        // All values of the statement, in their order: of those that are no keys, only whether they are there.
        let select = |row: &Vec<&str>| {
            let values = row.iter().zip(&insert.columns).map(|(value, column)| match (kind(column), *value) {
                (_, "DEFAULT") => "NULL".to_owned(),
                (Some(kind), value) => self.dialect.as_text(kind, value),
                (None, value) => format!("(({value}) IS NULL)"),
            });
            format!("SELECT {}", values.collect::<Vec<_>>().join(", "))
        };
        let text = rows.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ");
        let selected = self.run.select(self.db, &text).await?;
        let given = selected.into_iter().map(|TextRow(values)| {
            let named = insert.columns.iter().zip(values);
            let named = named.filter_map(|(column, value)| Some((column.clone(), canonical(kind(column)?, value?))));
            Given(named.collect())
        });
        Ok(given.collect())
    }

    /// Locks the parents that the commit will touch, before the rows themselves are written.
    ///
    /// InnoDB checks a foreign key by a shared lock on the parent; the touch needs an exclusive one. Two children of one
    /// parent would both hold the shared lock and wait for the exclusive one.
    pub(super) async fn lock_parents(&mut self, parents: Vec<Vec<(usize, Vec<String>)>>) -> QueryResult<()> {
        let seeds: Vec<Seed<String>> = parents.into_iter().map(|parents| Seed { entity: self.entity, key: None, parents }).collect();
        let level: Level<String> = timestamped_parents::<DieselEntity>(self.sweeper.graph(), &seeds);
        for ((table, columns), rows) in level {
            let Some(parent) = self.sweeper.graph().table(&table).and_then(|node| node.adapter::<DieselEntity>()) else { continue };
            let keys = parent.keys();
            let by: Vec<(&str, Kind)> = keys.iter().filter(|(name, _)| columns.iter().any(|column| column == name)).copied().collect();
            let names: Vec<String> = parent.primary_key().iter().map(|(name, _)| self.dialect.quote(name)).collect();
            let (names, values) = (names.join(", "), rows.into_values().collect::<Vec<_>>());
            for chunk in values.chunks(rows_per_statement(by.len())) {
                let mut sql = Sql::new(format!(
                    "SELECT {} FROM {} WHERE ",
                    parent.key_expressions(self.dialect).join(", "),
                    parent.quoted(self.dialect)
                ));
                sql.push_among(self.dialect, &by, chunk);
                sql.push(&format!(" ORDER BY {names}{}", self.dialect.lock()));
                self.db.rows(sql.kept_prepared(chunk.len() == 1)).await?;
            }
        }
        Ok(())
    }
}

fn is_interrupted(error: &diesel::result::Error) -> bool {
    match error {
        diesel::result::Error::QueryBuilderError(cause) => matches!(cause.downcast_ref(), Some(Error::Interrupted { .. })),
        _ => false,
    }
}

/// The keys of a row that an INSERT lists.
struct Given(Vec<(String, String)>);

impl Given {
    fn value(&self, column: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.clone())
    }
}
