//! The database: which row belongs to which, what has been committed, and what has been acknowledged.
//!
//! Its own isolation is not modelled: a transaction's changes appear at its COMMIT, at once, and every query sees what was
//! committed when it ran.

use std::collections::BTreeSet;

use crate::setup::Change;

/// A version of what a record's fragment shows: the number of commits that have changed it.
pub type Truth = u8;

/// The committed state of all rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Db {
    /// Each row's parent.
    pub parent: Vec<Option<usize>>,
    /// For each row, how often the row or anything under it was changed.
    pub truth: Vec<Truth>,
    /// For each row, the truth that writers have been told is safe.
    pub acked: Vec<Truth>,
    /// Who has a row locked.
    pub locked: Vec<Option<usize>>,
    /// For each row, when its truths were acknowledged; kept where versions of a bounded age may be served.
    pub history: Vec<Vec<(Truth, u8)>>,
}

impl Db {
    /// Rows with these parents.
    pub fn new(parent: Vec<Option<usize>>) -> Self {
        let rows = parent.len();
        Self { parent, truth: vec![0; rows], acked: vec![0; rows], locked: vec![None; rows], history: vec![Vec::new(); rows] }
    }

    /// A row and everything above it.
    pub fn line(&self, row: usize) -> BTreeSet<usize> {
        let mut line = BTreeSet::new();
        let mut next = Some(row);
        while let Some(row) = next.filter(|row| line.insert(*row)) {
            next = self.parent[row];
        }
        line
    }

    /// The records that a climb from a row with these foreign keys finds: the row, and all above each key.
    pub fn climb(&self, row: usize, keys: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::from([row]);
        for &key in keys {
            found.extend(self.line(key));
        }
        found
    }

    /// A COMMIT; what it made.
    pub fn commit(&mut self, row: usize, change: Change) -> Vec<(usize, Truth)> {
        let mut changed = self.line(row);
        if let Change::Move(parent) = change {
            self.parent[row] = Some(parent);
            changed.extend(self.line(row));
        }
        changed
            .into_iter()
            .map(|record| {
                self.truth[record] += 1;
                (record, self.truth[record])
            })
            .collect()
    }

    /// A writer has its answer.
    pub fn acknowledge(&mut self, made: &[(usize, Truth)], at: Option<u8>) {
        for &(record, truth) in made {
            self.acked[record] = self.acked[record].max(truth);
            if let Some(at) = at {
                self.history[record].push((truth, at));
            }
        }
    }
}
