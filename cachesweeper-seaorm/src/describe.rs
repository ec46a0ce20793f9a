//! What an entity's derive tells, and what the sweeper makes of it: columns that can be read without the model's type,
//! relations to parents, and the strategy column.

use std::fmt;

use cachesweeper_core::climb::Parent;
use cachesweeper_core::digest::TimestampColumn;
use cachesweeper_core::registry::{Entity, EntityInfo, ParentLink};
use cachesweeper_core::{Micros, RecordKey, Strategy};
use sea_orm::sea_query::{ArrayType, Expr, SimpleExpr, ValueType};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, IdenStatic, Identity, Iterable, PrimaryKeyToColumn, QueryResult, RelationDef, RelationTrait,
    TryGetable, Value,
};

/// A SeaORM entity that derives `CacheSweep`. Written by the derive.
#[diagnostic::on_unimplemented(message = "`{Self}` is no CacheSweep entity", label = "derive `CacheSweep` on its model")]
pub trait SweepEntity: EntityTrait {
    /// The entity's entry in the registry.
    fn entity() -> &'static Entity;
}

/// A SeaORM entity whose version is a column of the row. Written by the derive.
pub trait VersionedEntity: SweepEntity {
    /// The type of the column that `using` names.
    type Version: TimestampColumn;
}

/// The version in a row. Through the entity, so that a wrong type is reported once, where the entity names it.
pub fn version<E: VersionedEntity>(column: &E::Version) -> Option<Micros> {
    column.micros()
}

/// What the derive read from the model.
pub struct Declared {
    /// The model's path.
    pub model: &'static str,
    /// Its columns, in its order.
    pub columns: Vec<SweepColumn>,
    /// The column named by `using`.
    pub strategy: Option<StrategyColumn>,
    /// The relations listed in `parents(…)`; `None` for all.
    pub parents: Option<Vec<RelationDef>>,
    /// `collection`.
    pub collection: bool,
    /// `max_depth`.
    pub max_depth: Option<u32>,
}

type Read<T> = Box<dyn Fn(&QueryResult, &str) -> Result<T, DbErr> + Send + Sync>;

/// One column of a model.
pub struct SweepColumn {
    pub(crate) name: &'static str,
    /// Whether it is left out of the digest, and a save of it alone sweeps nothing.
    pub(crate) skip: bool,
    read: Read<Value>,
    select: Box<dyn Fn(SimpleExpr) -> SimpleExpr + Send + Sync>,
    save: Box<dyn Fn(SimpleExpr) -> SimpleExpr + Send + Sync>,
    kind: ArrayType,
}

impl SweepColumn {
    /// The column `column`, of a field of type `T`.
    pub fn new<C, T>(column: C, skip: bool) -> Self
    where
        C: ColumnTrait + Send + Sync + 'static,
        T: TryGetable + Into<Value> + ValueType,
    {
        Self {
            kind: T::array_type(),
            name: column.as_str(),
            skip,
            read: Box::new(|row, name| row.try_get::<T>("", name).map(Into::into)),
            select: Box::new(move |expr| column.select_as(expr)),
            save: Box::new(move |expr| column.save_as(Expr::expr(expr))),
        }
    }

    /// Its value in a row that was selected under its own name.
    pub(crate) fn read(&self, row: &QueryResult) -> Result<Value, DbErr> {
        (self.read)(row, self.name)
    }

    /// Reads a part of a record key back.
    fn parse(&self, text: &str) -> Option<Value> {
        Some(match self.kind {
            ArrayType::TinyInt => text.parse::<i8>().ok()?.into(),
            ArrayType::SmallInt => text.parse::<i16>().ok()?.into(),
            ArrayType::Int => text.parse::<i32>().ok()?.into(),
            ArrayType::BigInt => text.parse::<i64>().ok()?.into(),
            ArrayType::TinyUnsigned => text.parse::<u8>().ok()?.into(),
            ArrayType::SmallUnsigned => text.parse::<u16>().ok()?.into(),
            ArrayType::Unsigned => text.parse::<u32>().ok()?.into(),
            ArrayType::BigUnsigned => text.parse::<u64>().ok()?.into(),
            ArrayType::Bool => text.parse::<bool>().ok()?.into(),
            ArrayType::String | ArrayType::Char => text.into(),
            #[cfg(feature = "uuid")]
            ArrayType::Uuid => text.parse::<sea_orm::prelude::Uuid>().ok()?.into(),
            _ => return None,
        })
    }

