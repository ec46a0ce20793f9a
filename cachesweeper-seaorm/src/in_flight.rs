//! Saves outside a transaction that are between their two hooks: their holds wait here.
//!
//! Nothing ties an "after" hook to its "before" hook but the saved row, so holds are kept by row and released all at once,
//! when the last save of the row in flight has ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cachesweeper_core::{Mark, Micros, RecordKey};
use sea_orm::Value;

use crate::climb::{Climbed, Seed, Touches};
use crate::value::key_part;

/// Names a save in flight: the row, or, if the database will make its key, its entity and parents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SaveKey(String);

impl SaveKey {
    /// By the row's own key, if it is known.
    pub(crate) fn of_row(seed: &Seed) -> Option<Self> {
        seed.key.as_ref().map(|key| Self(key.to_string()))
    }

    /// By the entity and its parents.
    pub(crate) fn of_parents(seed: &Seed) -> Self {
        let mut text = format!("{}?", seed.entity.name());
        for (position, values) in &seed.parents {
            text.push_str(&format!("{position}={};", values.iter().map(key_part).collect::<Vec<_>>().join(",")));
        }
        Self(text)
    }
}

/// What a statement must look like to be a save's.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) verb: &'static str,
    pub(crate) table: String,
    pub(crate) values: Vec<Value>,
    /// The primary key, if the row may move or go: then the statement is run in a transaction.
    pub(crate) moving: Option<Vec<Value>>,
}

impl Expected {
    fn matches(&self, sql: &str, values: &[Value]) -> bool {
        sql.starts_with(self.verb) && sql.contains(&self.table) && self.values.iter().all(|value| values.contains(value))
    }
}

/// One save between its hooks.
#[derive(Debug)]
pub(crate) struct Save {
    pub(crate) mark: Mark,
    pub(crate) climbed: Climbed,
    /// Timestamps that were touched already, in the statement's own transaction.
    pub(crate) touched: Vec<RecordKey>,
    pub(crate) expected: Expected,
    /// The row as it was in hand.
    pub(crate) seed: Seed,
}

#[derive(Debug, Default)]
struct Slot {
    saves: Vec<Save>,
    ended: usize,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<SaveKey, Slot>,
    /// Saves that change nothing: their "after" hook has nothing to do.
    idle: HashSet<(Place, RecordKey)>,
}

/// A task, or a thread outside of any.
type Place = (Option<tokio::task::Id>, std::thread::ThreadId);

fn place() -> Place {
    // A task may move between threads; the thread only matters where there is no task.
    let task = tokio::task::try_id();
    let nowhere = std::thread::current().id();
    (task, if task.is_some() { anchor() } else { nowhere })
}

/// Some thread id that is the same for all tasks.
fn anchor() -> std::thread::ThreadId {
    static ANCHOR: std::sync::OnceLock<std::thread::ThreadId> = std::sync::OnceLock::new();
    *ANCHOR.get_or_init(|| std::thread::current().id())
}

/// What the end of a save leaves to do.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// All saves of the row, if this was the last in flight: to be released.
    pub(crate) last: Vec<Save>,
    /// Parents to touch: this save's, and those of others of the row, which cannot be told apart.
    pub(crate) touches: Climbed,
    /// Of these, those that were touched already.
    pub(crate) touched: Vec<RecordKey>,
}

/// All saves in flight of one sweeper.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<State>);

impl InFlight {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A save of this row in this task will change nothing.
    pub(crate) fn expect_nothing(&self, key: RecordKey) {
        self.state().idle.insert((place(), key));
    }

    /// Whether this was such a save.
    pub(crate) fn was_nothing(&self, key: &RecordKey) -> bool {
        self.state().idle.remove(&(place(), key.clone()))
    }

