//! A row under save, as its ActiveModel or its model tells of it; and the version that a save gives it.

use cachesweeper_core::Sweeper;
use cachesweeper_core::face::Face;
use sea_orm::{ActiveModelTrait, ActiveValue, ConnectionTrait, DbErr, EntityTrait, IdenStatic, Iterable, ModelTrait, Value};

use crate::climb::Seed;
use crate::describe::{SeaEntity, SweepEntity};
use crate::in_flight::{Expected, Verb};
use crate::touch::{Adapter, current_stamp, rising, stamp_value};
use crate::value::{is_null, record_key};

/// A model under save, column by column.
pub(crate) struct Row<'a, A> {
    pub(crate) am: &'a A,
    pub(crate) sea: &'static SeaEntity,
}

impl<A> Row<'_, A>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
{
    fn column(name: &str) -> Option<<A::Entity as EntityTrait>::Column> {
        <A::Entity as EntityTrait>::Column::iter().find(|column| column.as_str() == name)
    }

    pub(crate) fn get(&self, position: usize) -> ActiveValue<Value> {
        Self::column(self.sea.columns[position].name).map_or(ActiveValue::NotSet, |column| self.am.get(column))
    }

    /// Whether a save would write anything but skipped columns.
    pub(crate) fn changes(&self) -> bool {
        (0..self.sea.columns.len()).any(|position| !self.sea.columns[position].skip && self.get(position).is_set())
    }

    /// Whether a save would write a foreign key, so that the row may move.
    pub(crate) fn may_move(&self) -> bool {
        self.sea.parents.iter().flat_map(|parent| &parent.from).any(|&position| self.get(position).is_set())
    }

    pub(crate) fn key(&self) -> Option<Vec<Value>> {
        self.sea.primary_key.iter().map(|&position| self.get(position).into_value()).collect()
    }

    /// The row as it is in hand: its key and foreign keys, as far as they are known.
    pub(crate) fn seed(&self) -> Seed {
        let entity = <A::Entity as SweepEntity>::entity();
        let known = |&position: &usize| self.get(position).into_value().filter(|value| !is_null(value));
        let parents = self.sea.parents.iter().enumerate();
        let parents = parents.filter_map(|(at, parent)| Some((at, parent.from.iter().map(known).collect::<Option<Vec<_>>>()?)));
        Seed { entity, key: self.key().map(|key| record_key(entity.name(), &key)), parents: parents.collect() }
    }

    /// What the statement of this save looks like: it carries what is set, and the key.
    pub(crate) fn expected(&self, verb: Verb, moves: bool) -> Expected {
        let columns = <A::Entity as EntityTrait>::Column::iter();
        let set = columns.filter_map(|column| match self.am.get(column) {
            ActiveValue::Set(value) if verb != Verb::Delete => Some(value),
            _ => None,
        });
        let values = set.chain(self.key().unwrap_or_default()).collect();
        let row = if verb == Verb::Insert { None } else { self.key() };
        Expected { verb, schema: self.sea.schema.clone(), table: self.sea.table_name.clone(), values, row, moves }
    }
}

pub(crate) fn sea<E: SweepEntity>() -> Result<&'static SeaEntity, DbErr> {
    E::entity().adapter::<SeaEntity>().ok_or_else(|| DbErr::Custom(format!("{} was not registered by SeaORM's derive", E::entity().name())))
}

pub(crate) fn seed_of_model<M>(model: &M, sea: &SeaEntity) -> Seed
where
    M: ModelTrait,
    M::Entity: SweepEntity,
{
    let entity = <M::Entity as SweepEntity>::entity();
    let column = |position: usize| <M::Entity as EntityTrait>::Column::iter().find(|column| column.as_str() == sea.columns[position].name);
    let get = |&position: &usize| column(position).map(|column| model.get(column));
    let key: Option<Vec<Value>> = sea.primary_key.iter().map(get).collect();
    let known = |position: &usize| get(position).filter(|value| !is_null(value));
    let parents = sea.parents.iter().enumerate();
    let parents = parents.filter_map(|(at, parent)| Some((at, parent.from.iter().map(known).collect::<Option<Vec<_>>>()?)));
    Seed { entity, key: key.map(|key| record_key(entity.name(), &key)), parents: parents.collect() }
}

/// Gives the row's own strategy column a value that rises.
pub(crate) async fn stamp<A, C>(
    am: &mut A,
    sea: &'static SeaEntity,
    sweeper: &Sweeper,
    db: &C,
    insert: bool,
    locked: bool,
) -> Result<(), DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let Some(strategy) = &sea.strategy else { return Ok(()) };
    let Some(column) = Row::<A>::column(strategy.name) else { return Ok(()) };
    let wanted = match am.get(column) {
        ActiveValue::Set(value) => strategy.micros(value),
        ActiveValue::Unchanged(_) | ActiveValue::NotSet => None,
    };
    // Never before now, whatever the caller says: a version tells when the row was last written.
    let least = wanted.map_or(sweeper.now(), |wanted| wanted.max(sweeper.now()));
    let tick = Adapter::of(sweeper).ticks.of(sweeper, db, sea).await?;
    let old = match am.get(column) {
        _ if insert => None,
        // A coarse column is soon ahead of the clock, so a copy in hand may be behind values that were given already.
        ActiveValue::Unchanged(value) if tick.0 == 1 => strategy.micros(value),
        _ => match (Row { am, sea }).key() {
            Some(key) => current_stamp(db, <A::Entity as SweepEntity>::entity(), &key, locked).await?,
            None => None,
        },
    };
    let value = stamp_value(sea, strategy, rising(least, old, tick))?;
    am.try_set(column, value)
}