    pub(crate) fn selected(&self) -> SimpleExpr {
        (self.select)(Expr::col(sea_orm::sea_query::Alias::new(self.name)))
    }

    pub(crate) fn saved(&self, value: Value) -> SimpleExpr {
        (self.save)(Expr::val(value))
    }
}

/// The timestamp column that is a record's version.
pub struct StrategyColumn {
    pub(crate) name: &'static str,
    read: Read<Option<Micros>>,
    of_value: Box<dyn Fn(Value) -> Option<Micros> + Send + Sync>,
    to_value: fn(Micros) -> Option<Value>,
    pub(crate) zoned: bool,
}

impl StrategyColumn {
    /// The column `column` of the entity `E`.
    pub fn of<E>(column: E::Column) -> Self
    where
        E: VersionedEntity,
        E::Version: TryGetable + Into<Value> + ValueType,
    {
        let zoned = matches!(column.def().get_column_type(), sea_orm::ColumnType::TimestampWithTimeZone);
        Self {
            name: column.as_str(),
            read: Box::new(|row, name| row.try_get::<Option<E::Version>>("", name).map(|value| value.and_then(|value| value.micros()))),
            of_value: Box::new(|value| <E::Version as ValueType>::try_from(value).ok()?.micros()),
            to_value: |micros| E::Version::from_micros(micros).map(Into::into),
            zoned,
        }
    }

    pub(crate) fn read(&self, row: &QueryResult) -> Result<Option<Micros>, DbErr> {
        (self.read)(row, self.name)
    }

    pub(crate) fn micros(&self, value: Value) -> Option<Micros> {
        (self.of_value)(value)
    }

    pub(crate) fn value(&self, micros: Micros) -> Option<Value> {
        (self.to_value)(micros)
    }
}

/// What the sweeper knows of an entity beside the registry.
pub(crate) struct SeaEntity {
    pub(crate) table: sea_orm::sea_query::TableRef,
    pub(crate) table_name: String,
    pub(crate) schema: Option<String>,
    pub(crate) columns: Vec<SweepColumn>,
    pub(crate) primary_key: Vec<usize>,
    pub(crate) parents: Vec<Parent>,
    pub(crate) strategy: Option<StrategyColumn>,
}

impl SeaEntity {
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The primary key that a record key names.
    pub(crate) fn parse_key(&self, record: &RecordKey) -> Option<Vec<Value>> {
        let parts: Vec<_> = record.id().collect();
        if parts.len() != self.primary_key.len() {
            return None;
        }
        self.primary_key.iter().zip(parts).map(|(&column, part)| self.columns[column].parse(&part)).collect()
    }
}

impl fmt::Debug for SeaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaEntity").field("table", &self.table_name).field("parents", &self.parents).finish_non_exhaustive()
    }
}

/// `table`, or `schema.table`.
pub(crate) fn entity_name(schema: Option<&str>, table: &str) -> String {
    match schema {
        Some(schema) => format!("{schema}.{table}"),
        None => table.to_owned(),
    }
}

fn table_of(table: &sea_orm::sea_query::TableRef) -> Option<String> {
    match table {
        sea_orm::sea_query::TableRef::Table(name, _) => {
            let schema = name.0.as_ref().map(|schema| schema.1.to_string());
            Some(entity_name(schema.as_deref(), &name.1.to_string()))
        }
        _ => None,
    }
}

fn names(identity: &Identity) -> Vec<String> {
    identity.iter().map(ToString::to_string).collect()
}

