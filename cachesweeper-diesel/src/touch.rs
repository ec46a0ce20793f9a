//! Timestamps as versions: touching parents, and what a write stamps its own row with. Both strictly rising.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cachesweeper_core::Micros;
use cachesweeper_core::climb::{Touches, rows_per_statement};
use cachesweeper_core::face::Face;
use diesel::QueryResult;

use crate::db::Db;
use crate::describe::{DieselEntity, StrategyColumn};
use crate::error::Error;
use crate::rewrite::SWEPT;
use crate::sql::{Dialect, Sql};
use crate::value::SqliteTime;

/// The precision of timestamp columns, as the database told it once.
#[derive(Debug, Default)]
pub(crate) struct Ticks(Mutex<HashMap<String, Micros>>);

/// The smallest step that an entity's strategy column can hold.
pub(crate) async fn tick<S: Face, D: Db>(sweeper: &S, db: &mut D, entity: &DieselEntity) -> QueryResult<Micros> {
    const MICRO: Micros = Micros(1);
    let dialect = db.dialect();
    let (Some(strategy), false) = (entity.strategy, dialect == Dialect::Sqlite) else { return Ok(MICRO) };
    let ticks = sweeper.adapter(Ticks::default);
    if let Some(tick) = ticks.0.lock().unwrap_or_else(PoisonError::into_inner).get(&entity.name) {
        return Ok(*tick);
    }
    let digits = precision(db, entity, strategy).await?;
    let tick = Micros(10_u64.pow(6 - Ord::min(digits, 6)));
    if tick > MICRO && sweeper.first_time(&format!("coarse: {}", entity.name)) {
        let cure = match dialect {
            Dialect::MySql => format!("ALTER TABLE `{}` MODIFY `{}` DATETIME(6) NOT NULL", entity.table_name(), strategy.name),
            _ => format!("ALTER TABLE \"{}\" ALTER COLUMN \"{}\" TYPE timestamptz(6)", entity.table_name(), strategy.name),
        };
        tracing::warn!(
            table = entity.name,
            column = strategy.name,
            digits,
            "the version column keeps only {digits} digits of a second: versions stay correct by running ahead of the clock. Migrate it: {cure}"
        );
    }
    ticks.0.lock().unwrap_or_else(PoisonError::into_inner).insert(entity.name.clone(), tick);
    Ok(tick)
}

async fn precision<D: Db>(db: &mut D, entity: &DieselEntity, strategy: StrategyColumn) -> QueryResult<u32> {
    let (digits, schema) = match db.dialect() {
        Dialect::Postgres => ("CAST(datetime_precision AS TEXT)", "current_schema()"),
        _ => ("CAST(DATETIME_PRECISION AS CHAR)", "DATABASE()"),
    };
    let mut sql = Sql::new(format!("SELECT {digits} FROM information_schema.columns WHERE table_name = "));
    sql.push_text(entity.table_name());
    sql.push(" AND column_name = ");
    sql.push_text(strategy.name);
    sql.push(" AND table_schema = ");
    match entity.schema() {
        Some(schema) => sql.push_text(schema),
        None => sql.push(schema),
    }
    let rows = db.rows(sql).await?;
    let digits = rows.first().and_then(|row| row.0.first()?.as_ref()?.parse().ok());
    // A view or a foreign table may have no entry; then the usual precision is assumed.
    Ok(digits.unwrap_or(6))
}

/// `greatest(clock, old + 1 tick, wanted)` as an expression; not for SQLite, which has no such clock.
pub(crate) fn rising_expression(dialect: Dialect, column: &str, zoned: bool, tick: Micros, wanted: Option<&str>) -> String {
    if dialect == Dialect::MySql {
        // GREATEST of a NULL is NULL here. Diesel's sessions are in UTC, and DATETIME has no zone.
        let wanted = wanted.map(|wanted| format!(", COALESCE({wanted}, UTC_TIMESTAMP(6))")).unwrap_or_default();
        return format!("GREATEST(UTC_TIMESTAMP(6), COALESCE({column} + INTERVAL {} MICROSECOND, UTC_TIMESTAMP(6)){wanted})", tick.0);
    }
    // now() would be the transaction's start.
    let clock = if zoned { "clock_timestamp()" } else { "(clock_timestamp() AT TIME ZONE 'UTC')" };
    let wanted = wanted.map(|wanted| format!(", {wanted}")).unwrap_or_default();
    format!("GREATEST({clock}, {column} + INTERVAL '{} microseconds'{wanted})", tick.0)
}

