//! The database: three tables, transactions with row locks, READ COMMITTED, and commits that take time, fail, or end
//! unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cachesweeper_core::{Micros, RecordKey};
use tokio::sync::oneshot;

use crate::history::Moment;
use crate::model::{Fact, Id, Key, Kind, Record};
use crate::profile::{Knobs, ms};
use crate::world::World;

/// The committed rows, and the locks.
#[derive(Debug)]
pub struct Tables {
    rows: BTreeMap<Key, Record>,
    children: BTreeMap<Key, u64>,
    all_comments: u64,
    locks: BTreeMap<Key, u64>,
    next: u64,
    /// How far the database's clock is off, in microseconds.
    pub offset: i64,
}

impl Tables {
    /// The tables at the begin.
    pub fn new(knobs: &Knobs) -> Self {
        let mut rows = BTreeMap::new();
        let mut add = |kind, count: u32, parents: u32| {
            for id in 1..=count {
                let parent = (parents > 0).then(|| 1 + (id - 1) % parents.max(1));
                let updated_at = if kind == Kind::Article && knobs.stamped { 1_600_000_000_000_000 } else { 0 };
                rows.insert((kind, id), Record { key: (kind, id), version: 1, parent, deleted: false, updated_at });
            }
        };
        add(Kind::Section, knobs.sections, 0);
        add(Kind::Article, knobs.articles, knobs.sections);
        add(Kind::Comment, knobs.comments, knobs.articles);
        Self { rows, children: BTreeMap::new(), all_comments: 1, locks: BTreeMap::new(), next: 1, offset: 0 }
    }

    /// A row.
    pub fn row(&self, key: Key) -> Option<&Record> {
        self.rows.get(&key)
    }

    /// The children of a row that are there, and the version of their list.
    pub fn children(&self, (kind, id): Key) -> (u64, Vec<Record>) {
        let version = self.children.get(&(kind, id)).copied().unwrap_or(1);
        let Some(child) = kind.child() else { return (version, Vec::new()) };
        let rows = self.rows.range((child, 0)..=(child, Id::MAX)).map(|(_, row)| row);
        (version, rows.filter(|row| row.parent == Some(id) && !row.deleted).cloned().collect())
    }

    /// All comments that are there, and the version of their list.
    pub fn all_comments(&self) -> (u64, Vec<Record>) {
        let rows = self.rows.range((Kind::Comment, 0)..=(Kind::Comment, Id::MAX)).map(|(_, row)| row);
        (self.all_comments, rows.filter(|row| !row.deleted).cloned().collect())
    }

    /// A row's ancestors, with its own.
    fn above(&self, row: &Record, records: &mut BTreeSet<RecordKey>) {
        let mut next = Some(row.clone());
        while let Some(row) = next {
            records.insert(row.key.0.record(row.key.1));
            next = row.key.0.parent().zip(row.parent).and_then(|key| self.rows.get(&key)).cloned();
        }
    }

    /// Makes these rows visible. The versions that it makes, and the records that they concern.
    fn apply(&mut self, writes: BTreeMap<Key, Record>) -> (Vec<(Fact, u64)>, BTreeSet<RecordKey>) {
        let (mut facts, mut lists, mut records) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut list_changed = false;
        for (key, row) in &writes {
            let old = self.rows.get(key).cloned();
            if old.as_ref().is_some_and(|old| old.version == row.version) {
                continue; // A touch shows nothing new.
            }
            facts.insert(Fact::Own(key.0, key.1), row.version);
            let place = |row: &Record| row.key.0.parent().zip(row.parent).filter(|_| !row.deleted);
            let (before, after) = (old.as_ref().and_then(place), place(row));
            if before != after {
                lists.extend([before, after].into_iter().flatten());
            }
            list_changed |= key.0 == Kind::Comment && old.as_ref().is_none_or(|old| old.deleted) != row.deleted;
            // A row that was not there was below nothing.
            if let Some(old) = old.filter(|old| !old.deleted) {
                self.above(&old, &mut records);
            }
        }
        self.rows.extend(writes.clone());
        for row in writes.values().filter(|row| facts.contains_key(&Fact::Own(row.key.0, row.key.1))) {
            self.above(row, &mut records);
        }
        for (kind, id) in lists {
            let version = self.children.entry((kind, id)).or_insert(1);
            *version += 1;
            facts.insert(Fact::Children(kind, id), *version);
        }
        if list_changed {
            self.all_comments += 1;
            facts.insert(Fact::AllComments, self.all_comments);
        }
        (facts.into_iter().collect(), records)
    }
}

/// How a COMMIT ended, for who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Committed,
    /// It was not done.
    RolledBack,
    /// The connection broke.
    Unknown,
}

/// What has been promised to readers of what a transaction writes; looked at when it commits.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The records of its sweep.
    pub records: BTreeSet<RecordKey>,
    /// By the writer's clock.
    pub until: Option<Micros>,
    /// Whether all of them are held.
    pub complete: bool,
}

/// A statement could not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockTimeout;

/// An open transaction. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Transaction {
    world: Arc<World>,
    life: usize,
    number: u64,
    /// Its rows, as it has written them.
    pub writes: BTreeMap<Key, Record>,
}

