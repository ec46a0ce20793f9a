//! Ancestors: which records a write invalidates beside its own row.
//!
//! One query per level and table, whatever the sweep's size, and without locks. A level whose keys are told by the foreign
//! keys alone, and which has no parents of its own, needs no query. The queries are the ORM's adapter's: this is the way up.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;
use std::future::Future;

use crate::face::Face;
use crate::registry::{Entity, Graph, Node};
use crate::{RecordKey, Strategy};

/// What an ORM's adapter knows of an entity: the part of its descriptor that a climb goes by.
pub trait Table: Debug + Send + Sync + 'static {
    /// A column's value.
    type Value: Clone + Debug + Send + Sync + 'static;

    /// The relations to parents.
    fn parents(&self) -> &[Parent];

    /// Whether a parent is named by its primary key, so that a foreign key alone tells its record.
    fn is_primary_key(&self, columns: &[String]) -> bool;

    /// Whether these columns' values have the same text as every equal value in the database: so for integers and UUIDs, not
    /// for text, which may compare case-insensitively there.
    fn is_exact(&self, columns: &[String], values: &[Self::Value]) -> bool;

    /// The record that these columns' values name, if they are its primary key.
    fn record(entity: &str, values: &[Self::Value]) -> RecordKey;
}

/// How many rows one statement may name by so many columns: below every database's limit of bound values. Several columns are
/// compared row by row and joined by OR, which SQLite takes a thousand of.
pub fn rows_per_statement(columns: usize) -> usize {
    if columns <= 1 { 5_000 } else { (20_000 / columns).clamp(1, 500) }
}

/// A relation to a parent, as columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The parent's table, as the registry names it.
    pub entity: String,
    /// The foreign key, as positions in the adapter's list of columns.
    pub from: Vec<usize>,
    /// The columns it points to.
    pub to: Vec<String>,
}

/// A row that a write has changed, or will: its key, if it is known, and its foreign keys.
#[derive(Clone, Debug)]
pub struct Seed<V> {
    /// The row's entity.
    pub entity: &'static Entity,
    /// Its key. `None` for a row that has none yet.
    pub key: Option<RecordKey>,
    /// For each parent by its position, the foreign key's values; none of them NULL.
    pub parents: Vec<(usize, Vec<V>)>,
}

/// A row as the database has it.
#[derive(Clone, Debug)]
pub struct Row<V> {
    /// Its record.
    pub record: RecordKey,
    /// Its primary key.
    pub key: Vec<V>,
    /// As [`Seed::parents`].
    pub parents: Vec<(usize, Vec<V>)>,
}

/// Finds rows in the database.
pub trait Rows: Send {
    /// The adapter's part of an entity's descriptor.
    type Table: Table;
    /// A failed query.
    type Error: Send;

    /// The rows of `table` whose columns `by` have these values.
    fn find(
        &mut self,
        table: &'static Self::Table,
        by: &[String],
        values: Vec<Vec<<Self::Table as Table>::Value>>,
    ) -> impl Future<Output = Found<Self>> + Send;
}

/// What [`Rows::find`] returns.
pub type Found<R> = Result<Vec<Row<ValueOf<R>>>, <R as Rows>::Error>;

type ValueOf<R> = <<R as Rows>::Table as Table>::Value;

/// The rows to be touched of one table: its descriptor, and the rows' primary keys in the order of their records.
pub type TouchedTable<T> = (&'static T, BTreeMap<RecordKey, Vec<<T as Table>::Value>>);
/// Rows with timestamps, by table, so that locks are always taken in one order.
pub type Touches<T> = BTreeMap<String, TouchedTable<T>>;

/// The records of a sweep.
#[derive(Debug)]
pub struct Climbed<T: Table> {
    /// The rows themselves and their ancestors.
    pub records: Vec<RecordKey>,
    /// Of the ancestors, those with timestamps.
    pub touches: Touches<T>,
    /// Whether any level was told by a query, so that it may have changed meanwhile.
    pub queried: bool,
}

impl<T: Table> Default for Climbed<T> {
    fn default() -> Self {
        Self { records: Vec::new(), touches: Touches::new(), queried: false }
    }
}

impl<T: Table> Climbed<T> {
    /// Adds rows to be touched.
    pub fn touch_also(&mut self, touches: Touches<T>) {
        for (table, (entity, rows)) in touches {
            self.touches.entry(table).or_insert_with(|| (entity, BTreeMap::new())).1.extend(rows);
        }
    }

    /// Takes out rows that were touched already.
    pub fn touched(&mut self, records: &[RecordKey]) {
        self.touches_but(|record| records.contains(record));
    }

    /// The part of `self` that `known` lacks.
    #[must_use]
    pub fn beyond(mut self, known: &Self) -> Self {
        let known: HashSet<&RecordKey> = known.records.iter().collect();
        self.records.retain(|record| !known.contains(record));
        self.touches_but(|record| known.contains(record));
        self
    }

    fn touches_but(&mut self, done: impl Fn(&RecordKey) -> bool) {
        for (_, rows) in self.touches.values_mut() {
            rows.retain(|record, _| !done(record));
        }
        self.touches.retain(|_, (_, rows)| !rows.is_empty());
    }
}

/// Parents of one table by one set of columns: where a climb goes on, and what is locked ahead of a write.
pub type Level<V> = BTreeMap<(String, Vec<String>), BTreeMap<RecordKey, Vec<V>>>;

struct Climb<'a, S, R: Rows> {
    sweeper: &'a S,
    rows: R,
    seen: HashSet<RecordKey>,
    /// Rows whose own parents have been followed.
    went_up: HashSet<RecordKey>,
    climbed: Climbed<R::Table>,
}

