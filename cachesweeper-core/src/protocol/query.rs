//! What is looked up: a fragment's keys, the logs it depends on, and how its caller came by the data.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Rules;
use super::events::LogAddress;
use super::reason::Reason;
use crate::keys::{self, Namespace};
use crate::registry::Graph;
use crate::store::router::Router;
use crate::store::{Action, Op};
use crate::version::{Stamp, StampBuilder};
use crate::{Dependency, Micros, Strategy, Ttl};

/// When the caller's data are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By the closure that renders: after the lookup.
    Closure,
    /// By a page that was opened at this instant, before any of its data were loaded.
    Page(Micros),
}

/// One part of a stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The digest of a row in hand.
    Row(u128),
    /// The token of a log.
    Log(LogAddress),
}

/// One fragment to look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub(super) full_key: Arc<str>,
    pub(super) store_key: Arc<str>,
    pub(super) node: usize,
    pub(super) parts: SmallVec<[Part; 2]>,
    /// Set if the fragment may not be looked up at all.
    pub(super) refused: Option<Reason>,
    /// The latest instant at which a row in hand with a timestamp may still have been in the making.
    pub(super) rows_settled: Micros,
    pub(super) ttl: Option<Ttl>,
    pub(super) serve_stale: Option<Micros>,
    /// What the process itself has kept: if its stamp is the one that the tokens say, the store need not send the body again.
    pub(super) near: Option<Cached>,
}

/// What queries are built from; one per sweeper.
#[derive(Debug)]
pub struct QueryContext<'a> {
    /// The application's part of the store.
    pub namespace: &'a Namespace,
    /// Where records live.
    pub router: &'a Router,
    /// The entities.
    pub graph: &'a Graph,
    /// The protocol's times.
    pub rules: &'a Rules,
}

impl Query {
    /// The query for the fragment `name` of these dependencies.
    pub fn new(
        context: &QueryContext<'_>,
        name: &str,
        on: &[Dependency],
        vary: &[String],
        ttl: Option<Ttl>,
        serve_stale: Option<Micros>,
    ) -> Self {
        let full_key = context.namespace.fragment(name, on, vary);
        let mut query = Self {
            store_key: keys::store_key(&full_key),
            full_key,
            node: on.first().map_or(0, |home| context.router.node(&home.record)),
            parts: SmallVec::new(),
            refused: on.is_empty().then_some(Reason::NoDependency),
            rows_settled: Micros(0),
            ttl,
            serve_stale,
            near: None,
        };
        for dependency in on {
            query.depend(context, dependency);
        }
        query
    }

    fn depend(&mut self, context: &QueryContext<'_>, dependency: &Dependency) {
        let record = &dependency.record;
        let node = context.graph.node(record);
        // A collection or a whole entity has no row: it is always a log.
        let strategy = match node {
            Some(node) if record.is_row() => node.strategy,
            _ => Strategy::Counter,
        };
        if let Some(row) = &dependency.row {
            self.parts.push(Part::Row(row.digest));
            if strategy == Strategy::UpdatedAt {
                let written = row.updated_at.map_or(Micros(u64::MAX), |at| at.plus(context.rules.longest_hold).plus(context.rules.skew));
                self.rows_settled = self.rows_settled.max(written);
            }
        }
        match strategy {
            Strategy::Counter => self.log(context, record),
            Strategy::UpdatedAt if dependency.row.is_none() => self.refused = Some(Reason::KeyOfTimestampRecord),
            Strategy::UpdatedAt => {}
        }
        if let Some(whole) = node.filter(|node| node.reads_whole && record.is_row()).map(|node| &node.whole) {
            self.log(context, whole);
        }
    }

    fn log(&mut self, context: &QueryContext<'_>, record: &crate::RecordKey) {
        let log = LogAddress { node: context.router.node(record), key: context.namespace.log(record) };
        self.parts.push(Part::Log(log));
    }

    /// The logs that it depends on.
    pub(super) fn logs(&self) -> impl Iterator<Item = &LogAddress> {
        self.parts.iter().filter_map(|part| match part {
            Part::Log(log) => Some(log),
            Part::Row(_) => None,
        })
    }

    /// The fragment's whole key.
    pub fn full_key(&self) -> &Arc<str> {
        &self.full_key
    }

    /// The same, with what the process itself has kept of the fragment.
    pub fn with_near(mut self, near: Option<Cached>) -> Self {
        self.near = near;
        self
    }

    /// How long the fragment may be kept; `None` if it may not.
    pub(crate) fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }

    /// Whether this is a version that the process had kept.
    pub(crate) fn is_near(&self, cached: &Cached) -> bool {
        self.near.as_ref().is_some_and(|near| near.stamp == cached.stamp)
    }

    /// Takes it out of the store.
    pub(crate) fn removal(&self) -> Op {
        Op { node: self.node, key: self.store_key.clone(), action: Action::Delete }
    }

    /// Names this fragment with exactly this row in hand, for sharing renders that cannot be stored.
    pub(crate) fn in_hand(&self) -> Stamp {
        let mut rows = self.parts.iter().filter_map(|part| match part {
            Part::Row(digest) => Some(*digest),
            Part::Log(_) => None,
        });
        // The whole key tells how many rows there are, so one needs no hash around it.
        let Some(first) = rows.next() else { return Stamp::from_bytes([0; 16]) };
        let Some(second) = rows.next() else { return Stamp::from_bytes(first.to_be_bytes()) };
        let mut stamp = StampBuilder::with_capacity(self.parts.len());
        for digest in [first, second].into_iter().chain(rows) {
            stamp.row(digest);
        }
        stamp.finish()
    }
}

impl From<super::Envelope> for Cached {
    fn from(super::Envelope { stamp, read_at, body }: super::Envelope) -> Self {
        Self { body, read_at, stamp }
    }
}

/// A fragment's body from the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cached {
    /// The rendered output; UTF-8.
    pub body: Bytes,
    /// When its tokens were read.
    pub read_at: Micros,
    /// What it was stored with.
    pub stamp: Stamp,
}
