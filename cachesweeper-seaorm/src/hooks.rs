//! What happens before and after every save.
//!
//! The derive calls these from the `ActiveModelBehavior` that it writes. If you write your own, say
//! `#[sweep(hooks = "manual")]` on the model and call all four:
//!
//! ```
//! use cachesweeper_seaorm::{CacheSweep, hooks};
//! use sea_orm::entity::prelude::*;
//!
//! #[sea_orm::model]
//! #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
//! #[sea_orm(table_name = "memo")]
//! #[sweep(hooks = "manual")]
//! pub struct Model {
//!     #[sea_orm(primary_key)]
//!     pub id: i32,
//!     pub text: String,
//! }
//!
//! #[async_trait::async_trait]
//! impl ActiveModelBehavior for ActiveModel {
//!     async fn before_save<C: ConnectionTrait>(self, db: &C, insert: bool) -> Result<Self, DbErr> {
//!         // … your own checks …
//!         hooks::before_save(self, db, insert).await
//!     }
//!
//!     async fn after_save<C: ConnectionTrait>(model: Model, db: &C, insert: bool) -> Result<Model, DbErr> {
//!         hooks::after_save(model, db, insert).await
//!     }
//!
//!     async fn before_delete<C: ConnectionTrait>(self, db: &C) -> Result<Self, DbErr> {
//!         hooks::before_delete(self, db).await
//!     }
//!
//!     async fn after_delete<C: ConnectionTrait>(self, db: &C) -> Result<Self, DbErr> {
//!         hooks::after_delete(self, db).await
//!     }
//! }
//! # fn main() {}
//! ```

use cachesweeper_core::face::Face;
use cachesweeper_core::{Mark, Micros, RecordKey, Sweeper, WeakSweeper};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DatabaseConnection, DbErr, ModelTrait};

use crate::climb::{Climbed, Seed, climb, current, lock_parents};
use crate::commit::{report, settle_with};
use crate::describe::SweepEntity;
use crate::in_flight::{Ended, Expected, Save, SaveKey, Verb};
use crate::recognise::{Place, recognise};
use crate::row::{Row, sea, seed_of_model, stamp};
use crate::touch::{Adapter, touch};

fn sweeper_of(place: Place<'_>, entity: &str) -> Result<Sweeper, DbErr> {
    let known = match place {
        Place::Transaction(txn) => Some(txn.sweeper().clone()),
        Place::Connection(connection) => Some(connection.sweeper().clone()),
        Place::Database(_) | Place::PlainTransaction | Place::Unknown => Sweeper::installed(),
    };
    known.ok_or_else(|| {
        DbErr::Custom(format!(
            "`{entity}` derives CacheSweep, but this connection knows no sweeper, so nothing could be invalidated and nothing was written: \
             wrap it (`SweepConnection::new(db, sweeper)`), or call `sweeper.install()` once at start"
        ))
    })
}

/// Before an insert or update: finds what it changes, and opens holds unless a transaction's commit will.
///
/// # Errors
///
/// If no sweeper is known, if the database does not answer, or, under the policy `Abort`, if the store does not. Nothing was
/// written then.
pub async fn before_save<A, C>(mut am: A, db: &C, insert: bool) -> Result<A, DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let (sea, place) = (sea::<A::Entity>()?, recognise(db));
    let entity = <A::Entity as SweepEntity>::entity();
    let sweeper = sweeper_of(place, entity.name())?;
    let changes = insert || (Row { am: &am, sea }).changes();
    if let Some(key) = (Row { am: &am, sea }).seed().key {
        match (place, changes) {
            (Place::Transaction(txn), false) => txn.expect_nothing(key),
            (_, false) => Adapter::of(&sweeper).in_flight.expect_nothing(key, sweeper.now()),
            // What an earlier save of the row announced, but never came to.
            (Place::Transaction(txn), true) => {
                txn.was_nothing(&key);
            }
            (_, true) => {
                Adapter::of(&sweeper).in_flight.was_nothing(&key);
            }
        }
    }
    if !changes {
        return Ok(am);
    }
    let locked = matches!(place, Place::Transaction(_) | Place::PlainTransaction);
    let stamp = stamp(&mut am, sea, &sweeper, db, insert, locked).await?;

    let row = Row { am: &am, sea };
    let mut seeds = vec![row.seed()];
    let moves = !insert && row.may_move();
    // Outside a transaction nobody looks again before the write is seen, and the copy in hand may be old.
    let unsure = !insert && !sea.parents.is_empty() && !matches!(place, Place::Transaction(_));
    if let Some(key) = if unsure || moves { row.key() } else { None } {
        seeds.extend(current(db, entity, &key, locked).await?);
    }
    let verb = if insert { Verb::Insert } else { Verb::Update };
    let expected = row.expected(verb, moves, stamp);
    if matches!(place, Place::Transaction(_)) && (insert || moves) {
        lock_parents(&sweeper, db, &seeds).await?;
    }
    if let (Place::Transaction(txn), false, Some(key)) = (place, insert, row.key()) {
        txn.expect_row(entity, key);
    }
    begin(&sweeper, place, db, seeds, expected).await?;
    Ok(am)
}

