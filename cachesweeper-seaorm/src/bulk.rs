//! Bulk writes that know what they changed.
//!
//! `update_many`, `delete_many` and `insert_many` run no hooks. [`ExecAndSweep::exec_and_sweep`] runs them in a transaction (a
//! savepoint, inside of one) that first reads which rows they will change, with a lock, and so sweeps exactly those.

use cachesweeper_core::climb::rows_per_statement;
use cachesweeper_core::face::Face;
use sea_orm::sea_query::{Alias, Expr};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, DeleteMany, DeleteResult, EntityTrait, IntoActiveModel, QueryFilter, QueryTrait,
    Statement, TransactionTrait, UpdateMany, UpdateResult, Value,
};

use crate::SweepTransaction;
use crate::climb::{Row, Seed, lock_parents, lock_rows};
use crate::describe::{SeaEntity, SweepEntity};
use crate::touch::{Adapter, rising, stamp_value};

/// Runs a bulk write and sweeps the rows it changed. Works on a [`SweepConnection`](crate::SweepConnection) and inside a
/// [`SweepTransaction`].
#[allow(async_fn_in_trait)]
pub trait ExecAndSweep {
    /// What the write returns.
    type Output;

    /// Runs the write; every row that it changes, and their parents, old and new, are invalidated at commit.
    ///
    /// # Errors
    ///
    /// Those of the database; [`DbErr::Custom`] if the rows cannot be told (the message says what to do). Nothing was written
    /// then.
    async fn exec_and_sweep<C>(self, db: &C) -> Result<Self::Output, DbErr>
    where
        C: ConnectionTrait + TransactionTrait<Transaction = SweepTransaction>;
}

impl<E: SweepEntity> ExecAndSweep for UpdateMany<E> {
    type Output = UpdateResult;

    async fn exec_and_sweep<C>(mut self, db: &C) -> Result<UpdateResult, DbErr>
    where
        C: ConnectionTrait + TransactionTrait<Transaction = SweepTransaction>,
    {
        let sea = sea::<E>()?;
        let txn = db.begin().await?;
        let statement = self.build(db.get_database_backend());
        let rows = matching::<E>(&txn, sea, &statement).await?;
        if rows.is_empty() {
            txn.commit().await?;
            return Ok(UpdateResult::default());
        }
        if let Some(strategy) = &sea.strategy {
            let values = QueryTrait::query(&mut self).get_values();
            if values.iter().any(|(column, _)| column.to_string() == strategy.name) {
                return Err(DbErr::Custom(format!(
                    "exec_and_sweep stamps `{}` itself, since it is the version of `{}`: leave it out of the update. Nothing was written",
                    strategy.name, sea.table_name
                )));
            }
            // One value for all rows, above every value that any of them has.
            let latest = rows.iter().filter_map(|row| row.stamp).max();
            let tick = Adapter::of(txn.sweeper()).ticks.of(txn.sweeper(), &txn, sea).await?;
            let stamp = stamp_value(sea, strategy, rising(txn.sweeper().now(), latest, tick))?;
            QueryTrait::query(&mut self).value(Alias::new(strategy.name), Expr::val(stamp));
        }
        txn.collect(rows.iter().map(|row| row.seed.clone()));
        let keys: Vec<Vec<Value>> = rows.into_iter().map(|row| row.key).collect();
        let mut result = UpdateResult::default();
        for chunk in keys.chunks(rows_per_statement(sea.primary_key.len())) {
            // By their keys too: a row that begins to match meanwhile must not be changed without being swept.
            let these = self.clone().filter(sea.any_of(&sea.primary_key_names(), chunk));
            result.rows_affected += these.exec(&txn).await?.rows_affected;
            // Where the rows are now: the update may have moved them.
            if !sea.parents.is_empty() {
                let mut select = sea.select_keys();
                select.cond_where(sea.any_of(&sea.primary_key_names(), chunk));
                let moved = txn.query_all(&select).await?;
                let moved = moved.iter().map(|row| seed_of_row::<E>(sea, row)).collect::<Result<Vec<_>, _>>()?;
                txn.collect(moved);
            }
        }
        txn.commit().await?;
        Ok(result)
    }
}

impl<E: SweepEntity> ExecAndSweep for DeleteMany<E> {
    type Output = DeleteResult;

