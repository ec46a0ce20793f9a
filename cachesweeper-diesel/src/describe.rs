//! What an entity's derive tells, and what the sweeper makes of it.

use cachesweeper_core::climb::{self, Parent, Row, Seed, key_columns};
use cachesweeper_core::registry::{Entity, EntityInfo, ParentLink};
use cachesweeper_core::{CacheSweep, RecordKey, Strategy};
use diesel::query_source::QuerySource;
use diesel::{Column, Table};

use crate::sql::{Dialect, Kind, Sql, TextRow, canonical};
use crate::value::{KeyType, VersionType};

/// A row struct that derives `CacheSweep`. Written by the derive.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is listed as a parent, but does not derive `CacheSweep`",
    label = "derive `CacheSweep` on `{Self}`, or take it off the list",
    note = "without a list every `belongs_to` parent that derives `CacheSweep` is swept"
)]
pub trait SweepModel: CacheSweep {
    /// Its table.
    type Table: Table;
    /// The columns of its primary key.
    const PRIMARY_KEY: &'static [&'static str];
}

/// A table whose rows are versioned by the model `M`. Written by the derive.
#[diagnostic::on_unimplemented(
    message = "no model of the table `{Self}` derives `CacheSweep`, so what this write changes cannot be invalidated",
    label = "derive `CacheSweep` on the struct that this table's rows are loaded as, or write with Diesel's own functions"
)]
pub trait SweepTable<M>: Table {
    /// The table's entry in the registry.
    fn entity() -> &'static Entity;
}

/// What the derive read from the struct.
pub struct Declared {
    /// The struct's path.
    pub model: &'static str,
    /// Its columns, in its order.
    pub columns: Vec<SweepColumn>,
    /// The columns of its primary key, by name.
    pub primary_key: &'static [&'static str],
    /// The column named by `using`, and whether it has a zone.
    pub strategy: Option<(&'static str, bool)>,
    /// The relations to parents: none to one that does not derive `CacheSweep`.
    pub parents: Vec<Option<Declaration>>,
    /// Whether they were listed in `parents(…)`.
    pub listed: bool,
    /// `collection`.
    pub collection: bool,
    /// `max_depth`.
    pub max_depth: Option<u32>,
}

/// One column of a struct.
#[derive(Debug)]
pub struct SweepColumn {
    /// Its name in the database.
    pub name: &'static str,
    /// For columns of keys: their kind. The derive tells that of the primary key, [`Declaration`]s that of foreign ones.
    pub key: Option<Kind>,
    /// Whether it is left out of the digest, and a write of it alone sweeps nothing.
    pub skip: bool,
}

/// A `belongs_to`.
#[derive(Debug)]
pub struct Declaration {
    /// The parent's table.
    pub table: String,
    /// The parent's primary key.
    pub primary_key: &'static [&'static str],
    /// The foreign key.
    pub foreign_key: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// Finds a parent that derives `CacheSweep`, for `belongs_to` relations that are not listed. The compiler prefers it to
/// [`NoParent`] because it is implemented for one reference more.
///
/// That the foreign key can be one is asked of the method, not of the implementation: otherwise a key of another type would
/// silently be none, as if the parent was not there.
pub trait SweptParent<C: Column> {
    /// The relation.
    fn declaration(&self) -> Option<Declaration>
    where
        C::SqlType: KeyType;
}

/// A `belongs_to` relation: to the model `M`, by the foreign key `C`.
pub struct Target<M, C>(pub std::marker::PhantomData<(M, C)>);

impl<M, C> SweptParent<C> for &Target<M, C>
where
    M: SweepModel,
    C: Column,
    FromClause<M::Table>: NamedTable,
{
    fn declaration(&self) -> Option<Declaration>
    where
        C::SqlType: KeyType,
    {
        Some(listed_parent::<M, C>())
    }
}

/// Leaves a parent without the derive out.
pub trait NoParent {
    /// No relation.
    fn declaration(&self) -> Option<Declaration>;
}

impl<M, C> NoParent for Target<M, C> {
    fn declaration(&self) -> Option<Declaration> {
        None
    }
}

/// The relation to a parent that was listed in `#[sweep(parents(…))]`.
pub fn listed_parent<M, C>() -> Declaration
where
    M: SweepModel,
    C: Column,
    C::SqlType: KeyType,
    FromClause<M::Table>: NamedTable,
{
    Declaration {
        table: FromClause::<M::Table>::parts().join("."),
        primary_key: M::PRIMARY_KEY,
        foreign_key: C::NAME,
        kind: key_kind::<C>(),
    }
}

type FromClause<T> = <T as QuerySource>::FromClause;