/// Finds everything that a write on these rows invalidates.
///
/// # Errors
///
/// Those of the queries.
pub async fn climb<S: Face, R: Rows>(sweeper: &S, rows: R, seeds: &[Seed<ValueOf<R>>]) -> Result<Climbed<R::Table>, R::Error> {
    let mut climb = Climb { sweeper, rows, seen: HashSet::new(), went_up: HashSet::new(), climbed: Climbed::default() };
    let mut level = Level::new();
    for seed in seeds {
        match &seed.key {
            Some(key) => climb.add(key.clone()),
            // The row has no name yet, but the collection it joins has.
            None if sweeper.graph().table(seed.entity.name()).is_some_and(|node| node.collection) => {
                climb.add(RecordKey::collection(seed.entity.name()));
            }
            None => {}
        }
        if let Some(table) = seed.entity.adapter::<R::Table>() {
            add_parents(sweeper.graph(), table, &seed.parents, &mut level);
        }
    }
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        level = climb.level(level, depth).await?;
    }
    Ok(climb.climbed)
}

/// Puts a row's registered parents on a level.
fn add_parents<T: Table>(graph: &Graph, table: &T, parents: &[(usize, Vec<T::Value>)], level: &mut Level<T::Value>) {
    for (position, values) in parents {
        let Some(Parent { entity, to, .. }) = table.parents().get(*position) else { continue };
        if graph.table(entity).is_some() {
            let rows = level.entry((entity.clone(), to.clone())).or_default();
            rows.insert(T::record(entity, values), values.clone());
        }
    }
}

/// The parents of these rows that have timestamps, and so will be touched.
pub fn timestamped_parents<T: Table>(graph: &Graph, seeds: &[Seed<T::Value>]) -> Level<T::Value> {
    let mut level = Level::new();
    for seed in seeds {
        if let Some(table) = seed.entity.adapter::<T>() {
            add_parents(graph, table, &seed.parents, &mut level);
        }
    }
    level.retain(|(table, _), _| graph.table(table).is_some_and(|node| node.strategy == Strategy::UpdatedAt));
    level
}

/// The changed rows themselves, as rows to be touched. `keys` reads a record's primary key back.
pub fn own_touches<T: Table>(seeds: &[Seed<T::Value>], keys: impl Fn(&T, &RecordKey) -> Option<Vec<T::Value>>) -> Touches<T> {
    let mut touches = Touches::new();
    for seed in seeds.iter().filter(|seed| seed.entity.info().strategy == Strategy::UpdatedAt) {
        let Some(table) = seed.entity.adapter::<T>() else { continue };
        let Some((record, key)) = seed.key.as_ref().and_then(|record| Some((record, keys(table, record)?))) else { continue };
        let (_, rows) = touches.entry(seed.entity.name().to_owned()).or_insert_with(|| (table, BTreeMap::new()));
        rows.insert(record.clone(), key);
    }
    touches
}

impl<S: Face, R: Rows> Climb<'_, S, R> {
    fn add(&mut self, record: RecordKey) {
        if self.seen.insert(record.clone()) {
            self.climbed.records.push(record);
        }
    }

    async fn level(&mut self, level: Level<ValueOf<R>>, depth: u32) -> Result<Level<ValueOf<R>>, R::Error> {
        let mut next = Level::new();
        for ((name, columns), mut rows) in level {
            let Some(node) = self.sweeper.graph().table(&name) else { continue };
            if node.cyclic && depth > node.max_depth {
                self.beyond_the_bound(node, rows.keys().next());
                continue;
            }
            let Some(table) = node.adapter::<R::Table>() else {
                // Known to another ORM only: `Graph` refuses that, so this is a graph of one's own. When in doubt, invalidate more.
                rows.into_keys().for_each(|record| self.add(record));
                continue;
            };
            let direct = table.is_primary_key(&columns) && rows.values().all(|values| table.is_exact(&columns, values));
            if direct {
                // Recorded, and touched, also if it is itself among the saved rows (whose own save may have failed), or is not
                // seen by this transaction.
                for (record, key) in &rows {
                    self.found(node, table, record.clone(), key.clone());
                }
                if node.parents.is_empty() {
                    continue;
                }
                rows.retain(|record, _| !self.went_up.contains(record));
            }
            if rows.is_empty() {
                continue;
            }
            self.climbed.queried = true;
            for Row { record, key, parents } in self.rows.find(table, &columns, rows.into_values().collect()).await? {
                self.found(node, table, record.clone(), key);
                if self.went_up.insert(record) {
                    add_parents(self.sweeper.graph(), table, &parents, &mut next);
                }
            }
        }
        Ok(next)
    }

    fn beyond_the_bound(&mut self, node: &Node, example: Option<&RecordKey>) {
        if let Some(record) = example {
            self.sweeper.report_depth(record, node.max_depth);
        }
        for whole in self.sweeper.graph().wholes_above(node.name()) {
            self.add(whole);
        }
    }

    fn found(&mut self, node: &Node, table: &'static R::Table, record: RecordKey, key: Vec<ValueOf<R>>) {
        self.add(record.clone());
        if node.strategy == Strategy::UpdatedAt {
            let (_, rows) = self.climbed.touches.entry(node.name().to_owned()).or_insert_with(|| (table, BTreeMap::new()));
            rows.insert(record, key);
        }
    }
}

/// The positions of the columns that tell a row's place: its primary key and its foreign keys.
pub fn key_columns(primary_key: &[usize], parents: &[Parent]) -> BTreeSet<usize> {
    primary_key.iter().chain(parents.iter().flat_map(|parent| &parent.from)).copied().collect()
}