    async fn exec_and_sweep<C>(self, db: &C) -> Result<DeleteResult, DbErr>
    where
        C: ConnectionTrait + TransactionTrait<Transaction = SweepTransaction>,
    {
        let sea = sea::<E>()?;
        let txn = db.begin().await?;
        let statement = self.build(db.get_database_backend());
        let rows = matching::<E>(&txn, sea, &statement).await?;
        txn.collect(rows.iter().map(|row| row.seed.clone()));
        let keys: Vec<Vec<Value>> = rows.into_iter().map(|row| row.key).collect();
        let mut result = DeleteResult::empty();
        for chunk in keys.chunks(rows_per_statement(sea.primary_key.len())) {
            let these = self.clone().filter(sea.any_of(&sea.primary_key_names(), chunk));
            result.rows_affected += these.exec(&txn).await?.rows_affected;
        }
        txn.commit().await?;
        Ok(result)
    }
}

/// Inserts many rows with one statement where the database returns what it inserted (PostgreSQL, SQLite, MariaDB with
/// SeaORM's feature), else one by one, in one transaction; and sweeps them and their parents.
///
/// Like `Entity::insert_many` it runs no hooks of the model's own.
///
/// # Errors
///
/// Those of the database. Nothing was written then.
pub async fn insert_many_and_sweep<A, C>(
    models: impl IntoIterator<Item = A>,
    db: &C,
) -> Result<Vec<<A::Entity as EntityTrait>::Model>, DbErr>
where
    A: ActiveModelTrait + Send,
    A::Entity: SweepEntity,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
    C: ConnectionTrait + TransactionTrait<Transaction = SweepTransaction>,
{
    let sea = sea::<A::Entity>()?;
    let txn = db.begin().await?;
    let mut models: Vec<A> = models.into_iter().collect();
    if models.is_empty() {
        txn.commit().await?;
        return Ok(Vec::new());
    }
    stamp_new(&mut models, sea, &txn).await?;
    let seeds: Vec<Seed> = models.iter().map(|am| (crate::row::Row { am, sea }).seed()).collect();
    lock_parents(txn.sweeper(), &txn, &seeds).await?;
    let mut inserted = Vec::with_capacity(models.len());
    if txn.support_returning() {
        let columns = sea.columns.len().max(1);
        let mut rest = models;
        while !rest.is_empty() {
            let chunk: Vec<A> = rest.drain(..rest.len().min(10_000 / columns)).collect();
            inserted.extend(A::Entity::insert_many(chunk).exec_with_returning(&txn).await?);
        }
    } else {
        for model in models {
            inserted.push(A::Entity::insert(model).exec_with_returning(&txn).await?);
        }
    }
    txn.collect(inserted.iter().map(|model| crate::row::seed_of_model(model, sea)));
    txn.commit().await?;
    Ok(inserted)
}

async fn stamp_new<A>(models: &mut [A], sea: &'static SeaEntity, txn: &SweepTransaction) -> Result<(), DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
{
    for model in models {
        crate::row::stamp(model, sea, txn.sweeper(), txn, true, true).await?;
    }
    Ok(())
}

fn sea<E: SweepEntity>() -> Result<&'static SeaEntity, DbErr> {
    crate::row::sea::<E>()
}

/// A row that a bulk write will change.
struct Matching {
    seed: Seed,
    key: Vec<Value>,
    stamp: Option<cachesweeper_core::Micros>,
}

fn seed_of_row<E: SweepEntity>(sea: &SeaEntity, row: &sea_orm::QueryResult) -> Result<Seed, DbErr> {
    let Row { record, parents, .. } = sea.read_keys(row)?;
    Ok(Seed { entity: E::entity(), key: Some(record), parents })
}

/// Reads the rows that a statement will change, by its own WHERE, with a lock.
async fn matching<E: SweepEntity>(txn: &SweepTransaction, sea: &'static SeaEntity, statement: &Statement) -> Result<Vec<Matching>, DbErr> {
    let backend = txn.get_database_backend();
    let (condition, values) = tail(statement, backend).ok_or_else(|| {
        DbErr::Custom(format!(
            "the rows that this statement changes cannot be told from it: {}. Load them and save each, or invalidate by hand",
            statement.sql
        ))
    })?;
    let mut select = sea.select_keys();
    if let Some(strategy) = &sea.strategy {
        select.column(Alias::new(strategy.name));
    }
    lock_rows(backend, &mut select);
    let built = backend.build(&select);
    // The lock clause comes last, the statement's own condition before it.
    let lock = ["FOR NO KEY UPDATE", "FOR UPDATE"].into_iter().find(|lock| built.sql.ends_with(lock)).unwrap_or_default();
    let head = built.sql.trim_end_matches(lock);
    let sql = format!("{head} {condition} {lock}");
    let rows = txn.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let read = rows.iter().map(|row| {
        let Row { record, key, parents } = sea.read_keys(row)?;
        let stamp = sea.strategy.as_ref().map(|strategy| strategy.read(row)).transpose()?.flatten();
        Ok(Matching { seed: Seed { entity: E::entity(), key: Some(record), parents }, key, stamp })
    });
    read.collect()
}

