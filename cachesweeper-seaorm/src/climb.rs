//! Ancestors: which records a write invalidates beside its own row.
//!
//! One query per level and table, whatever the sweep's size, and without locks. A level whose keys are told by the foreign
//! keys alone, and which has no parents of its own, needs no query.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cachesweeper_core::registry::Entity;
use cachesweeper_core::{RecordKey, Strategy, Sweeper};
use sea_orm::sea_query::{Alias, Cond, Condition, Expr, ExprTrait, LockType, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Value};

use crate::describe::{Parent, SeaEntity};
use crate::value::{is_exact, is_null, record_key};

/// A row that a write has changed, or will: its key, if it is known, and its foreign keys.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) entity: &'static Entity,
    pub(crate) key: Option<RecordKey>,
    /// For each parent by its position, the foreign key's values; none of them NULL.
    pub(crate) parents: Vec<(usize, Vec<Value>)>,
}

/// A row of an entity with a timestamp, to be touched.
pub(crate) type Touches = BTreeMap<String, (&'static SeaEntity, BTreeMap<RecordKey, Vec<Value>>)>;

/// The records of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Climbed {
    /// The rows themselves and their ancestors.
    pub(crate) records: Vec<RecordKey>,
    /// Of the ancestors, those with timestamps; by table, so that locks are always taken in one order.
    pub(crate) touches: Touches,
    /// Whether any level was told by a query, so that it may have changed meanwhile.
    pub(crate) queried: bool,
}

impl Climbed {
    /// Adds rows to be touched.
    pub(crate) fn touch_also(&mut self, touches: Touches) {
        for (table, (entity, rows)) in touches {
            self.touches.entry(table).or_insert_with(|| (entity, BTreeMap::new())).1.extend(rows);
        }
    }

    /// Takes out rows that were touched already.
    pub(crate) fn touched(&mut self, records: &[RecordKey]) {
        for (_, rows) in self.touches.values_mut() {
            rows.retain(|record, _| !records.contains(record));
        }
        self.touches.retain(|_, (_, rows)| !rows.is_empty());
    }

    /// The part of `self` that `known` lacks.
    pub(crate) fn beyond(mut self, known: &Self) -> Self {
        let known: HashSet<&RecordKey> = known.records.iter().collect();
        self.records.retain(|record| !known.contains(record));
        for (_, rows) in self.touches.values_mut() {
            rows.retain(|record, _| !known.contains(record));
        }
        self.touches.retain(|_, (_, rows)| !rows.is_empty());
        self
    }
}

/// Where a climb goes on: parents of one table by one set of columns.
type Level = BTreeMap<(String, Vec<String>), BTreeMap<RecordKey, Vec<Value>>>;

struct Climb<'a, C> {
    sweeper: &'a Sweeper,
    db: &'a C,
    seen: HashSet<RecordKey>,
    /// Rows whose own parents have been followed.
    went_up: HashSet<RecordKey>,
    climbed: Climbed,
}

/// Finds everything that a write on these rows invalidates.
pub(crate) async fn climb<C: ConnectionTrait>(sweeper: &Sweeper, db: &C, seeds: &[Seed]) -> Result<Climbed, DbErr> {
    let mut climb = Climb { sweeper, db, seen: HashSet::new(), went_up: HashSet::new(), climbed: Climbed::default() };
    let mut level = Level::new();
    for seed in seeds {
        match &seed.key {
            Some(key) => climb.add(key.clone()),
            // The row has no name yet, but the collection it joins has.
            None if seed.entity.info().collection => climb.add(RecordKey::collection(seed.entity.name())),
            None => {}
        }
        if let Some(entity) = SeaEntity::of(seed.entity) {
            climb.up(entity, &seed.parents, &mut level);
        }
    }
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        level = climb.level(level, depth).await?;
    }
    Ok(climb.climbed)
}

