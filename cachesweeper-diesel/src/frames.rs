//! Transactions whose end is seen: what each has changed so far.
//!
//! They are known by their connection, which is mutably borrowed, and so stays where it is, for as long as they are open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachesweeper_core::climb::Seed;
use cachesweeper_core::face::Face;
use cachesweeper_core::{ChangesPending, Micros, RecordKey};

/// What a transaction has changed so far.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) seeds: Vec<Seed<String>>,
    /// New rows with a version that may be older than the transaction.
    pub(crate) old_versions: Vec<RecordKey>,
    /// When the first row was changed.
    pub(crate) since: Option<Micros>,
    /// For each open savepoint its depth, and how much had been changed before it.
    savepoints: Vec<(u32, usize, usize)>,
    pending: Vec<ChangesPending>,
}

impl Changes {
    fn collect<S: Face>(&mut self, sweeper: &S, more: Self) {
        if more.seeds.is_empty() {
            return;
        }
        self.seeds.extend(more.seeds);
        self.old_versions.extend(more.old_versions);
        self.since.get_or_insert_with(|| sweeper.now());
        // An async transaction may go on in another task than it began in.
        if !self.pending.iter().any(ChangesPending::is_here) {
            self.pending.push(sweeper.changes_pending());
        }
    }

    /// A savepoint at this depth is about to be made.
    fn begin(&mut self, depth: u32) {
        self.end(depth);
        self.savepoints.push((depth, self.seeds.len(), self.old_versions.len()));
    }

    /// The savepoint at this depth is about to be released: what it changed is kept with the rest.
    fn end(&mut self, depth: u32) {
        self.savepoints.retain(|savepoint| savepoint.0 < depth);
    }

    /// The savepoint at this depth is about to be rolled back.
    fn drop_part(&mut self, depth: u32) {
        if let Some((_, seeds, old_versions)) = self.savepoints.iter().find(|savepoint| savepoint.0 == depth).copied() {
            self.seeds.truncate(seeds);
            self.old_versions.truncate(old_versions);
        }
        self.end(depth);
    }
}

#[derive(Debug)]
struct Frame {
    /// Which sweeper it is for; both faces of a sweeper are one.
    sweeper: usize,
    changes: Changes,
}

fn id_of<S: Face>(sweeper: &S) -> usize {
    Arc::as_ptr(sweeper.shared()).addr()
}

static FRAMES: Mutex<Option<HashMap<usize, Frame>>> = Mutex::new(None);

fn with<T>(f: impl FnOnce(&mut HashMap<usize, Frame>) -> T) -> T {
    let mut frames: MutexGuard<'_, _> = FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
    f(frames.get_or_insert_with(HashMap::new))
}

/// An open transaction; forgotten with what it has changed if it is dropped before [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct OpenFrame(usize);

impl OpenFrame {
    /// For the connection `identity`.
    pub(crate) fn new<S: Face>(sweeper: &S, identity: usize) -> Self {
        with(|frames| frames.insert(identity, Frame { sweeper: id_of(sweeper), changes: Changes::default() }));
        Self(identity)
    }

    /// What it has changed. Lookups of its task bypass until this is dropped.
    pub(crate) fn finish(self) -> Changes {
        with(|frames| frames.remove(&self.0)).map(|frame| frame.changes).unwrap_or_default()
    }
}

impl Drop for OpenFrame {
    fn drop(&mut self) {
        // Outside of the lock: dropping what is pending takes another.
        let _forgotten = with(|frames| frames.remove(&self.0));
    }
}

/// Whose transaction a connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's that we know.
    Nobody,
    /// This sweeper's.
    Ours,
    /// Another sweeper's.
    Other,
}

pub(crate) fn owner<S: Face>(sweeper: &S, identity: usize) -> Owner {
    with(|frames| match frames.get(&identity) {
        None => Owner::Nobody,
        Some(frame) if frame.sweeper == id_of(sweeper) => Owner::Ours,
        Some(_) => Owner::Other,
    })
}

/// Remembers changes until the end of the connection's transaction.
pub(crate) fn collect<S: Face>(sweeper: &S, identity: usize, changes: Changes) {
    with(|frames| {
        if let Some(frame) = frames.get_mut(&identity) {
            frame.changes.collect(sweeper, changes);
        }
    });
}

/// What happens to a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Savepoint {
    Begin,
    Release,
    Rollback,
}

/// A savepoint of the connection's transaction begins or ends.
pub(crate) fn savepoint(identity: usize, depth: u32, what: Savepoint) {
    with(|frames| {
        if let Some(Frame { changes, .. }) = frames.get_mut(&identity) {
            match what {
                Savepoint::Begin => changes.begin(depth),
                Savepoint::Release => changes.end(depth),
                Savepoint::Rollback => changes.drop_part(depth),
            }
        }
    });
}

impl Changes {
    /// Rows that one write has changed.
    pub(crate) fn of_write(seeds: Vec<Seed<String>>, old_versions: Vec<RecordKey>) -> Self {
        Self { seeds, old_versions, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }
}
