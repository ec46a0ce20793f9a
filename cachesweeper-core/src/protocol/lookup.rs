//! Looking fragments up: one batch per node, in the order logs, fragments, marker.
//!
//! The marker is read last, and again in every re-read: what was read before a restart must not be trusted after it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::events::LogAddress;
use super::query::{Cached, Part, Query};
use super::reason::Reason;
use super::{Envelope, Input, Machine, Rules, Step};
use crate::store::{Action, Op, Reply};
use crate::version::{Event, Marker, Stamp, StampBuilder, Token, Uid, VersionLog};
use crate::{Micros, Tick};

/// What a lookup found of one fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// It is valid.
    Hit(Cached),
    /// It is not there, or not valid any more.
    Miss {
        /// What the fragment must be stored with.
        stamp: Stamp,
        /// Data that were loaded after this instant were loaded after every write that the tokens know of.
        settled: Micros,
        /// An older version, if `serve_stale` allows it.
        stale: Option<Cached>,
    },
    /// Render, and store nothing.
    Bypass {
        /// Why.
        reason: Reason,
        /// An older version, if `serve_stale` allows it.
        stale: Option<Cached>,
    },
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookups {
    /// For each query, in order.
    pub found: Vec<Found>,
    /// When the tokens were read: before the batch was sent.
    pub read_at: Micros,
}

#[derive(Clone, Debug)]
enum LogState {
    Usable {
        token: Token,
        settled: Micros,
        /// What to replace the log by before a fragment is stored with its token; `None` while it is short.
        compacted: Option<Action>,
    },
    Held,
    /// Strict mode: it may have replaced a log with open holds.
    Adopted,
    Absent,
    Failed,
}

/// Looks fragments up. See [`Found`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    rules: Rules,
    queries: Vec<Query>,
    logs: Vec<LogAddress>,
    positions: BTreeMap<LogAddress, usize>,
    /// The marker's key and the nodes that it is read on.
    marker: String,
    nodes: Vec<usize>,
    read_at: Micros,
    /// Operations sent ahead of the batch, to be skipped in its replies.
    ahead: usize,
    again: bool,
    done: Option<Vec<Found>>,
}