/// `max(clock, old + 1 tick)`, as a multiple of the tick, so that the database neither rounds nor cuts it.
pub(crate) fn rising(now: Micros, old: Option<Micros>, tick: Micros) -> Micros {
    let least = old.map_or(now, |old| now.max(old.plus(tick)));
    Micros(least.0.div_ceil(tick.0) * tick.0)
}

/// A stamp for SQLite, as an SQL literal.
pub(crate) fn sqlite_stamp<S: Face>(
    sweeper: &S,
    entity: &DieselEntity,
    strategy: StrategyColumn,
    old: Option<Micros>,
) -> QueryResult<String> {
    let stamp = rising(sweeper.now(), old, Micros(1));
    let text = SqliteTime::write(stamp, strategy.zoned);
    let text = text.ok_or_else(|| Error::Stamp { table: entity.name.clone(), column: strategy.name, micros: stamp.0 })?;
    Ok(format!("'{text}'"))
}

/// Touches the rows: one UPDATE per table, tables in one fixed order, rows in key order.
pub(crate) async fn touch<S: Face, D: Db>(sweeper: &S, db: &mut D, touches: &Touches<DieselEntity>) -> QueryResult<()> {
    for (entity, rows) in touches.values() {
        let Some(strategy) = entity.strategy else { continue };
        let tick = tick(sweeper, db, entity).await?;
        let keys: Vec<Vec<String>> = rows.values().cloned().collect();
        for keys in keys.chunks(rows_per_statement(entity.primary_key().len())) {
            touch_some(sweeper, db, entity, strategy, tick, keys).await?;
        }
    }
    Ok(())
}

async fn touch_some<S: Face, D: Db>(
    sweeper: &S,
    db: &mut D,
    entity: &DieselEntity,
    strategy: StrategyColumn,
    tick: Micros,
    keys: &[Vec<String>],
) -> QueryResult<()> {
    let (dialect, primary_key) = (db.dialect(), entity.primary_key());
    let (table, column) = (entity.quoted(dialect), dialect.quote(strategy.name));
    let stamp = match dialect {
        // No timestamp arithmetic worth the name, but one writer at a time: read, compute, write.
        Dialect::Sqlite => {
            let mut select = Sql::new(format!("SELECT CAST({column} AS TEXT) FROM {table} WHERE "));
            select.push_among(dialect, &primary_key, keys);
            sqlite_stamp(sweeper, entity, strategy, latest(&db.rows(select.kept_prepared(keys.len() == 1)).await?, 0))?
        }
        _ => rising_expression(dialect, &column, strategy.zoned, tick, None),
    };
    let mut update = Sql::new(format!("UPDATE {table} SET {column} = {stamp} WHERE "));
    let names: Vec<String> = primary_key.iter().map(|(name, _)| dialect.quote(name)).collect();
    let names = names.join(", ");
    match dialect {
        // An UPDATE locks in no particular order, so that two of them could wait for each other; the subquery locks in key order.
        Dialect::Postgres if keys.len() > 1 => {
            update.push(&format!("({names}) IN (SELECT {names} FROM {table} WHERE "));
            update.push_among(dialect, &primary_key, keys);
            update.push(&format!(" ORDER BY {names} FOR NO KEY UPDATE)"));
        }
        Dialect::MySql => {
            update.push_among(dialect, &primary_key, keys);
            update.push(&format!(" ORDER BY {names}"));
        }
        _ => update.push_among(dialect, &primary_key, keys),
    }
    update.push(SWEPT);
    let few = keys.len() == 1 && dialect != Dialect::Sqlite;
    db.execute(update.kept_prepared(few)).await?;
    Ok(())
}

/// The latest timestamp in a text column.
pub(crate) fn latest(rows: &[crate::sql::TextRow], column: usize) -> Option<Micros> {
    rows.iter().filter_map(|row| SqliteTime::read(row.0.get(column)?.as_deref()?)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_by_at_least_a_tick_and_fit_the_column() {
        assert_eq!(rising(Micros(100), None, Micros(1)), Micros(100));
        assert_eq!(rising(Micros(100), Some(Micros(100)), Micros(1)), Micros(101));
        assert_eq!(rising(Micros(1_500_000), Some(Micros(2_000_000)), Micros(1_000_000)), Micros(3_000_000));
    }
}