/// A table that tells its name: all that `table!` makes. Diesel tells it to backends only, so one of them is asked.
pub trait NamedTable {
    /// Its name, after its schema's if it has one.
    fn parts() -> Vec<String>;
}

/// A backend to render a table's name with: whichever is there.
#[cfg(feature = "sqlite")]
type Any = diesel::sqlite::Sqlite;
#[cfg(all(feature = "postgres_backend", not(feature = "sqlite")))]
type Any = diesel::pg::Pg;
#[cfg(all(feature = "mysql_backend", not(feature = "sqlite"), not(feature = "postgres_backend")))]
type Any = diesel::mysql::Mysql;

#[cfg(any(feature = "sqlite", feature = "postgres_backend", feature = "mysql_backend"))]
impl<T> NamedTable for diesel::internal::table_macro::StaticQueryFragmentInstance<T>
where
    Self: diesel::query_builder::QueryFragment<Any>,
{
    fn parts() -> Vec<String> {
        use diesel::query_builder::{QueryBuilder, QueryFragment};
        let mut out = <Any as diesel::backend::Backend>::QueryBuilder::default();
        let rendered = Self::new().to_sql(&mut out, &Any::default()).map(|()| out.finish()).unwrap_or_default();
        crate::anatomy::parts(&rendered).unwrap_or_else(|| vec![rendered])
    }
}

#[cfg(not(any(feature = "sqlite", feature = "postgres_backend", feature = "mysql_backend")))]
impl<T> NamedTable for diesel::internal::table_macro::StaticQueryFragmentInstance<T> {
    fn parts() -> Vec<String> {
        // Without a backend there is no connection, and nothing to sweep.
        vec![std::any::type_name::<T>().to_owned()]
    }
}

/// What the sweeper knows of an entity beside the registry.
#[derive(Debug)]
pub(crate) struct DieselEntity {
    pub(crate) name: String,
    schema: Option<String>,
    table: String,
    pub(crate) columns: Vec<SweepColumn>,
    pub(crate) primary_key: Vec<usize>,
    parents: Vec<Parent>,
    pub(crate) strategy: Option<StrategyColumn>,
}

/// The timestamp column that is a record's version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StrategyColumn {
    pub(crate) name: &'static str,
    pub(crate) zoned: bool,
}

impl DieselEntity {
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(crate) fn table_name(&self) -> &str {
        &self.table
    }

    /// The table in quotes.
    pub(crate) fn quoted(&self, dialect: Dialect) -> String {
        dialect.quote_table(self.schema(), &self.table)
    }

    /// The columns that tell where a row is, in the order in which they are selected.
    pub(crate) fn keys(&self) -> Vec<(&'static str, Kind)> {
        let columns = key_columns(&self.primary_key, &self.parents);
        columns.into_iter().filter_map(|at| Some((self.columns[at].name, self.columns[at].key?))).collect()
    }

    pub(crate) fn primary_key(&self) -> Vec<(&'static str, Kind)> {
        self.primary_key.iter().filter_map(|&at| Some((self.columns[at].name, self.columns[at].key?))).collect()
    }

    /// Whether a column tells where a row is.
    pub(crate) fn is_key(&self, column: &str) -> bool {
        self.keys().iter().any(|(name, _)| *name == column)
    }

    /// Whether a write of this column sweeps: all do but those that are skipped. A column that the struct has not does.
    pub(crate) fn sweeps(&self, column: &str) -> bool {
        !self.columns.iter().any(|known| known.name == column && known.skip)
    }

    /// The expressions of [`keys`](Self::keys), as text.
    pub(crate) fn key_expressions(&self, dialect: Dialect) -> Vec<String> {
        self.keys().iter().map(|(name, kind)| dialect.as_text(*kind, &dialect.quote(name))).collect()
    }

    /// `SELECT <keys> FROM <table>`
    pub(crate) fn select_keys(&self, dialect: Dialect) -> Sql {
        Sql::new(format!("SELECT {} FROM {}", self.key_expressions(dialect).join(", "), self.quoted(dialect)))
    }

    /// Reads what [`key_expressions`](Self::key_expressions) gave. `None` if a part of the primary key is missing.
    pub(crate) fn read(&self, TextRow(values): &TextRow) -> Option<Row<String>> {
        let keys = self.keys();
        let value = |name: &str| {
            let at = keys.iter().position(|(key, _)| *key == name)?;
            Some(canonical(keys[at].1, values.get(at)?.clone()?))
        };
        let key: Option<Vec<String>> = self.primary_key().iter().map(|(name, _)| value(name)).collect();
        let parents = self.parents.iter().enumerate().filter_map(|(position, parent)| {
            let values: Option<Vec<String>> = parent.from.iter().map(|&at| value(self.columns[at].name)).collect();
            Some((position, values?))
        });
        let (parents, key) = (parents.collect(), key?);
        Some(Row { record: RecordKey::composite(&self.name, &key), key, parents })
    }