impl Lookup {
    /// A lookup of these queries; `marker` is the store key of the nodes' markers.
    pub fn new(rules: Rules, marker: String, queries: Vec<Query>) -> Self {
        let (mut logs, mut positions) = (Vec::new(), BTreeMap::new());
        let mut nodes = Vec::new();
        for query in queries.iter().filter(|query| query.refused.is_none()) {
            nodes.push(query.node);
            for part in &query.parts {
                let Part::Log(log) = part else { continue };
                nodes.push(log.node);
                if !positions.contains_key(log) {
                    positions.insert(log.clone(), logs.len());
                    logs.push(log.clone());
                }
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        let none = Micros(0);
        Self { rules, queries, logs, positions, marker, nodes, read_at: none, ahead: 0, again: false, done: None }
    }

    /// The queries, as they were given.
    pub fn into_queries(self) -> Vec<Query> {
        self.queries
    }

    fn asked(&self) -> impl Iterator<Item = &Query> {
        self.queries.iter().filter(|query| query.refused.is_none())
    }

    fn batch(&mut self, ahead: Vec<Op>, tick: Tick) -> Step<Lookups> {
        self.read_at = tick.now;
        self.ahead = ahead.len();
        let mut ops = ahead;
        ops.extend(self.logs.iter().map(|log| Op::get(log.node, log.key.clone())));
        ops.extend(self.asked().map(|query| Op::get(query.node, query.store_key.clone())));
        if self.rules.markers {
            ops.extend(self.nodes.iter().map(|&node| Op::get(node, self.marker.clone())));
        }
        Step::Run(ops)
    }

    /// What each node's marker allows, and the operation that helps it along.
    fn read_markers(&self, replies: &[Reply], tick: Tick) -> (HashMap<usize, Reason>, Vec<Op>) {
        let (mut barred, mut repairs) = (HashMap::new(), Vec::new());
        if !self.rules.markers {
            return (barred, repairs);
        }
        let ttl = self.rules.marker_ttl;
        let mut repair = |node, action| repairs.push(Op { node, key: self.marker.clone(), action });
        for (&node, reply) in self.nodes.iter().zip(replies) {
            let marker = match reply {
                Reply::Failed(_) => {
                    barred.insert(node, Reason::NodeDown);
                    continue;
                }
                reply => reply.value().map(|bytes| Marker::parse(bytes)),
            };
            match marker {
                Some(Some(marker)) if marker.is_clear(tick.now, self.rules.skew) => continue,
                Some(Some(marker)) if marker.deadline().is_some() => {}
                Some(Some(marker)) => {
                    // Computed now, after the head was seen: every hold that the node may have forgotten ends before it.
                    let deadline = tick.now.plus(self.rules.longest_hold).plus(self.rules.skew);
                    let bytes = Bytes::from(Marker::quarantine(marker.head(), deadline));
                    repair(node, Action::Append(bytes, ttl));
                }
                Some(None) => repair(node, Action::Set(Bytes::from(Marker::bare(Uid::new(tick))), ttl)),
                None => repair(node, Action::Add(Bytes::from(Marker::bare(Uid::new(tick))), ttl)),
            }
            barred.insert(node, Reason::Quarantine);
        }
        (barred, repairs)
    }

    /// Reads one log; `repair` gets the operation that adds, replaces or compacts it.
    fn read_log(&self, log: &LogAddress, reply: &Reply, tick: Tick, repair: &mut Vec<Op>) -> LogState {
        let ttl = self.rules.log_ttl;
        let mut push = |action| repair.push(Op { node: log.node, key: log.key.clone(), action });
        let fresh = || Bytes::from(VersionLog::fresh(Uid::new(tick)).to_bytes());
        let bytes = match reply {
            Reply::Value(bytes) => bytes,
            Reply::Failed(_) => return LogState::Failed,
            _ => {
                push(Action::Add(fresh(), ttl));
                return LogState::Absent;
            }
        };
        let Ok(parsed) = VersionLog::parse(bytes) else {
            // Computed now, after the bytes were seen: every hold that they may have swallowed ends before it.
            let until = tick.now.plus(self.rules.longest_hold).plus(self.rules.skew);
            let held = VersionLog::in_place_of_malformed(Uid::new(tick), until).to_bytes();
            push(Action::Replace(bytes.clone(), Bytes::from(held), ttl));
            return LogState::Held;
        };
        let compacted = (bytes.len() > VersionLog::COMPACT_ABOVE).then(|| {
            let shorter = parsed.compacted(Uid::new(tick), tick.now, self.rules.skew).to_bytes();
            Action::Replace(bytes.clone(), Bytes::from(shorter), ttl)
        });
        let held = parsed.is_held(tick.now, self.rules.skew);
        if self.rules.strict && parsed.quarantine().is_none() {
            // In a step after the one that saw the head: an `add` that brought its quarantine along and landed late would bring
            // an old deadline.
            let deadline = tick.now.plus(self.rules.longest_hold).plus(self.rules.skew);
            let quarantine = Event::Quarantine { head: parsed.head(), deadline };
            push(compacted.unwrap_or_else(|| Action::Append(Bytes::copy_from_slice(&quarantine.to_bytes()), ttl)));
            return if held { LogState::Held } else { LogState::Adopted };
        }
        if held {
            compacted.map(push);
            return LogState::Held;
        }
        if self.rules.strict && !parsed.is_clear(tick.now, self.rules.skew) {
            compacted.map(push);
            return LogState::Adopted;
        }
        LogState::Usable { token: VersionLog::token(bytes), settled: parsed.settled(self.rules.landing), compacted }
    }

    fn judge(&self, query: &Query, reply: &Reply, logs: &[LogState], barred: &HashMap<usize, Reason>) -> Found {
        let envelope = match reply {
            Reply::Value(bytes) => Envelope::decode(bytes, &query.full_key),
            _ => None,
        };
        let stale = || {
            let oldest = self.read_at.minus(query.serve_stale?);
            let envelope = envelope.clone().filter(|envelope| envelope.read_at >= oldest)?;
            Some(Cached { body: envelope.body, read_at: envelope.read_at, stamp: envelope.stamp })
        };
        let bypass = |reason| Found::Bypass { reason, stale: stale() };
        if let Some(reason) = barred.get(&query.node) {
            return bypass(*reason);
        }
        if matches!(reply, Reply::Failed(_)) {
            return bypass(Reason::NodeDown);
        }
        let mut stamp = StampBuilder::with_capacity(query.parts.len());
        let mut latest = query.rows_settled;
        for part in &query.parts {
            let log = match part {
                Part::Row(digest) => {
                    stamp.row(*digest);
                    continue;
                }
                Part::Log(log) => log,
            };
            if let Some(reason) = barred.get(&log.node) {
                return bypass(*reason);
            }
            match &logs[self.positions[log]] {
                LogState::Usable { token, settled, .. } => {
                    stamp.token(*token);
                    latest = latest.max(settled.plus(self.rules.skew));
                }
                LogState::Held => return bypass(Reason::Held),
                LogState::Adopted => return bypass(Reason::Adopted),
                LogState::Absent => return bypass(Reason::Evicted),
                LogState::Failed => return bypass(Reason::NodeDown),
            }
        }
        let stamp = stamp.finish();
        match envelope {
            Some(Envelope { body, read_at, stamp: own }) if own == stamp => Found::Hit(Cached { body, read_at, stamp }),
            _ => Found::Miss { stamp, settled: latest, stale: stale() },
        }
    }

    /// The latest end of a quarantine that was read: a page opened before it may not store.
    fn quarantined_until(&self, replies: &[Reply]) -> Micros {
        let ends = replies.iter().filter_map(|reply| Marker::parse(reply.value()?)?.deadline());
        ends.map(|end| end.plus(self.rules.skew)).max().unwrap_or(Micros(0))
    }

    /// Compactions of the logs that a missed fragment would be stored with: a hit needs none, the log is at rest.
    fn compactions(&self, found: &[Found], states: &[LogState]) -> Vec<Op> {
        let mut ops = BTreeMap::new();
        for (query, found) in self.queries.iter().zip(found) {
            if !matches!(found, Found::Miss { .. }) {
                continue;
            }
            for part in &query.parts {
                let Part::Log(log) = part else { continue };
                let position = self.positions[log];
                if let LogState::Usable { compacted: Some(action), .. } = &states[position] {
                    ops.insert(position, Op { node: log.node, key: log.key.clone(), action: action.clone() });
                }
            }
        }
        ops.into_values().collect()
    }

    fn read(&mut self, replies: &[Reply], tick: Tick) -> Step<Lookups> {
        let replies = &replies[self.ahead.min(replies.len())..];
        let (logs, rest) = replies.split_at(self.logs.len().min(replies.len()));
        let (fragments, markers) = rest.split_at(self.asked().count().min(rest.len()));

        let (barred, mut repairs) = self.read_markers(markers, tick);
        let mut log_repairs = Vec::new();
        let logs = self.logs.iter().zip(logs);
        let states: Vec<LogState> = logs.map(|(log, reply)| self.read_log(log, reply, tick, &mut log_repairs)).collect();
        // On a barred node nothing will be stored: its logs can wait. But in strict mode they have a wait of their own, which may
        // as well begin at once.
        let waits = |reason: &Reason| !(self.rules.strict && *reason == Reason::Quarantine);
        log_repairs.retain(|op| !barred.get(&op.node).is_some_and(waits));
        let absent = states.iter().zip(&self.logs);
        let mut again = absent.into_iter().any(|(state, log)| matches!(state, LogState::Absent) && !barred.contains_key(&log.node));
        repairs.append(&mut log_repairs);

        let quarantined_until = self.quarantined_until(markers);
        let (mut fragments, failed) = (fragments.iter(), Reply::No);
        let found = self.queries.iter().map(|query| {
            if let Some(reason) = query.refused {
                return Found::Bypass { reason, stale: None };
            }
            match self.judge(query, fragments.next().unwrap_or(&failed), &states, &barred) {
                Found::Miss { stamp, settled, stale } => Found::Miss { stamp, settled: settled.max(quarantined_until), stale },
                other => other,
            }
        });
        let found: Vec<Found> = found.collect();
        let mut compactions = self.compactions(&found, &states);
        again |= !compactions.is_empty();
        repairs.append(&mut compactions);

        if again && !self.again {
            self.again = true;
            return self.batch(repairs, tick);
        }
        if self.again {
            // The logs that the first step has added are seen now, so their quarantines can begin; the rest can wait.
            repairs.retain(|op| matches!(op.action, Action::Append(..)) && !barred.contains_key(&op.node));
        }
        if repairs.is_empty() {
            return Step::Done(Lookups { found, read_at: self.read_at });
        }
        self.done = Some(found);
        Step::Run(repairs)
    }
}

impl Machine for Lookup {
    type Output = Lookups;

    fn advance(&mut self, input: Input, tick: Tick) -> Step<Lookups> {
        if let Some(found) = self.done.take() {
            // The repairs' replies do not matter: who comes next sees what became of them.
            return Step::Done(Lookups { found, read_at: self.read_at });
        }
        match input {
            Input::Replies(replies) => self.read(&replies, tick),
            Input::Start | Input::Slept if self.nodes.is_empty() => self.read(&[], tick),
            Input::Start | Input::Slept => self.batch(Vec::new(), tick),
        }
    }
}
