//! The queries of a climb, over a SeaORM connection. The way up itself is the core's.

use cachesweeper_core::climb::{self, Parent, Rows, Table, key_columns, rows_per_statement, timestamped_parents};
use cachesweeper_core::face::Face;
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{RecordKey, Sweeper};
use sea_orm::sea_query::{Alias, Cond, Condition, Expr, ExprTrait, LockType, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Value};

use crate::describe::SeaEntity;
use crate::value::{is_exact, is_null, record_key};

/// A row that a write has changed, or will.
pub(crate) type Seed = climb::Seed<Value>;
/// A row as the database has it.
pub(crate) type Row = climb::Row<Value>;
/// The records of a sweep.
pub(crate) type Climbed = climb::Climbed<SeaEntity>;
/// Rows with timestamps, by table.
pub(crate) type Touches = climb::Touches<SeaEntity>;

/// Finds everything that a write on these rows invalidates.
pub(crate) async fn climb<C: ConnectionTrait>(sweeper: &Sweeper, db: &C, seeds: &[Seed]) -> Result<Climbed, DbErr> {
    climb::climb(sweeper, Queries(db), seeds).await
}

/// Asks a connection for rows.
struct Queries<'a, C>(&'a C);

impl<C: ConnectionTrait> Rows for Queries<'_, C> {
    type Table = SeaEntity;
    type Error = DbErr;

    async fn find(&mut self, table: &'static SeaEntity, by: &[String], values: Vec<Vec<Value>>) -> Result<Vec<Row>, DbErr> {
        let mut found = Vec::with_capacity(values.len());
        for chunk in values.chunks(rows_per_statement(by.len())) {
            let mut select = table.select_keys();
            select.cond_where(table.any_of(by, chunk));
            for row in self.0.query_all(&select).await? {
                found.push(table.read_keys(&row)?);
            }
        }
        Ok(found)
    }
}

impl Table for SeaEntity {
    type Value = Value;

    fn parents(&self) -> &[Parent] {
        &self.parents
    }

    fn is_primary_key(&self, columns: &[String]) -> bool {
        columns.len() == self.primary_key.len() && columns.iter().zip(&self.primary_key).all(|(name, &key)| self.columns[key].name == name)
    }

    fn is_exact(&self, _: &[String], values: &[Value]) -> bool {
        values.iter().all(is_exact)
    }

    fn record(entity: &str, values: &[Value]) -> RecordKey {
        record_key(entity, values)
    }
}

impl SeaEntity {
    /// `SELECT <primary key and foreign keys> FROM <table>`.
    pub(crate) fn select_keys(&self) -> SelectStatement {
        let mut select = Query::select();
        for position in key_columns(&self.primary_key, &self.parents) {
            let column = &self.columns[position];
            select.expr_as(column.selected(), Alias::new(column.name));
        }
        select.from(self.table.clone());
        select
    }

    /// Reads what [`select_keys`](Self::select_keys) selected.
    pub(crate) fn read_keys(&self, row: &QueryResult) -> Result<Row, DbErr> {
        let key = self.primary_key.iter().map(|&column| self.columns[column].read(row)).collect::<Result<Vec<_>, _>>()?;
        let mut parents = Vec::with_capacity(self.parents.len());
        for (position, parent) in self.parents.iter().enumerate() {
            let values = parent.from.iter().map(|&column| self.columns[column].read(row)).collect::<Result<Vec<_>, _>>()?;
            if !values.iter().any(is_null) {
                parents.push((position, values));
            }
        }
        Ok(Row { record: record_key(&self.name(), &key), key, parents })
    }

    /// The table, as the registry names it.
    pub(crate) fn name(&self) -> String {
        crate::describe::entity_name(self.schema.as_deref(), &self.table_name)
    }

    /// `<columns> IN (<values>)`.
    pub(crate) fn any_of(&self, columns: &[String], values: &[Vec<Value>]) -> Condition {
        let saved = |name: &String, value: &Value| match self.column(name) {
            Some(column) => self.columns[column].saved(value.clone()),
            None => Expr::val(value.clone()),
        };
        if let [name] = columns {
            let values = values.iter().filter_map(|value| Some(saved(name, value.first()?)));
            return Cond::all().add(Expr::col(Alias::new(name)).is_in(values.collect::<Vec<_>>()));
        }
        values.iter().fold(Cond::any(), |any, row| {
            let equal = |(name, value): (&String, &Value)| Expr::col(Alias::new(name)).eq(saved(name, value));
            any.add(columns.iter().zip(row).map(equal).fold(Cond::all(), Cond::add))
        })
    }

    pub(crate) fn primary_key_names(&self) -> Vec<String> {
        self.primary_key.iter().map(|&column| self.columns[column].name.to_owned()).collect()
    }
}

/// Reads a row's current foreign keys by its primary key. With `lock`, nobody moves it until the transaction ends.
pub(crate) async fn current<C: ConnectionTrait>(db: &C, entity: &'static Entity, key: &[Value], lock: bool) -> Result<Option<Seed>, DbErr> {
    let Some(sea) = entity.adapter::<SeaEntity>() else { return Ok(None) };
    let mut select = sea.select_keys();
    select.cond_where(sea.any_of(&sea.primary_key_names(), &[key.to_vec()]));
    if lock {
        lock_rows(db.get_database_backend(), &mut select);
    }
    let Some(row) = db.query_one(&select).await? else { return Ok(None) };
    let Row { record, parents, .. } = sea.read_keys(&row)?;
    Ok(Some(Seed { entity, key: Some(record), parents }))
}

/// On MySQL, locks the parents that a row's commit will touch, before the row itself is written.
///
/// InnoDB checks a foreign key by a shared lock on the parent; the touch needs an exclusive one. Two children of one parent
/// would both hold the shared lock and wait for the exclusive one. PostgreSQL's foreign key locks do not conflict with the
/// touch, and SQLite has one writer.
pub(crate) async fn lock_parents<C: ConnectionTrait>(sweeper: &Sweeper, db: &C, seeds: &[Seed]) -> Result<(), DbErr> {
    if db.get_database_backend() != DbBackend::MySql {
        return Ok(());
    }
    for ((table, columns), rows) in timestamped_parents::<SeaEntity>(sweeper.graph(), seeds) {
        let Some(parent) = sweeper.graph().table(&table).and_then(|node| node.adapter::<SeaEntity>()) else { continue };
        let values: Vec<Vec<Value>> = rows.into_values().collect();
        for chunk in values.chunks(rows_per_statement(columns.len())) {
            let mut select = Query::select();
            select.from(parent.table.clone()).cond_where(parent.any_of(&columns, chunk)).lock(LockType::Update);
            for name in parent.primary_key_names() {
                select.column(Alias::new(&name)).order_by(Alias::new(&name), Order::Asc);
            }
            db.query_all(&select).await?;
        }
    }
    Ok(())
}

/// The lock that an UPDATE takes, and no stronger one. SQLite has one writer, and no row locks.
pub(crate) fn lock_rows(backend: DbBackend, select: &mut SelectStatement) {
    match backend {
        DbBackend::Postgres => {
            select.lock(LockType::NoKeyUpdate);
        }
        DbBackend::MySql => {
            select.lock(LockType::Update);
        }
        _ => {}
    }
}