impl Transaction {
    /// Begins one, for a process.
    pub fn new(world: &Arc<World>, life: usize) -> Self {
        let number = {
            let mut state = world.state();
            state.tables.next += 1;
            state.tables.next
        };
        Self { world: world.clone(), life, number, writes: BTreeMap::new() }
    }

    /// Locks a row and reads it.
    ///
    /// # Errors
    ///
    /// Another transaction has it for too long.
    pub async fn lock(&mut self, key: Key) -> Result<Option<Record>, LockTimeout> {
        let world = self.world.clone();
        world.step(self.life).await;
        world.pause(2).await;
        for _ in 0..300 {
            let found = {
                let mut state = world.state();
                let holder = *state.tables.locks.entry(key).or_insert(self.number);
                (holder == self.number).then(|| self.writes.get(&key).or_else(|| state.tables.rows.get(&key)).cloned())
            };
            if let Some(row) = found {
                world.pause(1).await;
                world.step(self.life).await;
                return Ok(row);
            }
            tokio::time::sleep(ms(2)).await;
        }
        Err(LockTimeout)
    }

    /// Writes a row that was locked.
    pub fn write(&mut self, row: Record) {
        self.writes.insert(row.key, row);
    }

    /// The database's clock, but later than `old`.
    pub fn stamp(&self, old: u64) -> u64 {
        let offset = self.world.state().tables.offset;
        self.world.shown(offset).0.max(old + 1)
    }

    /// Commits. The database goes on by itself, also when its client dies. `write` is the history's number of it.
    pub async fn commit(mut self, write: usize, held: Arc<std::sync::Mutex<Held>>, most: u64) -> Ended {
        let world = self.world.clone();
        world.step(self.life).await;
        let (storm, life) = (world.state().storm, self.life);
        let fails = world.chance(20);
        let unknown = storm && world.chance(25);
        let long = storm && world.chance(60);
        let before = world.below(if long { most } else { 6 } + 1);
        let (reply, answered) = oneshot::channel();
        let mut server = Self { world: world.clone(), life, number: self.number, writes: std::mem::take(&mut self.writes) };
        // The locks go with the server's part.
        self.number = 0;
        let never = unknown && world.chance(400);
        tokio::spawn(async move {
            let world = server.world.clone();
            let until = world.elapsed() + before * 1000;
            while world.elapsed() < until {
                tokio::time::sleep(ms(((until - world.elapsed()) / 1000).clamp(1, 20))).await;
                if world.is_dead(life) {
                    // The client's connection is gone: what has not begun is rolled back, what has is done soon.
                    if world.chance(500) {
                        return;
                    }
                    world.pause(20).await;
                    break;
                }
            }
            if fails || never {
                drop(server);
                world.pause(3).await;
                let _ = reply.send(Ended::RolledBack);
                return;
            }
            server.land(write, &held);
            drop(server);
            world.pause(3).await;
            let _ = reply.send(Ended::Committed);
        });
        let answer = if unknown {
            world.fault("unknown commit");
            // The connection breaks before the answer.
            let patience = world.below(before + 5);
            match tokio::time::timeout(ms(patience), answered).await {
                Ok(Ok(ended)) if world.chance(200) => ended,
                _ => Ended::Unknown,
            }
        } else {
            answered.await.unwrap_or(Ended::Unknown)
        };
        world.step(self.life).await;
        answer
    }

    /// The instant of COMMIT.
    fn land(&mut self, write: usize, held: &std::sync::Mutex<Held>) {
        let world = self.world.clone();
        let (elapsed, clock) = (world.elapsed(), world.clock_of(self.life));
        let held = held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut state = world.state();
        let (facts, records) = state.tables.apply(std::mem::take(&mut self.writes));
        let committed = state.history.moment(elapsed);
        let in_time = held.until.is_some_and(|until| clock <= until);
        let covered = held.complete && records.is_subset(&held.records);
        let claims = covered && in_time;
        let one = &mut state.history.writes[write];
        one.committed = Some(committed);
        one.facts.clone_from(&facts);
        (one.covered, one.clock, one.records) = (covered, Some(clock), records);
        one.claims_commit = claims || world.profile.claims_all;
        let label = one.label.clone();
        drop(state);
        world.trace(|| {
            let facts = facts.iter().map(|(fact, version)| format!(" {fact}={version}")).collect::<String>();
            format!("database: write {write} of p{} committed ({label}), claimed {claims}:{facts}", self.life)
        });
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let number = self.number;
        self.world.state().tables.locks.retain(|_, holder| *holder != number);
    }
}

/// Reads by one snapshot, on behalf of a process.
pub async fn read<T>(world: &World, life: usize, f: impl FnOnce(&Tables) -> T) -> T {
    world.step(life).await;
    world.pause(if world.state().slow { 40 } else { 3 }).await;
    let result = f(&world.state().tables);
    world.pause(2).await;
    world.step(life).await;
    result
}

/// The present moment, for the history.
pub fn now(world: &World) -> Moment {
    let elapsed = world.elapsed();
    world.state().history.moment(elapsed)
}