    /// A save begins. Entries past their deadline are dropped: their holds are over. Those with parents to touch are left to
    /// [`overdue`](Self::overdue).
    pub(crate) fn begin(&self, key: SaveKey, save: Save, now: Micros) {
        let mut state = self.state();
        state.slots.retain(|_, slot| {
            let before = slot.saves.len();
            slot.saves.retain(|save| save.mark.deadline() > now || !save.climbed.touches.is_empty());
            slot.ended = slot.ended.saturating_sub(before - slot.saves.len());
            !slot.saves.is_empty()
        });
        let slot = state.slots.entry(key).or_default();
        let place = slot.saves.partition_point(|other| other.mark.deadline() <= save.mark.deadline());
        slot.saves.insert(place, save);
    }

    /// A save has ended. If it was the row's last in flight, their holds are the caller's to release.
    pub(crate) fn end(&self, keys: &[SaveKey]) -> Ended {
        let mut state = self.state();
        let Some(key) = keys.iter().find(|key| state.slots.contains_key(key)) else { return Ended::default() };
        let Some(slot) = state.slots.get_mut(key) else { return Ended::default() };
        slot.ended += 1;
        let mut ended = Ended::default();
        for save in &slot.saves {
            ended.touches.touch_also(save.climbed.touches.clone());
            ended.touched.extend(save.touched.iter().cloned());
        }
        if slot.ended >= slot.saves.len() {
            ended.last = state.slots.remove(key).map(|slot| slot.saves).unwrap_or_default();
        }
        ended
    }

    /// Takes out a save whose time is over and whose "after" hook never came: its caller has gone away, but its statement may
    /// have been written.
    pub(crate) fn overdue(&self, key: &SaveKey, deadline: Micros) -> Option<Save> {
        let mut state = self.state();
        let slot = state.slots.get_mut(key)?;
        let position = slot.saves.iter().position(|save| save.mark.deadline() == deadline)?;
        let save = slot.saves.remove(position);
        if slot.saves.is_empty() {
            state.slots.remove(key);
        }
        Some(save)
    }

    /// Whether any save is between its hooks: without one, statements need not be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().slots.is_empty()
    }

    /// The save that a statement belongs to, if there is exactly one that it can be.
    pub(crate) fn save_of(&self, sql: &str, values: &[Value]) -> Option<Found> {
        let state = self.state();
        let mut found: Option<Found> = None;
        for (key, slot) in &state.slots {
            for save in &slot.saves {
                if !save.expected.matches(sql, values) {
                    continue;
                }
                if found.as_ref().is_some_and(|found| found.key != *key) {
                    return None;
                }
                let (key, seed, moving) = (key.clone(), save.seed.clone(), save.expected.moving.clone());
                found = Some(Found { key, seed, moving, is_update: save.expected.verb == "UPDATE" });
            }
        }
        found
    }

    /// What the saves of a row are about to touch.
    pub(crate) fn touches(&self, key: &SaveKey) -> Touches {
        let mut all = Climbed::default();
        for save in self.state().slots.get(key).iter().flat_map(|slot| &slot.saves) {
            all.touch_also(save.climbed.touches.clone());
            all.touched(&save.touched);
        }
        all.touches
    }

    /// Adds to the hold of a save.
    pub(crate) fn extend(&self, key: &SaveKey, mark: Mark, records: Vec<RecordKey>) {
        if let Some(save) = self.state().slots.get_mut(key).and_then(|slot| slot.saves.last_mut()) {
            save.mark.merge(mark);
            save.climbed.records.extend(records);
        }
    }

    /// Tells what was touched, once that is committed.
    pub(crate) fn was_touched(&self, key: &SaveKey, touches: Touches) {
        let touched: Vec<RecordKey> = touches.into_values().flat_map(|(_, rows)| rows.into_keys()).collect();
        if let Some(save) = self.state().slots.get_mut(key).and_then(|slot| slot.saves.last_mut()) {
            save.touched.extend(touched);
        }
    }
}

/// The save that a statement belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: SaveKey,
    pub(crate) seed: Seed,
    /// The row's primary key, if it may move or go: the statement is run in a transaction then.
    pub(crate) moving: Option<Vec<Value>>,
    pub(crate) is_update: bool,
}
