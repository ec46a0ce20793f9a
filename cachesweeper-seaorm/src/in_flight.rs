//! Saves outside a transaction that are between their two hooks: their holds wait here.
//!
//! Nothing ties an "after" hook to its "before" hook but the saved row, so holds are kept by row and released all at once,
//! when the last save of the row in flight has ended.

use std::collections::HashMap;
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
    pub(crate) verb: Verb,
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
    /// What is set, and the primary key if it is known.
    pub(crate) values: Vec<Value>,
    /// The primary key of a row that is there.
    pub(crate) row: Option<Vec<Value>>,
    /// Whether the row may move or go.
    pub(crate) moves: bool,
    /// The row's own version, if another save at the same moment may make the same one.
    pub(crate) stamp: Option<Stamp>,
}

/// A version in a column.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) at: Micros,
    /// As the statement has it.
    pub(crate) value: Value,
}

/// What a save does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Insert,
    Update,
    Delete,
}

impl Expected {
    fn matches(&self, sql: &str, values: &[Value]) -> bool {
        let verb = match self.verb {
            Verb::Insert => "INSERT INTO ",
            Verb::Update => "UPDATE ",
            Verb::Delete => "DELETE FROM ",
        };
        // `name` or `schema`.`name`, in the quotes of any of the databases.
        let named = |rest: &str| {
            let (open, rest) = rest.split_at_checked(1)?;
            let rest = rest.strip_prefix(self.table.as_str())?;
            rest.starts_with(open).then_some(())
        };
        let with_schema = |rest: &str| {
            let (open, rest) = rest.split_at_checked(1)?;
            named(rest.strip_prefix(self.schema.as_deref()?)?.strip_prefix(open)?.strip_prefix('.')?)
        };
        let is_it = |rest: &str| named(rest).or_else(|| with_schema(rest)).is_some();
        sql.strip_prefix(verb).is_some_and(is_it) && self.values.iter().all(|value| values.contains(value))
    }
}

/// One save between its hooks.
#[derive(Debug)]
pub(crate) struct Save {
    pub(crate) mark: Mark,
    pub(crate) climbed: Climbed,
    pub(crate) expected: Expected,
    /// The row as it was in hand, and as the database had it.
    pub(crate) seeds: Vec<Seed>,
}

impl Save {
    /// Whether its statement needs a transaction: for a lock on the row, so that its parents and its version are known for certain; or
    /// for the touches of its parents, so that they are seen with the row, or not at all.
    fn needs_transaction(&self) -> bool {
        self.expected.moves || self.expected.stamp.is_some() || !self.climbed.touches.is_empty()
    }
}

#[derive(Debug)]
struct Entry {
    id: u64,
    place: Place,
    save: Save,
    /// Timestamps that were touched already.
    touched: Vec<RecordKey>,
    ended: bool,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    slots: HashMap<SaveKey, Vec<Entry>>,
    /// Saves that change nothing, and when they began: their "after" hook has nothing to do.
    idle: HashMap<(Place, RecordKey), Micros>,
}

/// A task, or a thread outside of any.
type Place = (Option<tokio::task::Id>, Option<std::thread::ThreadId>);

fn place() -> Place {
    // A task may move between threads; the thread only matters where there is no task.
    match tokio::task::try_id() {
        Some(task) => (Some(task), None),
        None => (None, Some(std::thread::current().id())),
    }
}

/// How long a save is remembered whose "after" hook never came: it may still hang in the database.
const REMEMBERED: Micros = Micros(60_000_000);

/// All saves in flight of one sweeper.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<State>);

/// What the end of a save leaves to do.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// All saves of the row, if this was the last in flight: to be released.
    pub(crate) last: Vec<Save>,
    /// Parents to touch: this save's, and those of others of the row, which cannot be told apart.
    pub(crate) touches: Climbed,
    /// Of these, those that were touched already, if that is certain.
    pub(crate) touched: Vec<RecordKey>,
}

/// The save that a statement belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: u64,
    pub(crate) key: SaveKey,
    pub(crate) seeds: Vec<Seed>,
    /// The row's primary key, if it is there.
    pub(crate) row: Option<Vec<Value>>,
    pub(crate) stamp: Option<Stamp>,
    /// What was marked, and until when that holds.
    pub(crate) marked: Vec<RecordKey>,
    pub(crate) until: Micros,
    /// What is to be touched.
    pub(crate) touches: Touches,
    pub(crate) is_update: bool,
    pub(crate) needs_transaction: bool,
}

impl InFlight {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A save of this row in this task will change nothing.
    pub(crate) fn expect_nothing(&self, key: RecordKey, now: Micros) {
        let mut state = self.state();
        // `update_without_returning` has no "after" hook that would take its entry away.
        state.idle.retain(|_, since| since.plus(REMEMBERED) > now);
        state.idle.insert((place(), key), now);
    }

