//! The auditor: reads a history, and finds every read that showed what was no longer so.
//!
//! It knows nothing of logs, marks or tokens. A write counts from its commit if it met the conditions of G-commit, else
//! from its acknowledgement (G-ack), or from when the store had what it was owed. What a read shows must be at least as new
//! as all writes that counted when it began.

use std::collections::BTreeMap;

use crate::history::{History, Moment, Read, Shown, Write};
use crate::model::{Fact, Kind};

/// A read that was stale.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The read.
    pub read: Read,
    /// What was old.
    pub shown: Shown,
    /// The write that it should have shown.
    pub write: usize,
    /// Its version.
    pub version: u64,
    /// From when on it counted.
    pub since: Moment,
}

impl Stale {
    /// The finding in words.
    pub fn describe(&self, history: &History) -> String {
        let Self { read, shown, version, since, .. } = self;
        let write = &history.writes[self.write];
        let kind = match write.committed {
            Some(committed) if committed == *since => "committed",
            _ if write.acknowledged == Some(*since) => "acknowledged",
            _ => "delivered",
        };
        format!(
            "p{} showed {} ({}), begun at {} ms: {} in version {}, but version {} was {kind} at {} ms by p{} ({})",
            read.life,
            read.label,
            read.outcome,
            read.began.at / 1000,
            shown.fact,
            shown.version,
            version,
            since.at / 1000,
            write.life,
            write.label,
        )
    }
}

/// Finds the stale reads of a history. `skew` in microseconds; `only_acked`: commits alone count for nothing.
pub fn audit(history: &History, skew: u64, only_acked: bool) -> Vec<Stale> {
    // For each fact, the writes that count, in the order of since when, each with the newest version up to it.
    let mut counting: BTreeMap<Fact, Vec<Counting>> = BTreeMap::new();
    for (number, write) in history.writes.iter().enumerate() {
        let Some(committed) = write.committed else { continue };
        let Some(since) = (if write.claims_commit && !only_acked { Some(committed) } else { write.delivered }) else { continue };
        for &(fact, version) in &write.facts {
            counting.entry(fact).or_default().push(Counting { since, version, write: number, newest: version });
        }
    }
    for entries in counting.values_mut() {
        entries.sort_unstable_by_key(|entry| (entry.since, entry.version));
        let mut newest = 0;
        for entry in entries {
            newest = newest.max(entry.version);
            entry.newest = newest;
        }
    }
    let mut found = Vec::new();
    for read in &history.reads {
        for &shown in &read.shown {
            let Some(entries) = counting.get(&shown.fact) else { continue };
            let before =
                entries.partition_point(
                    |Counting { since, .. }| {
                        if shown.lag > 0 { since.at + shown.lag + skew < read.began.at } else { *since <= read.began }
                    },
                );
            let entries = &entries[..before];
            if entries.last().is_none_or(|last| last.newest <= shown.version) {
                continue;
            }
            let missed = entries.iter().rev().find(|entry| entry.version > shown.version && concerns(&history.writes[entry.write], shown));
            if let Some(&Counting { since, version, write, .. }) = missed {
                found.push(Stale { read: read.clone(), shown, write, version, since });
            }
        }
    }
    found
}

/// Whether a write concerns a fact where it is shown. If a row is shown below a parent that it has left, it is the write
/// that moved it which must be seen there; later writes concern its new place.
fn concerns(write: &Write, shown: Shown) -> bool {
    let within = [shown.article.map(|id| Kind::Article.record(id)), shown.section.map(|id| Kind::Section.record(id))];
    within.iter().flatten().all(|record| write.records.contains(record))
}

#[derive(Clone, Copy)]
struct Counting {
    since: Moment,
    version: u64,
    write: usize,
    newest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACT: Fact = Fact::Own(Kind::Comment, 1);

    fn moment(number: u64) -> Moment {
        Moment { number, at: number * 1000 }
    }

    fn history(claims_commit: bool, shown: u64, began: u64, lag: u64) -> History {
        let write = |version, committed, delivered| Write {
            committed: Some(moment(committed)),
            delivered: Some(moment(delivered)),
            facts: vec![(FACT, version)],
            claims_commit,
            ..Write::default()
        };
        let shown = vec![Shown { fact: FACT, version: shown, lag, article: None, section: None }];
        let read = Read { life: 0, label: String::new(), began: moment(began), ended: moment(99), outcome: String::new(), shown };
        let mut history = History::default();
        (history.writes, history.reads) = (vec![write(1, 1, 5), write(2, 10, 20)], vec![read]);
        history
    }

    fn stale(claims_commit: bool, shown: u64, began: u64, lag: u64) -> usize {
        audit(&history(claims_commit, shown, began, lag), 1000, false).len()
    }

    #[test]
    fn writes_count_from_their_commit_or_their_acknowledgement() {
        assert_eq!(stale(true, 1, 9, 0), 0);
        assert_eq!(stale(true, 1, 11, 0), 1);
        assert_eq!(stale(false, 1, 11, 0), 0);
        assert_eq!(stale(false, 1, 21, 0), 1);
        assert_eq!(stale(false, 2, 21, 0), 0);
        assert_eq!(audit(&history(true, 1, 11, 0), 1000, true).len(), 0);
    }

    #[test]
    fn a_write_concerns_what_is_above_its_row() {
        let mut moved = history(true, 1, 11, 0);
        moved.reads[0].shown[0].article = Some(7);
        assert_eq!(audit(&moved, 1000, false).len(), 0);
        moved.writes[1].records.insert(Kind::Article.record(7));
        assert_eq!(audit(&moved, 1000, false).len(), 1);
    }

    #[test]
    fn what_may_lag_may_lag_by_the_bound_and_the_skew() {
        assert_eq!(stale(true, 1, 15, 4_000), 0);
        assert_eq!(stale(true, 1, 16, 4_000), 1);
    }
}
