//! What does not change during a run: keys, addresses, queries, clocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::keys::Namespace;
use cachesweeper_core::protocol::{Envelope, LogAddress, Query, QueryContext};
use cachesweeper_core::registry::Graph;
use cachesweeper_core::store::Op;
use cachesweeper_core::store::router::Router;
use cachesweeper_core::version::{Event, Marker, Stamp, StampBuilder, Uid, VersionLog};
use cachesweeper_core::{Dependency, Micros, RecordKey, Tick, Ttl};

use crate::db::Truth;
use crate::setup::{Fragment, Setup};
use crate::store::Items;

/// When the model begins, by a clock that is right.
pub const BEGINNING: u64 = 16;

/// The parts of a setup as the protocol knows them.
#[derive(Clone, Debug)]
pub struct World {
    /// The setup.
    pub setup: Setup,
    /// The namespace.
    pub namespace: Namespace,
    /// The marker's key.
    pub marker: Arc<str>,
    /// Each row's log.
    pub logs: Vec<LogAddress>,
    /// Each fragment's query.
    pub queries: Vec<Query>,
}

/// A uid that no process makes.
pub fn ancient(random: u64) -> Uid {
    Uid::new(Tick { now: Micros(1), random })
}

impl World {
    /// Names everything.
    pub fn new(setup: Setup) -> Self {
        let names: Vec<Arc<str>> = (0..setup.nodes()).map(|node| Arc::from(format!("n{node}:1"))).collect();
        let (router, graph, namespace) = (Router::new(&names), Graph::default(), Namespace::new("m"));
        let mut next = 0;
        let records: Vec<RecordKey> = setup
            .rows
            .iter()
            .map(|row| {
                loop {
                    next += 1;
                    let record = RecordKey::new("r", next);
                    if router.node(&record) == row.node {
                        return record;
                    }
                }
            })
            .collect();
        let context = QueryContext { namespace: &namespace, router: &router, graph: &graph, rules: &setup.rules };
        let query = |(number, fragment): (usize, &Fragment)| {
            let on: Vec<_> = fragment.on.iter().map(|&row| Dependency { record: records[row].clone(), row: None }).collect();
            Query::new(&context, &format!("f{number}"), &on, &[], Some(Ttl::days(1)), fragment.serve_stale.map(Micros))
        };
        let queries = setup.fragments.iter().enumerate().map(query).collect();
        let logs = records.iter().map(|record| LogAddress { node: router.node(record), key: namespace.log(record) }).collect();
        Self { marker: namespace.marker(), logs, queries, namespace, setup }
    }

    /// A process's clock.
    pub fn clock(&self, process: usize, now: u8) -> Micros {
        Micros(BEGINNING + u64::from(now) + self.setup.ahead[process])
    }

    /// What the nodes have at the beginning: cleared markers, logs at rest, and, if the setup says so, the fragments.
    pub fn items(&self) -> Items {
        let mut items = Items::new();
        for (row, log) in self.logs.iter().enumerate() {
            items.insert((log.node, log.key.clone()), self.first_log(row).to_bytes().into());
        }
        for node in 0..self.setup.nodes() {
            let bytes = [Marker::bare(ancient(900)), Marker::quarantine(ancient(900), Micros(2))].concat();
            items.insert((node, self.marker.clone()), bytes.into());
        }
        if self.setup.filled {
            for (number, fragment) in self.setup.fragments.iter().enumerate() {
                let shown: Vec<(usize, Truth)> = self.shown(number).into_iter().map(|row| (row, 0)).collect();
                let envelope = Envelope { stamp: self.stamp(fragment, &items), read_at: Micros(BEGINNING), body: body(&shown) };
                let query = &self.queries[number];
                let node = self.logs[fragment.on[0]].node;
                items.insert((node, query.full_key().clone()), envelope.encode(query.full_key()));
            }
        }
        items
    }

    fn first_log(&self, row: usize) -> VersionLog {
        let head = ancient(row as u64);
        let mut log = VersionLog::fresh(head);
        if self.setup.rules.strict {
            log = log.with(Event::Quarantine { head, deadline: Micros(2) });
        }
        if self.setup.long_logs {
            // One event more than a reader leaves alone; more than a mark that looks does.
            let events = if self.setup.checking_marks { 20 } else { 10 };
            for number in 0..events {
                log = log.with(Event::Release { uid: ancient(100 + number), birth: Micros(1) });
            }
        }
        log
    }

    /// The rows that a fragment shows, with those of what is inside of it.
    pub fn shown(&self, fragment: usize) -> Vec<usize> {
        let Fragment { shows, inner, .. } = &self.setup.fragments[fragment];
        let mut rows = shows.clone();
        rows.extend(inner.map(|inner| self.shown(inner)).unwrap_or_default());
        rows
    }

    /// The stamp that a fragment would have with the logs as they are now.
    pub fn stamp(&self, fragment: &Fragment, items: &Items) -> Stamp {
        let mut stamp = StampBuilder::default();
        for &row in &fragment.on {
            let log = &self.logs[row];
            let bytes = items.get(&(log.node, log.key.clone()));
            stamp.token(VersionLog::token(bytes.map_or(&[][..], |bytes| &bytes[..])));
        }
        stamp.finish()
    }

    /// Of a marker only its head and its end are ever read: the order and number of its quarantines make no difference.
    pub fn tidy_marker(&self, items: &mut Items, op: &Op) {
        if op.key == self.marker
            && let Some(bytes) = items.get_mut(&(op.node, op.key.clone()))
            && let Some(marker) = Marker::parse(bytes)
        {
            let end = marker.deadline().map(|deadline| Marker::quarantine(marker.head(), deadline));
            *bytes = [Marker::bare(marker.head()), end.unwrap_or_default()].concat().into();
        }
    }

    /// What an item is, in a word.
    pub fn name(&self, key: &str) -> String {
        if *key == *self.marker {
            return "the marker".into();
        }
        if let Some(row) = self.logs.iter().position(|log| *log.key == *key) {
            return format!("the log of row {row}");
        }
        match self.queries.iter().position(|query| **query.full_key() == *key) {
            Some(number) => format!("fragment {number}"),
            None => "a lease".into(),
        }
    }

    /// Whether a key is that of a log.
    pub fn is_log(&self, key: &str) -> bool {
        self.logs.iter().any(|log| *log.key == *key)
    }
}

/// A rendered fragment: which version of which row it shows.
pub fn body(shown: &[(usize, Truth)]) -> Bytes {
    let words: Vec<String> = shown.iter().map(|(row, truth)| format!("{row}={truth}")).collect();
    words.join(" ").into()
}

/// What a rendered fragment shows; of each row the oldest version.
pub fn shown_by(body: &[u8]) -> BTreeMap<usize, Truth> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut shown = BTreeMap::new();
    for word in text.split_whitespace() {
        let Some((row, truth)) = word.split_once('=') else { continue };
        let (Ok(row), Ok(truth)) = (row.parse(), truth.parse()) else { continue };
        let oldest: &mut Truth = shown.entry(row).or_insert(truth);
        *oldest = truth.min(*oldest);
    }
    shown
}
