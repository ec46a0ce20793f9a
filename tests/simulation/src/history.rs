//! What happened, as an observer outside of the system sees it. The auditor is shown nothing else.

use std::collections::{BTreeMap, BTreeSet};

use cachesweeper_core::{Micros, RecordKey};

use crate::model::{Fact, Id};

/// A place in the history: its number orders all events, its time is in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Counts events.
    pub number: u64,
    /// Since the begin.
    pub at: u64,
}

/// One write.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// The process's life.
    pub life: usize,
    /// What it does.
    pub label: String,
    /// When it was visible in the database, if ever.
    pub committed: Option<Moment>,
    /// The versions that it has made.
    pub facts: Vec<(Fact, u64)>,
    /// Whether readers must see it from its commit on: it met the conditions of G-commit.
    pub claims_commit: bool,
    /// The records that it concerned when it was committed.
    pub records: BTreeSet<RecordKey>,
    /// Whether all of these were held.
    pub covered: bool,
    /// What its writer's clock showed when it was committed: a hold that was renewed covers it if it lasted until then.
    pub clock: Option<Micros>,
    /// When its writer was told that it has been done.
    pub acknowledged: Option<Moment>,
    /// From when on the promises are not suspended for it any more: the store has what it could not be told.
    pub delivered: Option<Moment>,
}

/// One fragment, or page, that was shown.
#[derive(Clone, Debug)]
pub struct Read {
    /// The process's life.
    pub life: usize,
    /// What it is of.
    pub label: String,
    /// Before anything was loaded or looked up.
    pub began: Moment,
    /// When it was shown.
    pub ended: Moment,
    /// How it was served.
    pub outcome: String,
    /// What it shows.
    pub shown: Vec<Shown>,
}

/// One fact that was shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Of what.
    pub fact: Fact,
    /// In which version.
    pub version: u64,
    /// The article that it is shown below, or is itself about.
    pub article: Option<Id>,
    /// The section.
    pub section: Option<Id>,
    /// How old it may be, in microseconds: zero unless `serve_stale` allows more.
    pub lag: u64,
}

/// All that happened.
#[derive(Debug, Default)]
pub struct History {
    next: u64,
    /// By number.
    pub writes: Vec<Write>,
    /// In the order of their ends.
    pub reads: Vec<Read>,
    /// Outcomes of single fragments.
    pub outcomes: BTreeMap<&'static str, u64>,
}

impl History {
    /// The present moment.
    pub fn moment(&mut self, at: u64) -> Moment {
        self.next += 1;
        Moment { number: self.next, at }
    }

    /// A write begins; its number.
    pub fn begin(&mut self, life: usize, label: String) -> usize {
        self.writes.push(Write { life, label, ..Write::default() });
        self.writes.len() - 1
    }
}