/// Collects, or opens holds: what all "before" hooks end with.
async fn begin<C: ConnectionTrait>(sweeper: &Sweeper, place: Place<'_>, db: &C, seeds: Vec<Seed>, expected: Expected) -> Result<(), DbErr> {
    let Some(first) = seeds.first().cloned() else { return Ok(()) };
    match place {
        Place::Transaction(txn) => txn.collect(seeds),
        Place::Connection(_) | Place::Database(_) => {
            let connection = match place {
                Place::Connection(connection) => connection.inner(),
                Place::Database(connection) => connection,
                _ => return Ok(()),
            };
            let climbed = climb(sweeper, db, &seeds).await?;
            if matches!(place, Place::Database(_)) {
                warn_without_transaction(sweeper, &expected, &climbed);
            }
            let mark = sweeper.mark(&climbed.records).await.map_err(|error| DbErr::Custom(error.to_string()))?;
            sweeper.owe_failed(&mark);
            let key = SaveKey::of_row(&first).unwrap_or_else(|| SaveKey::of_parents(&first));
            let adapter = Adapter::of(sweeper);
            let (deadline, help) = (mark.deadline(), !climbed.touches.is_empty() || mark.has_failed());
            let id = adapter.in_flight.begin(key.clone(), Save { mark, climbed, expected, seeds }, sweeper.now());
            if help {
                tokio::spawn(watch(sweeper.downgrade(), connection.clone(), key, id, deadline));
            }
        }
        Place::PlainTransaction | Place::Unknown => mark_plain(sweeper, db, &seeds).await?,
    }
    Ok(())
}

/// Says what a `SweepConnection` would do better. Each is said once.
fn warn_without_transaction(sweeper: &Sweeper, expected: &Expected, climbed: &Climbed) {
    let table = &expected.table;
    if expected.moves && sweeper.first_time("move outside a transaction") {
        tracing::warn!(
            table,
            "a row that may move, or is deleted, was saved outside a transaction: if another save moves it in the same moment, a \
             parent in between may go stale. Use a SweepConnection, which runs such a save in a transaction"
        );
    }
    if !climbed.touches.is_empty() && sweeper.first_time("touch outside a transaction") {
        let touched: Vec<&String> = climbed.touches.keys().collect();
        tracing::warn!(
            table,
            ?touched,
            "a row below others with a timestamp column was saved outside a transaction: that column is set after the row is \
             written, and until then, or for good if this process dies in between, fragments above the row are stale. Use a \
             SweepConnection, which does both in one transaction"
        );
    }
}

/// Touches the parents of a save whose caller went away between its hooks, and delivers what could not be marked. Counters
/// that were marked need no help: their mark alone has made a new version.
async fn watch(sweeper: WeakSweeper, db: DatabaseConnection, key: SaveKey, id: u64, deadline: Micros) {
    let now = match sweeper.upgrade() {
        Some(sweeper) => sweeper.now(),
        None => return,
    };
    tokio::time::sleep(deadline.minus(now).into()).await;
    let Some(sweeper) = sweeper.upgrade() else { return };
    let adapter = Adapter::of(&sweeper);
    let Some(save) = adapter.in_flight.take(&key, id) else { return };
    let left = Climbed { records: save.climbed.records, touches: save.climbed.touches, queried: false };
    settle_with(&sweeper, &adapter, &db, left, save.mark).await;
}

/// In a transaction whose end cannot be seen: everything at once, with the long hold, and never released.
async fn mark_plain<C: ConnectionTrait>(sweeper: &Sweeper, db: &C, seeds: &[Seed]) -> Result<(), DbErr> {
    if sweeper.count_plain_write() {
        let hold = sweeper.config().plain_hold;
        tracing::warn!(
            ?hold,
            "a row was saved in a transaction whose end cannot be seen: its fragments are not cached for the whole hold, and the transaction \
             must end within it. Wrap the connection once, `SweepConnection::new(db, sweeper)`, and begin transactions on that"
        );
    }
    let climbed = climb(sweeper, db, seeds).await?;
    touch(sweeper, &Adapter::of(sweeper).ticks, db, &climbed.touches).await?;
    sweeper.mark_plain(&climbed.records).await.map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(())
}