/// What the derive cannot see: in the compact and the expanded format the relations are an enum of their own, in the expanded
/// one the primary key is too. In the dense format most of these are compile errors.
fn problems(declared: &Declared, relations: &[RelationDef], primary_key: &[usize], parents: &[Parent]) -> Vec<String> {
    let mut problems = Vec::new();
    for relation in relations {
        let table = table_of(&relation.to_tbl).unwrap_or_else(|| format!("{:?}", relation.to_tbl));
        if relation.is_owner {
            problems.push(format!(
                "#[sweep(parents(…))] lists the relation to `{table}`, which is no belongs_to relation, so `{table}` is no parent"
            ));
        } else if parent_of(relation, &declared.columns).is_none() {
            let columns = names(&relation.from_col).join(", ");
            problems.push(format!(
                "the parent `{table}` cannot be swept, because its foreign key ({columns}) is no column of this model, or it is no plain \
                 table. Add the column, or leave the relation out: #[sweep(parents(…))]"
            ));
        }
    }
    let skips = |position: &&usize| declared.columns[**position].skip;
    for &position in primary_key.iter().filter(skips) {
        let column = declared.columns[position].name;
        problems
            .push(format!("`{column}` is the primary key, which names the record, so it cannot be skipped: take #[sweep(skip)] off it"));
    }
    for parent in parents {
        for &position in parent.from.iter().filter(skips) {
            let (column, table) = (declared.columns[position].name, &parent.entity);
            problems.push(format!(
                "`{column}` names the parent `{table}`, so it cannot be skipped: take #[sweep(skip)] off it. If `{table}` is not to be swept, \
                 leave it out: #[sweep(parents(…))]"
            ));
        }
    }
    problems
}

fn parent_of(relation: &RelationDef, columns: &[SweepColumn]) -> Option<Parent> {
    let column = |name: &String| columns.iter().position(|column| column.name == name);
    let from: Option<Vec<usize>> = names(&relation.from_col).iter().map(column).collect();
    Some(Parent { entity: table_of(&relation.to_tbl)?, from: from?, to: names(&relation.to_col) })
}

/// The registry's entry for an entity.
///
/// The parents are those relations of the entity that hold its own foreign key: `belongs_to`, which SeaORM tells by
/// `is_owner == false`.
pub fn describe<E: SweepEntity>(declared: Declared) -> EntityInfo {
    let entity = E::default();
    let listed = declared.parents.is_some();
    let relations = declared.parents.clone().unwrap_or_else(|| {
        let all = <E::Relation as Iterable>::iter().map(|relation| relation.def());
        all.filter(|relation| !relation.is_owner).collect()
    });
    let column = |name: &str| declared.columns.iter().position(|column| column.name == name);
    let parents: Vec<Parent> = relations.iter().filter_map(|relation| parent_of(relation, &declared.columns)).collect();
    let primary_key: Vec<usize> = <E::PrimaryKey as Iterable>::iter().filter_map(|key| column(key.into_column().as_str())).collect();
    let problems = problems(&declared, &relations, &primary_key, &parents);
    let links = parents.iter().map(|parent| {
        let columns = parent.from.iter().map(|&at| declared.columns[at].name.to_owned()).collect();
        ParentLink { entity: parent.entity.clone(), columns, listed }
    });
    let info = EntityInfo {
        name: entity_name(entity.schema_name(), entity.table_name()),
        orm: "SeaORM",
        model: declared.model,
        strategy: if declared.strategy.is_some() { Strategy::UpdatedAt } else { Strategy::Counter },
        collection: declared.collection,
        skipped: declared.columns.iter().filter(|column| column.skip).map(|column| column.name.to_owned()).collect(),
        max_depth: declared.max_depth,
        parents: links.collect(),
        problems,
        adapter: None,
    };
    let adapter = SeaEntity {
        table: entity.table_ref(),
        table_name: entity.table_name().to_owned(),
        schema: entity.schema_name().map(ToOwned::to_owned),
        columns: declared.columns,
        primary_key,
        parents,
        strategy: declared.strategy,
    };
    // One per entity, for the program's life: the registry's entries are statics.
    EntityInfo { adapter: Some(Box::leak(Box::new(adapter))), ..info }
}
