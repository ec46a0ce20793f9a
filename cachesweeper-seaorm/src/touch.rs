//! Timestamps as versions: touching parents, and stamping the saved row. Both strictly rising.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_core::climb::rows_per_statement;
use cachesweeper_core::face::Face;
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{Micros, Sweeper};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query, SimpleExpr, UpdateStatement};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};

use crate::climb::{Touches, lock_rows};
use crate::describe::{SeaEntity, StrategyColumn};

/// The precision of timestamp columns, as the database told it once.
#[derive(Debug, Default)]
pub(crate) struct Ticks(Mutex<HashMap<String, Micros>>);

impl Ticks {
    /// The smallest step that the strategy column can hold.
    pub(crate) async fn of<C: ConnectionTrait>(&self, sweeper: &Sweeper, db: &C, entity: &SeaEntity) -> Result<Micros, DbErr> {
        const MICRO: Micros = Micros(1);
        let (Some(strategy), false) = (&entity.strategy, db.get_database_backend() == DbBackend::Sqlite) else { return Ok(MICRO) };
        let name = entity.name();
        if let Some(tick) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(*tick);
        }
        let digits = precision(db, entity, strategy).await?;
        let tick = Micros(10_u64.pow(6 - Ord::min(digits, 6)));
        if tick > MICRO && sweeper.first_time(&format!("coarse: {name}")) {
            let (column, cure) = (strategy.name, cure(db.get_database_backend(), entity, strategy));
            tracing::warn!(
                table = name,
                column,
                digits,
                "the version column keeps only {digits} digits of a second: versions stay correct by running ahead of the clock. {cure}"
            );
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, tick);
        Ok(tick)
    }
}

fn cure(backend: DbBackend, entity: &SeaEntity, strategy: &StrategyColumn) -> String {
    let (table, column) = (&entity.table_name, strategy.name);
    match backend {
        DbBackend::MySql => format!("Migrate it: ALTER TABLE `{table}` MODIFY `{column}` DATETIME(6) NOT NULL"),
        _ => format!("Migrate it: ALTER TABLE \"{table}\" ALTER COLUMN \"{column}\" TYPE timestamptz(6)"),
    }
}

async fn precision<C: ConnectionTrait>(db: &C, entity: &SeaEntity, strategy: &StrategyColumn) -> Result<u32, DbErr> {
    let backend = db.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT CAST(datetime_precision AS BIGINT) AS digits FROM information_schema.columns \
             WHERE table_name = $1 AND column_name = $2 AND table_schema = COALESCE($3, current_schema())"
        }
        _ => {
            "SELECT CAST(DATETIME_PRECISION AS SIGNED) AS digits FROM information_schema.COLUMNS \
             WHERE TABLE_NAME = ? AND COLUMN_NAME = ? AND TABLE_SCHEMA = COALESCE(?, DATABASE())"
        }
    };
    let values: [Value; 3] = [entity.table_name.clone().into(), strategy.name.into(), entity.schema.clone().into()];
    let row = db.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let digits = row.map(|row| row.try_get::<Option<i64>>("", "digits")).transpose()?.flatten();
    // A view or a foreign table may have no entry; then the usual precision is assumed.
    Ok(digits.and_then(|digits| u32::try_from(digits).ok()).unwrap_or(6))
}

/// Touches the rows: one UPDATE per table, tables in one fixed order, rows in key order.
pub(crate) async fn touch<C: ConnectionTrait>(sweeper: &Sweeper, ticks: &Ticks, db: &C, touches: &Touches) -> Result<(), DbErr> {
    for (entity, rows) in touches.values() {
        let Some(strategy) = &entity.strategy else { continue };
        let tick = ticks.of(sweeper, db, entity).await?;
        let keys: Vec<Vec<Value>> = rows.values().cloned().collect();
        // In key order, as the rows are.
        for keys in keys.chunks(rows_per_statement(entity.primary_key.len())) {
            match db.get_database_backend() {
                DbBackend::Sqlite => touch_by_value(sweeper, db, entity, strategy, tick, keys).await?,
                backend => {
                    let update = touch_by_expression(backend, entity, strategy, tick, keys);
                    db.execute(&update).await?;
                }
            }
        }
    }
    Ok(())
}

