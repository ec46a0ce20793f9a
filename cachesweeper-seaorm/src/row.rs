//! A row under save, as its ActiveModel or its model tells of it; and the version that a save gives it.

use cachesweeper_core::Sweeper;
use cachesweeper_core::face::Face;
use sea_orm::{ActiveModelTrait, ActiveValue, ConnectionTrait, DbErr, EntityTrait, IdenStatic, Iterable, ModelTrait, Value};

use crate::climb::Seed;
use crate::describe::{SeaEntity, SweepEntity};
use crate::in_flight::{Expected, Stamp, Verb};
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
    pub(crate) fn expected(&self, verb: Verb, moves: bool, stamp: Option<Stamp>) -> Expected {
        let columns = <A::Entity as EntityTrait>::Column::iter();
        let set = columns.filter_map(|column| match self.am.get(column) {
            ActiveValue::Set(value) if verb != Verb::Delete => Some(value),
            _ => None,
        });
        let values = set.chain(self.key().unwrap_or_default()).collect();
        let row = if verb == Verb::Insert { None } else { self.key() };
        Expected { verb, schema: self.sea.schema.clone(), table: self.sea.table_name.clone(), values, row, moves, stamp }
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

/// Gives the row's own strategy column a value that rises. Returns it if another save of the row at the same moment may make the
/// same one: so it is if it was not the clock that made it, but the value before, and the row is not locked.
pub(crate) async fn stamp<A, C>(
    am: &mut A,
    sea: &'static SeaEntity,
    sweeper: &Sweeper,
    db: &C,
    insert: bool,
    locked: bool,
) -> Result<Option<Stamp>, DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let Some(strategy) = &sea.strategy else { return Ok(None) };
    let Some(column) = Row::<A>::column(strategy.name) else { return Ok(None) };
    let wanted = match am.get(column) {
        ActiveValue::Set(value) => strategy.micros(value),
        ActiveValue::Unchanged(_) | ActiveValue::NotSet => None,
    };
    // Never before now, whatever the caller says: a version tells when the row was last written.
    let now = sweeper.now();
    let least = wanted.map_or(now, |wanted| wanted.max(now));
    let tick = Adapter::of(sweeper).ticks.of(sweeper, db, sea).await?;
    let old = match am.get(column) {
        _ if insert => None,
        // Where it is the clock that makes values, a copy in hand may be old. Where it is the value before, as in a coarse column, which
        // is soon ahead of the clock, an old copy would make a value that was given already.
        ActiveValue::Unchanged(value) if tick.0 == 1 && strategy.micros(value.clone()).is_none_or(|old| old < now) => {
            strategy.micros(value)
        }
        _ => match (Row { am, sea }).key() {
            Some(key) => current_stamp(db, <A::Entity as SweepEntity>::entity(), &key, locked).await?,
            None => None,
        },
    };
    let at = rising(least, old, tick);
    am.try_set(column, stamp_value(sea, strategy, at)?)?;
    let unsure = !insert && !locked && at > now;
    Ok(if unsure { am.get(column).into_value().map(|value| Stamp { at, value }) } else { None })
}
