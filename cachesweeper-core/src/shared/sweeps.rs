//! Sweeps: marks, releases, invalidations, and what is owed to nodes that did not answer.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;

use super::Shared;
use crate::health::Pending;
use crate::protocol::{Append, Appended, LogAddress, Rules};
use crate::stats::Counters;
use crate::store::Op;
use crate::version::Uid;
use crate::{Error, Micros, Policy, RecordKey, Strategy, Tick};

/// Logs that are written by one batch; more are written by several, one after the other.
pub(crate) const MARKED_AT_ONCE: usize = 10_000;

/// An open hold: what [`release`](crate::face::Face::release) needs to end it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    pub(crate) logs: Vec<LogAddress>,
    pub(crate) uids: Vec<Uid>,
    pub(crate) deadline: Micros,
    /// How long it took to make, the last time.
    pub(crate) took: Micros,
    /// How many logs, at the end, it has never held.
    pub(crate) unheld: usize,
    /// Compactions of long logs, to be sent with the release.
    pub(crate) compactions: Vec<Op>,
    /// Logs that could not be marked; they are invalidated after the commit, until it is delivered.
    pub(crate) failed: Vec<LogAddress>,
}

impl Mark {
    /// Whether there is nothing to release.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.failed.is_empty()
    }

    /// Whether some records could not be marked.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// When the hold ends by itself.
    pub fn deadline(&self) -> Micros {
        self.deadline
    }

    /// Makes one of two.
    pub fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let known: HashSet<&LogAddress> = self.logs.iter().collect();
        let more: Vec<_> = other.logs.into_iter().filter(|log| !known.contains(log)).collect();
        self.logs.extend(more);
        // Which ones are without a hold is told by their place, so now all count as such.
        self.unheld = if self.unheld + other.unheld > 0 { self.logs.len() } else { 0 };
        self.uids.extend(other.uids);
        self.failed.extend(other.failed);
        self.compactions.extend(other.compactions);
        self.deadline = self.deadline.min(other.deadline);
        self.took = self.took.max(other.took);
    }
}

/// The life of a mark, without clock and store: what the methods of `Face` drive, and a model checker too.
#[doc(hidden)]
impl Mark {
    /// A mark on these logs, and the machine that makes it.
    pub fn begin(rules: Rules, logs: Vec<LogAddress>, hold: Micros, tick: Tick) -> (Self, Append) {
        let (uid, deadline) = (Uid::new(tick), tick.now.plus(hold));
        let append = Append::mark(rules, logs.clone(), uid, deadline);
        (Self { logs, uids: vec![uid], deadline, ..Self::default() }, append)
    }

    /// Tells the logs that were marked from those that could not be.
    pub fn sort_out(&mut self, appended: &Appended) {
        self.compactions.clone_from(&appended.compactions);
        if appended.failed.is_empty() {
            return;
        }
        let failed: HashSet<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
        let (lost, kept) = self.logs.drain(..).enumerate().partition::<Vec<_>, _>(|(position, _)| failed.contains(position));
        self.failed.extend(lost.into_iter().map(|(_, log)| log));
        self.logs = kept.into_iter().map(|(_, log)| log).collect();
    }

    /// What was marked of it, to be given back: nothing will be written.
    #[must_use]
    pub fn given_back(mut self, appended: &Appended) -> Self {
        self.sort_out(appended);
        Self { failed: Vec::new(), compactions: Vec::new(), ..self }
    }

    /// Notes how long it took to make.
    pub fn made(&mut self, now: Micros, hold: Micros) {
        self.took = now.minus(self.deadline.minus(hold));
    }

    /// Whether this much of the hold is left.
    pub fn has_left(&self, length: Micros, now: Micros) -> bool {
        self.deadline >= now.plus(length)
    }

    /// How long from now on until it should be renewed: while half of the hold is left, and the time that it takes to renew it.
    pub fn renew_in(&self, hold: Micros, now: Micros) -> Micros {
        let (half, least) = (Micros(hold.0 / 2), Micros(hold.0 / 8));
        self.deadline.minus(half.max(self.took)).minus(now).max(least)
    }

    /// Takes in that the hold was opened anew.
    pub fn renewed(&mut self, fresh: Self, appended: &Appended) {
        self.uids.extend(fresh.uids);
        self.took = fresh.took;
        if appended.failed.is_empty() {
            self.deadline = fresh.deadline;
        }
    }

    /// Invalidates these logs too when it is released.
    pub fn invalidate_also(&mut self, more: Vec<LogAddress>, tick: Tick) {
        if self.uids.is_empty() {
            self.uids.push(Uid::new(tick));
        }
        self.unheld += more.len();
        self.logs.extend(more);
    }