    /// Whether this was such a save.
    pub(crate) fn was_nothing(&self, key: &RecordKey) -> bool {
        self.state().idle.remove(&(place(), key.clone())).is_some()
    }

    /// A save begins; its number.
    pub(crate) fn begin(&self, key: SaveKey, save: Save, now: Micros) -> u64 {
        let mut state = self.state();
        state.slots.retain(|_, entries| {
            // An entry whose hold is over still counts as in flight for a while: its end must not be taken for another's.
            entries.retain(|entry| entry.save.mark.deadline().plus(REMEMBERED) > now);
            !entries.is_empty()
        });
        state.next += 1;
        let id = state.next;
        let entry = Entry { id, place: place(), save, touched: Vec::new(), ended: false };
        state.slots.entry(key).or_default().push(entry);
        id
    }

    /// A save has ended. If it was the row's last in flight, their holds are the caller's to release.
    pub(crate) fn end(&self, keys: &[SaveKey], verb: Verb) -> Ended {
        let mut state = self.state();
        let open = |entry: &Entry| !entry.ended && entry.save.expected.verb == verb;
        let here = place();
        // The oldest of this task, else the oldest.
        let find = |entries: &[Entry]| {
            let own = entries.iter().position(|entry| open(entry) && entry.place == here);
            own.or_else(|| entries.iter().position(open))
        };
        let found = keys.iter().find_map(|key| Some((key, find(state.slots.get(key)?)?)));
        let Some((key, position)) = found else { return Ended::default() };
        Self::end_at(&mut state, key, position)
    }

    /// As [`end`](Self::end), for a save that is known by its number.
    pub(crate) fn end_one(&self, key: &SaveKey, id: u64) -> Ended {
        let mut state = self.state();
        let position = state.slots.get(key).and_then(|entries| entries.iter().position(|entry| entry.id == id));
        position.map(|position| Self::end_at(&mut state, key, position)).unwrap_or_default()
    }

    fn end_at(state: &mut State, key: &SaveKey, position: usize) -> Ended {
        let mut ended = Ended::default();
        let Some(entries) = state.slots.get_mut(key) else { return ended };
        entries[position].ended = true;
        for entry in entries.iter() {
            ended.touches.touch_also(entry.save.climbed.touches.clone());
        }
        if let [only] = entries.as_slice() {
            ended.touched.clone_from(&only.touched);
        }
        if entries.iter().all(|entry| entry.ended) {
            let entries = state.slots.remove(key).unwrap_or_default();
            ended.last = entries.into_iter().map(|entry| entry.save).collect();
        }
        ended
    }

    /// Takes a save out whose outcome is unknown, or whose "after" hook never came: others of the row go on without it.
    pub(crate) fn take(&self, key: &SaveKey, id: u64) -> Option<Save> {
        let mut state = self.state();
        let entries = state.slots.get_mut(key)?;
        let position = entries.iter().position(|entry| entry.id == id && !entry.ended)?;
        let entry = entries.remove(position);
        if entries.is_empty() {
            state.slots.remove(key);
        }
        Some(entry.save)
    }

    /// Whether any save is between its hooks: without one, statements need not be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().slots.is_empty()
    }

    /// The save of this task that a statement belongs to, if there is exactly one that it can be.
    pub(crate) fn save_of(&self, sql: &str, values: &[Value]) -> Option<Found> {
        let (state, here) = (self.state(), place());
        let mut found: Option<Found> = None;
        for (key, entries) in &state.slots {
            for entry in entries.iter().filter(|entry| entry.place == here && !entry.ended) {
                let (save, expected) = (&entry.save, &entry.save.expected);
                if !expected.matches(sql, values) {
                    continue;
                }
                if found.as_ref().is_some_and(|found| found.key != *key) {
                    return None;
                }
                found.get_or_insert_with(|| Found {
                    id: entry.id,
                    key: key.clone(),
                    seeds: save.seeds.clone(),
                    row: expected.row.clone(),
                    stamp: expected.stamp.clone(),
                    marked: save.climbed.records.clone(),
                    until: save.mark.deadline(),
                    touches: save.climbed.touches.clone(),
                    is_update: expected.verb == Verb::Update,
                    needs_transaction: save.needs_transaction(),
                });
            }
        }
        found
    }

    fn with<T>(&self, found: &Found, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut state = self.state();
        state.slots.get_mut(&found.key)?.iter_mut().find(|entry| entry.id == found.id).map(f)
    }

    /// Adds to the hold of a save.
    pub(crate) fn extend(&self, found: &Found, mark: Mark, records: Vec<RecordKey>) {
        self.with(found, |entry| {
            entry.save.mark.merge(mark);
            entry.save.climbed.records.extend(records);
        });
    }

    /// Tells what was touched, once that is committed.
    pub(crate) fn was_touched(&self, found: &Found, touches: Touches) {
        let touched = touches.into_values().flat_map(|(_, rows)| rows.into_keys());
        self.with(found, |entry| entry.touched.extend(touched));
    }
}