/// `greatest(clock, old + 1 tick)`, computed by the database.
fn touch_by_expression(
    backend: DbBackend,
    entity: &SeaEntity,
    strategy: &StrategyColumn,
    tick: Micros,
    keys: &[Vec<Value>],
) -> UpdateStatement {
    let (column, names) = (Alias::new(strategy.name), entity.primary_key_names());
    let among = entity.any_of(&names, keys);
    let mut update = Query::update();
    update.table(entity.table.clone());
    if backend == DbBackend::MySql {
        // GREATEST of a NULL is NULL here. sqlx's sessions are in UTC, and DATETIME has no zone.
        let later = format!("`{}` + INTERVAL {} MICROSECOND", strategy.name, tick.0);
        let stamp = Expr::cust(format!("GREATEST(UTC_TIMESTAMP(6), COALESCE({later}, UTC_TIMESTAMP(6)))"));
        update.value(column, stamp).cond_where(among);
        for name in names {
            update.order_by(Alias::new(name), Order::Asc);
        }
        return update;
    }
    // now() would be the transaction's start.
    let clock = if strategy.zoned { "clock_timestamp()" } else { "(clock_timestamp() AT TIME ZONE 'UTC')" };
    let later = format!("\"{}\" + INTERVAL '{} microseconds'", strategy.name, tick.0);
    update.value(column, Expr::cust(format!("GREATEST({clock}, {later})")));
    if keys.len() == 1 {
        update.cond_where(among);
        return update;
    }
    // An UPDATE locks in no particular order, so that two of them could wait for each other; the subquery locks in key order.
    let mut ordered = Query::select();
    ordered.from(entity.table.clone()).cond_where(among);
    for name in &names {
        ordered.column(Alias::new(name)).order_by(Alias::new(name), Order::Asc);
    }
    lock_rows(backend, &mut ordered);
    let key: SimpleExpr = match names.as_slice() {
        [name] => Expr::col(Alias::new(name)),
        names => Expr::tuple(names.iter().map(|name| Expr::col(Alias::new(name)))),
    };
    update.and_where(key.in_subquery(ordered));
    update
}

/// SQLite has no timestamp arithmetic worth the name, but one writer at a time: read, compute, write.
async fn touch_by_value<C: ConnectionTrait>(
    sweeper: &Sweeper,
    db: &C,
    entity: &SeaEntity,
    strategy: &StrategyColumn,
    tick: Micros,
    keys: &[Vec<Value>],
) -> Result<(), DbErr> {
    let among = entity.any_of(&entity.primary_key_names(), keys);
    let mut select = Query::select();
    select.column(Alias::new(strategy.name)).from(entity.table.clone()).cond_where(among.clone());
    let mut latest = None;
    for row in db.query_all(&select).await? {
        latest = Ord::max(latest, strategy.read(&row)?);
    }
    let stamp = rising(sweeper.now(), latest, tick);
    let mut update = Query::update();
    update.table(entity.table.clone()).value(Alias::new(strategy.name), stamp_value(entity, strategy, stamp)?).cond_where(among);
    db.execute(&update).await?;
    Ok(())
}

/// `max(clock, old + 1 tick)`, as a multiple of the tick, so that the database neither rounds nor cuts it.
pub(crate) fn rising(now: Micros, old: Option<Micros>, tick: Micros) -> Micros {
    let least = old.map_or(now, |old| now.max(old.plus(tick)));
    Micros(least.0.div_ceil(tick.0) * tick.0)
}

pub(crate) fn stamp_value(entity: &SeaEntity, strategy: &StrategyColumn, stamp: Micros) -> Result<Value, DbErr> {
    let value = strategy.value(stamp);
    value.ok_or_else(|| DbErr::Custom(format!("{}.{} cannot hold the time {} µs after 1970", entity.name(), strategy.name, stamp.0)))
}

/// The current value of a row's strategy column.
pub(crate) async fn current_stamp<C: ConnectionTrait>(
    db: &C,
    entity: &'static Entity,
    key: &[Value],
    lock: bool,
) -> Result<Option<Micros>, DbErr> {
    let Some(sea) = entity.adapter::<SeaEntity>() else { return Ok(None) };
    let Some(strategy) = &sea.strategy else { return Ok(None) };
    let mut select = Query::select();
    select.column(Alias::new(strategy.name)).from(sea.table.clone()).cond_where(sea.any_of(&sea.primary_key_names(), &[key.to_vec()]));
    if lock {
        lock_rows(db.get_database_backend(), &mut select);
    }
    match db.query_one(&select).await? {
        Some(row) => strategy.read(&row),
        None => Ok(None),
    }
}

/// What an adapter keeps per sweeper.
#[derive(Debug, Default)]
pub(crate) struct Adapter {
    pub(crate) ticks: Ticks,
    pub(crate) in_flight: crate::in_flight::InFlight,
}

impl Adapter {
    pub(crate) fn of(sweeper: &Sweeper) -> Arc<Self> {
        sweeper.adapter(Self::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_by_at_least_a_tick_and_fit_the_column() {
        assert_eq!(rising(Micros(100), None, Micros(1)), Micros(100));
        assert_eq!(rising(Micros(100), Some(Micros(50)), Micros(1)), Micros(100));
        assert_eq!(rising(Micros(100), Some(Micros(100)), Micros(1)), Micros(101));
        assert_eq!(rising(Micros(100), Some(Micros(500)), Micros(1)), Micros(501));
        assert_eq!(rising(Micros(1_500_000), None, Micros(1_000_000)), Micros(2_000_000));
        assert_eq!(rising(Micros(1_500_000), Some(Micros(2_000_000)), Micros(1_000_000)), Micros(3_000_000));
    }
}