    /// From which of its logs on a hold is needed, if only for a moment, before they are released.
    ///
    /// A fragment may show another record's fragment. If both are invalidated at once, and the outer one's log is written
    /// first, a reader renders it anew with the inner one's old version, and stores that. Under a hold nobody stores; so
    /// several logs whose hold may be over, or that never had one, are all held before any is released. A single one needs no
    /// hold: all others are held, or have been.
    pub fn unheld_from(&self, rules: Rules, now: Micros) -> Option<usize> {
        let first = if self.is_late(rules, now) { 0 } else { self.logs.len() - self.unheld };
        (self.logs.len() - first > 1).then_some(first)
    }

    /// Takes in that the logs from this place on were held.
    pub fn held_from(&mut self, first: usize, mut fresh: Self, appended: &Appended) {
        fresh.sort_out(appended);
        self.logs.truncate(first);
        self.logs.extend(fresh.logs);
        self.uids.extend(fresh.uids);
        self.failed.extend(fresh.failed);
        self.compactions.extend(fresh.compactions);
        self.deadline = if first == 0 { fresh.deadline } else { self.deadline.min(fresh.deadline) };
        self.unheld = 0;
    }

    /// Whether its hold may be over by now: others' clocks may be ahead of ours.
    fn is_late(&self, rules: Rules, now: Micros) -> bool {
        now.plus(rules.skew) >= self.deadline
    }

    /// The machine that releases it, with more care if the hold may be over by now, or never was.
    pub fn begin_release(&self, rules: Rules, now: Micros) -> Append {
        let must_arrive = self.unheld > 0 || self.is_late(rules, now);
        let make = if must_arrive { Append::invalidate } else { Append::release };
        make(rules, self.logs.clone(), &self.uids, now).ahead(self.compactions.clone())
    }

    /// What still has to reach the store after its release.
    ///
    /// Also the release of a hold that lives: if the node has evicted its log meanwhile, nothing else changes the token.
    pub fn still_owed(&self, appended: &Appended) -> Vec<LogAddress> {
        appended.failed.iter().map(|(log, _)| &self.logs[*log]).chain(&self.failed).cloned().collect()
    }

    /// The logs that it holds, and those that could not be marked.
    pub fn logs(&self) -> (&[LogAddress], &[LogAddress]) {
        (&self.logs, &self.failed)
    }

    /// The names of its events.
    pub fn uids(&self) -> &[Uid] {
        &self.uids
    }
}

impl Shared {
    /// The logs that must be written when these records change: their own, and their entities' collections.
    pub(crate) fn logs(&self, records: &[RecordKey]) -> Vec<LogAddress> {
        let mut logs = Vec::with_capacity(records.len());
        // A sweep may have a million rows, so they are told apart without copies; collections and whole entities are few.
        let (mut rows, mut others) = (HashSet::with_capacity(records.len()), HashSet::new());
        let log = |record: &RecordKey| LogAddress { node: self.router.node(record), key: self.namespace.log(record) };
        for record in records {
            let node = self.graph.node(record);
            let has_log = !record.is_row() || node.is_none_or(|node| node.strategy == Strategy::Counter);
            let new = if record.is_row() { rows.insert(record) } else { others.insert(record.clone()) };
            if has_log && new {
                logs.push(log(record));
            }
            if let Some(node) = node.filter(|node| node.collection) {
                let collection = RecordKey::collection(node.name());
                if !others.contains(&collection) {
                    logs.push(log(&collection));
                    others.insert(collection);
                }
            }
        }
        logs
    }

    /// A mark on these logs, and the machine that makes it.
    pub(crate) fn begin_mark(&self, logs: Vec<LogAddress>, hold: Micros) -> (Mark, Append) {
        Mark::begin(self.rules, logs, hold, self.clock.tick())
    }

    /// Sorts out what could not be marked, by the policy.
    pub(crate) fn end_mark(&self, mark: &mut Mark, appended: &Appended) -> Result<(), Error> {
        let Some((first, cause)) = appended.failed.first().cloned() else {
            mark.sort_out(appended);
            return Ok(());
        };
        if self.config.policy == Policy::Abort {
            Counters::bump(&self.counters.writes_refused);
            return Err(Error::Refused { record: self.readable(&mark.logs[first].key), cause });
        }
        Counters::add(&self.counters.marks_failed, appended.failed.len());
        // Once per outage: as long as something is owed, it has been said.
        let (records, known) = (appended.failed.len(), self.owes());
        if known {
            tracing::debug!(records, %cause, "more records could not be marked before their write");
        } else {
            tracing::warn!(records, %cause, "records could not be marked before their write; they are invalidated as soon as the store answers");
        }
        mark.sort_out(appended);
        Ok(())
    }

    fn readable(&self, log_key: &str) -> String {
        let prefix = self.namespace.log(&RecordKey::new("", ""));
        log_key.strip_prefix(prefix.trim_end_matches([':', '%'])).unwrap_or(log_key).to_owned()
    }