/// What an UPDATE or DELETE says from its WHERE on, and the values bound there. SeaORM gives no access to the condition
/// itself, so it is cut out of the built statement: at the first WHERE, ORDER BY or LIMIT outside of quotes and parentheses.
fn tail(statement: &Statement, backend: DbBackend) -> Option<(String, Vec<Value>)> {
    let sql = statement.sql.as_str();
    let values = statement.values.as_ref().map(|values| values.0.clone()).unwrap_or_default();
    let cut = top_level(sql, &[" WHERE ", " ORDER BY ", " LIMIT "]).unwrap_or(sql.len());
    let (head, tail) = sql.split_at(cut);
    if top_level(head, &[" FROM "]).is_some_and(|_| head.starts_with("UPDATE")) || top_level(head, &[" JOIN ", " USING "]).is_some() {
        return None;
    }
    if backend != DbBackend::Postgres {
        let bound = outside_quotes(head).filter(|(_, byte)| *byte == b'?').count();
        return Some((tail.to_owned(), values.get(bound..)?.to_vec()));
    }
    // $7 … become $1 …
    let (mut text, mut bound, mut last) = (String::new(), Vec::new(), 0);
    let bytes = tail.as_bytes();
    for (at, _) in outside_quotes(tail).filter(|(_, byte)| *byte == b'$') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number: usize = tail[at + 1..at + 1 + digits].parse().ok()?;
        bound.push(values.get(number.checked_sub(1)?)?.clone());
        text.push_str(&tail[last..at]);
        text.push_str(&format!("${}", bound.len()));
        last = at + 1 + digits;
    }
    text.push_str(&tail[last..]);
    Some((text, bound))
}

/// The bytes of SQL that are not inside quotes.
fn outside_quotes(sql: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let mut quote = None;
    sql.bytes().enumerate().filter(move |(_, byte)| match (quote, *byte) {
        (None, b'\'' | b'"' | b'`') => {
            quote = Some(*byte);
            false
        }
        (None, _) => true,
        (Some(open), byte) => {
            if byte == open {
                // A doubled quote closes and opens again.
                quote = None;
            }
            false
        }
    })
}

/// The first place of any of these words outside of quotes and parentheses.
fn top_level(sql: &str, words: &[&str]) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in outside_quotes(sql) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b' ' if depth == 0 && words.iter().any(|word| sql[at..].starts_with(word)) => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(backend: DbBackend, sql: &str, values: &[i32]) -> Option<(String, Vec<i32>)> {
        let values = values.iter().map(|value| Value::from(*value));
        let (text, bound) = tail(&Statement::from_sql_and_values(backend, sql, values), backend)?;
        let number = |value: Value| match value {
            Value::Int(Some(number)) => number,
            other => panic!("{other:?}"),
        };
        Some((text, bound.into_iter().map(number).collect()))
    }

    #[test]
    fn the_condition_is_cut_out_with_its_values() {
        let update = r#"UPDATE "c" SET "a" = $1, "b" = (SELECT x FROM y WHERE z = $2) WHERE "id" > $3 AND "w" = 'a WHERE $9'"#;
        let expected = (r#" WHERE "id" > $1 AND "w" = 'a WHERE $9'"#.to_owned(), vec![30]);
        assert_eq!(cut(DbBackend::Postgres, update, &[10, 20, 30]), Some(expected));
        let update = "UPDATE `c` SET `a` = ?, `b?` = ? WHERE `id` > ? ORDER BY `id` ASC LIMIT ?";
        let expected = (" WHERE `id` > ? ORDER BY `id` ASC LIMIT ?".to_owned(), vec![3, 4]);
        assert_eq!(cut(DbBackend::MySql, update, &[1, 2, 3, 4]), Some(expected));
        assert_eq!(cut(DbBackend::Sqlite, r#"DELETE FROM "c""#, &[]), Some((String::new(), vec![])));
        assert_eq!(cut(DbBackend::Postgres, r#"UPDATE "c" SET "a" = $1 FROM "d" WHERE "d"."id" = $2"#, &[1, 2]), None);
    }
}