/// After an insert or update: what the saved row shows that the row in hand did not; outside a transaction, the release.
///
/// # Errors
///
/// None: the row is written, so problems are counted and logged.
pub async fn after_save<M, C>(model: M, db: &C, insert: bool) -> Result<M, DbErr>
where
    M: ModelTrait,
    M::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let (sea, place) = (sea::<M::Entity>()?, recognise(db));
    let sweeper = sweeper_of(place, <M::Entity as SweepEntity>::entity().name())?;
    let seed = seed_of_model(&model, sea);
    let unchanged = |key: &RecordKey| match place {
        Place::Transaction(txn) => txn.was_nothing(key),
        _ => Adapter::of(&sweeper).in_flight.was_nothing(key),
    };
    if !insert && seed.key.as_ref().is_some_and(unchanged) {
        return Ok(model);
    }
    end(&sweeper, place, db, seed, if insert { Verb::Insert } else { Verb::Update }).await;
    Ok(model)
}

/// Collects, or releases: what all "after" hooks end with.
async fn end<C: ConnectionTrait>(sweeper: &Sweeper, place: Place<'_>, db: &C, seed: Seed, verb: Verb) {
    let connection = match place {
        Place::Transaction(txn) => return txn.saw_row(seed),
        Place::Connection(connection) => connection.inner().clone(),
        Place::Database(connection) => connection.clone(),
        Place::PlainTransaction | Place::Unknown => {
            if let Err(error) = mark_plain(sweeper, db, std::slice::from_ref(&seed)).await {
                report(sweeper, &[seed], &error);
            }
            return;
        }
    };
    let keys: Vec<SaveKey> = SaveKey::of_row(&seed).into_iter().chain([SaveKey::of_parents(&seed)]).collect();
    let ended = Adapter::of(sweeper).in_flight.end(&keys, verb);
    // In a task of its own: the row is written, so a caller that goes away now must not leave things half-done.
    let ending = tokio::spawn(end_save(sweeper.clone(), connection, vec![seed], ended)).await;
    if let Err(error) = ending
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// The end of a save outside a transaction.
pub(crate) async fn end_save(sweeper: Sweeper, connection: DatabaseConnection, seeds: Vec<Seed>, ended: Ended) {
    let adapter = Adapter::of(&sweeper);
    let (mut mark, mut known) = (Mark::default(), Climbed::default());
    for save in ended.last {
        mark.merge(save.mark);
        known.records.extend(save.climbed.records);
    }
    let mut climbed = match climb(&sweeper, &connection, &seeds).await {
        Ok(climbed) => climbed,
        Err(error) => {
            report(&sweeper, &seeds, &error);
            Climbed::default()
        }
    };
    // Parents with timestamps are touched now, old and new: outside a transaction there was no earlier moment.
    climbed.touch_also(ended.touches.touches);
    climbed.touched(&ended.touched);
    let touches = std::mem::take(&mut climbed.touches);
    let mut beyond = climbed.beyond(&known);
    beyond.touches = touches;
    sweeper.count_sweep();
    settle_with(&sweeper, &adapter, &connection, beyond, mark).await;
}

/// Before a delete: reads the row's parents, since often only its key is in hand.
///
/// # Errors
///
/// As [`before_save`].
pub async fn before_delete<A, C>(am: A, db: &C) -> Result<A, DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let (sea, place) = (sea::<A::Entity>()?, recognise(db));
    let entity = <A::Entity as SweepEntity>::entity();
    let sweeper = sweeper_of(place, entity.name())?;
    let row = Row { am: &am, sea };
    let mut seeds = vec![row.seed()];
    if let Some(key) = row.key() {
        let locked = matches!(place, Place::Transaction(_) | Place::PlainTransaction);
        seeds.extend(current(db, entity, &key, locked).await?);
    }
    let expected = row.expected(Verb::Delete, true, None);
    begin(&sweeper, place, db, seeds, expected).await?;
    Ok(am)
}

/// After a delete: the release, outside a transaction.
///
/// # Errors
///
/// None: the row is gone, so problems are counted and logged.
pub async fn after_delete<A, C>(am: A, db: &C) -> Result<A, DbErr>
where
    A: ActiveModelTrait,
    A::Entity: SweepEntity,
    C: ConnectionTrait,
{
    let (sea, place) = (sea::<A::Entity>()?, recognise(db));
    let sweeper = sweeper_of(place, <A::Entity as SweepEntity>::entity().name())?;
    let seed = (Row { am: &am, sea }).seed();
    end(&sweeper, place, db, seed, Verb::Delete).await;
    Ok(am)
}