    /// The machine that releases a mark.
    pub(crate) fn begin_release(&self, mark: &Mark) -> Append {
        mark.begin_release(self.rules, self.clock.now())
    }

    /// What still has to reach the store after a commit.
    pub(crate) fn end_release(&self, mark: &Mark, appended: &Appended) {
        self.owe(mark, mark.still_owed(appended), Micros(0));
    }

    /// Remembers these logs of a sweep; when they are delivered, the whole of it is invalidated again.
    pub(crate) fn owe(&self, sweep: &Mark, logs: Vec<LogAddress>, until: Micros) {
        let pending = |LogAddress { node, key }: &LogAddress| Pending { node: *node, key: key.clone() };
        let mut health = self.health();
        if logs.is_empty() {
            return;
        }
        for log in &logs {
            health.owe(pending(log), until);
        }
        health.owe_sweep(sweep.logs.iter().chain(&sweep.failed).map(pending));
    }

    /// The machine that invalidates these logs now.
    pub(crate) fn begin_invalidate(&self, logs: Vec<LogAddress>) -> Append {
        let tick = self.clock.tick();
        Append::invalidate(self.rules, logs, &[Uid::new(tick)], tick.now)
    }

    /// What is owed to the store: one attempt at delivering it. `None` if nothing is.
    pub(crate) fn begin_delivery(&self) -> Option<(Vec<Pending>, Append)> {
        let owed = self.health().owed();
        if owed.is_empty() {
            return None;
        }
        let logs = owed.iter().map(|pending| LogAddress { node: pending.node, key: pending.key.clone() }).collect();
        Some((owed, self.begin_invalidate(logs)))
    }

    /// Notes what was delivered. Returns the logs of the sweeps that it belongs to, if there are more: they are invalidated
    /// once more, since their fragments may have been rendered with what was old until now.
    pub(crate) fn end_delivery(&self, owed: &[Pending], appended: &Appended) -> Vec<LogAddress> {
        let failed: HashSet<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
        let now = self.clock.now();
        let delivered = owed.iter().enumerate().filter(|(position, _)| !failed.contains(position)).map(|(_, pending)| pending);
        let delivered: Vec<&Pending> = delivered.collect();
        let mut health = self.health();
        delivered.iter().for_each(|pending| health.deliver(pending, now));
        let sweeps = if delivered.is_empty() { BTreeSet::new() } else { health.sweeps() };
        drop(health);
        if !delivered.is_empty() {
            Counters::add(&self.counters.marks_delivered, delivered.len());
            tracing::info!(records = delivered.len(), "invalidations that waited for the store were delivered");
        }
        let logs = sweeps.into_iter().map(|Pending { node, key }| LogAddress { node, key });
        if logs.len() > 1 { logs.collect() } else { Vec::new() }
    }

    /// Whether the caller is to deliver: nobody else does.
    pub(crate) fn start_delivering(&self) -> bool {
        !self.delivering.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn stop_delivering(&self) {
        self.delivering.store(false, Ordering::SeqCst);
    }

    pub(crate) fn owes(&self) -> bool {
        self.health().owes_any()
    }

    /// A hold on this many logs. Marking many takes a part of it, so they get the longest that there is.
    pub(crate) fn hold_for(&self, logs: usize, hold: Micros) -> Micros {
        if logs > MARKED_AT_ONCE { hold.max(self.rules.longest_hold) } else { hold }
    }

    /// Marking took so long that too little of the hold is left for a COMMIT. By the policy.
    pub(crate) fn marked_late(&self, mark: &Mark) -> Result<(), Error> {
        let (records, took) = (mark.logs.len(), std::time::Duration::from(mark.took));
        let hold = std::time::Duration::from(self.rules.longest_hold);
        if self.config.policy == Policy::Abort {
            Counters::bump(&self.counters.writes_refused);
            let record = mark.logs.first().map(|log| self.readable(&log.key)).unwrap_or_default();
            let cause = format!("marking {records} records took {took:?}, and a hold lasts {hold:?} at most");
            return Err(Error::Refused { record, cause: crate::store::StoreError::refused("store", cause) });
        }
        Counters::add(&self.counters.marks_late, records);
        if self.first_time("marked late") {
            tracing::warn!(
                records,
                ?took,
                ?hold,
                "marking these records took too much of their hold: from COMMIT until the write is acknowledged, fragments from before it may be \
                 served. Change fewer rows at once, or give all processes a longer `plain_hold`"
            );
        }
        Ok(())
    }

    /// Logs a problem that is absorbed after a commit.
    pub(crate) fn sweep_incomplete(&self, error: &Error) {
        Counters::bump(&self.counters.sweeps_incomplete);
        tracing::error!(%error, "a committed write's sweep is incomplete: fragments of its ancestors may be stale until they change again or expire");
    }
}