impl<C: ConnectionTrait> Climb<'_, C> {
    fn add(&mut self, record: RecordKey) {
        if self.seen.insert(record.clone()) {
            self.climbed.records.push(record);
        }
    }

    /// Puts a row's parents on the next level.
    fn up(&self, entity: &SeaEntity, parents: &[(usize, Vec<Value>)], level: &mut Level) {
        for (position, values) in parents {
            let Some(Parent { entity, to, .. }) = entity.parents.get(*position) else { continue };
            if self.sweeper.graph().table(entity).is_some() {
                let rows = level.entry((entity.clone(), to.clone())).or_default();
                rows.insert(record_key(entity, values), values.clone());
            }
        }
    }

    async fn level(&mut self, level: Level, depth: u32) -> Result<Level, DbErr> {
        let mut next = Level::new();
        for ((table, columns), mut rows) in level {
            let Some(node) = self.sweeper.graph().table(&table) else { continue };
            if node.cyclic && depth > node.max_depth {
                let bound = node.max_depth;
                if let Some(record) = rows.keys().next() {
                    self.sweeper.report_depth(record, bound);
                }
                for whole in self.sweeper.graph().wholes_above(&table) {
                    self.add(whole);
                }
                continue;
            }
            let Some(entity) = SeaEntity::of(node.entity) else {
                // Registered by another ORM's derive: its keys are known, what is above it is not ours to ask.
                for record in rows.into_keys() {
                    self.add(record);
                }
                continue;
            };
            let direct = entity.is_primary_key(&columns) && rows.values().flatten().all(is_exact);
            if direct {
                // Recorded, and touched, also if it is itself among the saved rows (whose own save may have failed), or is not
                // seen by this transaction.
                for (record, key) in &rows {
                    self.found(node.strategy, &table, entity, record.clone(), key.clone());
                }
                if node.parents.is_empty() {
                    continue;
                }
                rows.retain(|record, _| !self.went_up.contains(record));
            }
            for (record, key, parents) in self.read(entity, &columns, rows.into_values().collect()).await? {
                self.found(node.strategy, &table, entity, record.clone(), key);
                if self.went_up.insert(record) {
                    self.up(entity, &parents, &mut next);
                }
            }
        }
        Ok(next)
    }

    fn found(&mut self, strategy: Strategy, table: &str, entity: &'static SeaEntity, record: RecordKey, key: Vec<Value>) {
        self.add(record.clone());
        if strategy == Strategy::UpdatedAt {
            let (_, rows) = self.climbed.touches.entry(table.to_owned()).or_insert_with(|| (entity, BTreeMap::new()));
            rows.insert(record, key);
        }
    }

    async fn read(&mut self, entity: &'static SeaEntity, by: &[String], values: Vec<Vec<Value>>) -> Result<Vec<Row>, DbErr> {
        /// Below every database's limit of bound values.
        const CHUNK: usize = 10_000;
        let mut found = Vec::with_capacity(values.len());
        for chunk in values.chunks(CHUNK / by.len().max(1)) {
            self.climbed.queried = true;
            let mut select = entity.select_keys();
            select.cond_where(entity.any_of(by, chunk));
            for row in self.db.query_all(&select).await? {
                found.push(entity.read_keys(&row)?);
            }
        }
        Ok(found)
    }
}

/// A row's record, primary key and foreign keys.
pub(crate) type Row = (RecordKey, Vec<Value>, Vec<(usize, Vec<Value>)>);

impl SeaEntity {
    /// `SELECT <primary key and foreign keys> FROM <table>`.
    pub(crate) fn select_keys(&self) -> SelectStatement {
        let mut select = Query::select();
        for position in self.key_columns() {
            let column = &self.columns[position];
            select.expr_as(column.selected(), Alias::new(column.name));
        }
        select.from(self.table.clone());
        select
    }

    pub(crate) fn key_columns(&self) -> BTreeSet<usize> {
        self.primary_key.iter().chain(self.parents.iter().flat_map(|parent| &parent.from)).copied().collect()
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
        Ok((record_key(&self.name(), &key), key, parents))
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
    let Some(sea) = SeaEntity::of(entity) else { return Ok(None) };
    let mut select = sea.select_keys();
    select.cond_where(sea.any_of(&sea.primary_key_names(), &[key.to_vec()]));
    if lock {
        lock_rows(db.get_database_backend(), &mut select);
    }
    let Some(row) = db.query_one(&select).await? else { return Ok(None) };
    let (key, _, parents) = sea.read_keys(&row)?;
    Ok(Some(Seed { entity, key: Some(key), parents }))
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
    let mut wanted = Level::new();
    for seed in seeds {
        let Some(sea) = SeaEntity::of(seed.entity) else { continue };
        for (position, values) in &seed.parents {
            let Some(Parent { entity, to, .. }) = sea.parents.get(*position) else { continue };
            if sweeper.graph().table(entity).is_some_and(|node| node.strategy == Strategy::UpdatedAt) {
                wanted.entry((entity.clone(), to.clone())).or_default().insert(record_key(entity, values), values.clone());
            }
        }
    }
    for ((table, columns), rows) in wanted {
        let Some(parent) = sweeper.graph().table(&table).and_then(|node| SeaEntity::of(node.entity)) else { continue };
        let values: Vec<Vec<Value>> = rows.into_values().collect();
        for chunk in values.chunks(5_000) {
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