    /// The foreign keys in hand, for a row whose own key is not known.
    pub(crate) fn parents_of(&self, value: impl Fn(&str) -> Option<String>) -> Vec<(usize, Vec<String>)> {
        let parents = self.parents.iter().enumerate().filter_map(|(position, parent)| {
            let values: Option<Vec<String>> = parent.from.iter().map(|&at| value(self.columns[at].name)).collect();
            Some((position, values?))
        });
        parents.collect()
    }

    /// The primary key that a record key names.
    pub(crate) fn parse_key(&self, record: &RecordKey) -> Option<Vec<String>> {
        let parts: Vec<String> = record.id().map(|part| part.into_owned()).collect();
        (parts.len() == self.primary_key.len() && record.is_row()).then_some(parts)
    }
}

impl climb::Table for DieselEntity {
    type Value = String;

    fn parents(&self) -> &[Parent] {
        &self.parents
    }

    fn is_primary_key(&self, columns: &[String]) -> bool {
        let key = self.primary_key();
        columns.len() == key.len() && columns.iter().zip(key).all(|(column, (name, _))| column == name)
    }

    fn is_exact(&self, columns: &[String], _: &[String]) -> bool {
        let exact = |column: &String| self.keys().iter().any(|(name, kind)| name == column && *kind != Kind::Text);
        columns.iter().all(exact)
    }

    fn record(entity: &str, values: &[String]) -> RecordKey {
        RecordKey::composite(entity, values)
    }
}

pub(crate) fn seed(entity: &'static Entity, row: Row<String>) -> Seed<String> {
    Seed { entity, key: Some(row.record), parents: row.parents }
}

/// The registry's entry for an entity.
pub fn describe<T>(declared: Declared) -> EntityInfo
where
    T: Table,
    FromClause<T>: NamedTable,
{
    let mut parts = FromClause::<T>::parts();
    let name = parts.join(".");
    let table = parts.pop().unwrap_or_default();
    let schema = parts.pop();
    let mut columns = declared.columns;
    let position = |columns: &[SweepColumn], name: &str| columns.iter().position(|column| column.name == name);
    let mut problems = Vec::new();
    let mut parents = Vec::new();
    for parent in declared.parents.iter().flatten() {
        match (position(&columns, parent.foreign_key), parent.primary_key) {
            (Some(from), [to]) => {
                columns[from].key = Some(parent.kind);
                parents.push(Parent { entity: parent.table.clone(), from: vec![from], to: vec![(*to).to_owned()] });
            }
            (_, primary_key) => problems.push(format!(
                "the parent `{}` has a primary key of {} columns, to which `{}` alone cannot point. Leave it out: #[sweep(parents(…))]",
                parent.table,
                primary_key.len(),
                parent.foreign_key
            )),
        }
    }
    let links = parents.iter().map(|parent| {
        let foreign_key = parent.from.iter().map(|&at| columns[at].name.to_owned()).collect();
        ParentLink { entity: parent.entity.clone(), columns: foreign_key, listed: declared.listed }
    });
    let info = EntityInfo {
        name: name.clone(),
        orm: "Diesel",
        model: declared.model,
        strategy: if declared.strategy.is_some() { Strategy::UpdatedAt } else { Strategy::Counter },
        collection: declared.collection,
        skipped: columns.iter().filter(|column| column.skip).map(|column| column.name.to_owned()).collect(),
        max_depth: declared.max_depth,
        parents: links.collect(),
        problems,
        adapter: None,
    };
    let adapter = DieselEntity {
        primary_key: declared.primary_key.iter().filter_map(|name| position(&columns, name)).collect(),
        strategy: declared.strategy.map(|(name, zoned)| StrategyColumn { name, zoned }),
        columns,
        name,
        schema,
        table,
        parents,
    };
    // One per entity, for the program's life: the registry's entries are statics.
    EntityInfo { adapter: Some(Box::leak(Box::new(adapter))), ..info }
}

/// The name of a column in the database.
pub const fn column_name<C: Column>() -> &'static str {
    C::NAME
}

/// The kind of a key's column.
pub fn key_kind<C>() -> Kind
where
    C: Column,
    C::SqlType: KeyType,
{
    <C::SqlType as KeyType>::KIND
}

/// Whether a version's column has a zone.
pub fn zoned<C>() -> bool
where
    C: Column,
    C::SqlType: VersionType,
{
    <C::SqlType as VersionType>::ZONED
}
