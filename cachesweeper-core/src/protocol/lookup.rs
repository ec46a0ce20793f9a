//! Looking fragments up: one batch per node, in the order logs, fragments, marker.
//!
//! The marker is read last, and again in every re-read: what was read before a restart must not be trusted after it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::DefaultHashBuilder;
use smallvec::SmallVec;

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

/// Where a fragment comes from.
#[derive(Clone, Copy)]
enum Fragment<'a> {
    Stored(&'a Reply),
    /// Kept by the process itself.
    Near(&'a Cached),
}

/// The logs' states, and the places of the queries' logs among them, query by query.
struct Logs<'a> {
    states: &'a [LogState],
    barred: &'a HashMap<usize, Reason>,
    places: &'a [usize],
}

/// The same for one query.
#[derive(Clone, Copy)]
struct LogsOf<'a> {
    states: &'a [LogState],
    barred: &'a HashMap<usize, Reason>,
    places: &'a [usize],
}

impl<'a> Logs<'a> {
    /// Those of the next query.
    fn of(&mut self, query: &Query) -> LogsOf<'a> {
        let (own, rest) = self.places.split_at(query.logs().count().min(self.places.len()));
        self.places = rest;
        LogsOf { states: self.states, barred: self.barred, places: own }
    }
}

/// Looks fragments up. See [`Found`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    rules: Rules,
    queries: Arc<[Query]>,
    logs: SmallVec<[LogAddress; 1]>,
    /// For each log that a query depends on, in the queries' order, its place in `logs`.
    places: SmallVec<[usize; 2]>,
    /// The marker's key and the nodes that it is read on.
    marker: Arc<str>,
    nodes: SmallVec<[usize; 2]>,
    read_at: Micros,
    /// Operations sent ahead of the batch, to be skipped in its replies.
    ahead: usize,
    again: bool,
    done: Option<Vec<Found>>,
}

impl Lookup {
    /// A lookup of these queries; `marker` is the store key of the nodes' markers.
    pub fn new(rules: Rules, marker: Arc<str>, queries: impl Into<Arc<[Query]>>) -> Self {
        let queries = queries.into();
        /// Of so few logs each is looked for where it is.
        const FEW: usize = 4;
        let (mut logs, mut places, mut nodes) =
            (SmallVec::with_capacity(queries.len()), SmallVec::with_capacity(queries.len()), SmallVec::new());
        let many = if queries.len() > FEW { queries.len() } else { 0 };
        let mut known: HashMap<&LogAddress, usize, DefaultHashBuilder> = HashMap::with_capacity_and_hasher(many, <_>::default());
        for query in queries.iter().filter(|query| query.refused.is_none()) {
            nodes.push(query.node);
            for log in query.logs() {
                nodes.push(log.node);
                let next = logs.len();
                let place = match logs.iter().take(FEW).position(|other| other == log) {
                    Some(place) => place,
                    None if next < FEW => next,
                    None => *known.entry(log).or_insert(next),
                };
                places.push(place);
                if place == next {
                    logs.push(log.clone());
                }
            }
        }
        drop(known);
        nodes.sort_unstable();
        nodes.dedup();
        Self { rules, queries, logs, places, marker, nodes, read_at: Micros(0), ahead: 0, again: false, done: None }
    }

    /// The queries, as they were given.
    pub fn into_queries(self) -> Arc<[Query]> {
        self.queries
    }

    /// Whether a query's fragment is fetched. What the process has kept need not be, if it is still valid; a second batch fetches
    /// everything.
    fn is_fetched(&self, query: &Query) -> bool {
        query.refused.is_none() && (self.again || query.near.is_none())
    }

    fn batch(&mut self, ahead: Vec<Op>, tick: Tick) -> Step<Lookups> {
        self.read_at = tick.now;
        self.ahead = ahead.len();
        let mut ops = ahead;
        ops.reserve(self.logs.len() + self.queries.len() + self.nodes.len());
        ops.extend(self.logs.iter().map(|log| Op::get(log.node, log.key.clone())));
        ops.extend(self.queries.iter().filter(|query| self.is_fetched(query)).map(|query| Op::get(query.node, query.store_key.clone())));
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

    /// Judges one query by its fragment, from the store or kept, and the states of its logs.
    fn judge(&self, query: &Query, fragment: Fragment<'_>, logs: &mut Logs<'_>, stamp: &mut StampBuilder) -> Found {
        let logs = logs.of(query);
        let cached = match fragment {
            Fragment::Stored(Reply::Value(bytes)) => Envelope::decode(bytes, &query.full_key).map(Cached::from),
            Fragment::Stored(_) => None,
            Fragment::Near(cached) => Some(cached.clone()),
        };
        let stale = |cached: Option<Cached>| {
            let oldest = self.read_at.minus(query.serve_stale?);
            cached.filter(|cached| cached.read_at >= oldest)
        };
        if matches!(fragment, Fragment::Stored(Reply::Failed(_))) {
            let reason = logs.barred.get(&query.node).copied().unwrap_or(Reason::NodeDown);
            return Found::Bypass { reason, stale: None };
        }
        let (settled, stamp) = match self.stamp(query, logs, stamp) {
            Ok(stamped) => stamped,
            Err(reason) => return Found::Bypass { reason, stale: stale(cached) },
        };
        match cached {
            Some(cached) if cached.stamp == stamp => Found::Hit(cached),
            cached => Found::Miss { stamp, settled, stale: stale(cached) },
        }
    }

    /// What the fragment must be stored with, and from when on data are new enough; or why neither can be told.
    fn stamp(&self, query: &Query, logs: LogsOf<'_>, stamp: &mut StampBuilder) -> Result<(Micros, Stamp), Reason> {
        if let Some(reason) = logs.barred.get(&query.node) {
            return Err(*reason);
        }
        stamp.clear();
        let mut latest = query.rows_settled;
        let mut states = logs.places.iter().map(|&place| &logs.states[place]);
        for part in &query.parts {
            let log = match part {
                Part::Row(digest) => {
                    stamp.row(*digest);
                    continue;
                }
                Part::Log(log) => log,
            };
            if let Some(reason) = logs.barred.get(&log.node) {
                return Err(*reason);
            }
            match states.next() {
                Some(LogState::Usable { token, settled, .. }) => {
                    stamp.token(*token);
                    latest = latest.max(settled.plus(self.rules.skew));
                }
                Some(LogState::Held) => return Err(Reason::Held),
                Some(LogState::Adopted) => return Err(Reason::Adopted),
                Some(LogState::Absent) => return Err(Reason::Evicted),
                Some(LogState::Failed) | None => return Err(Reason::NodeDown),
            }
        }
        Ok((latest, stamp.finish()))
    }

    /// The latest end of a quarantine that was read: a page opened before it may not store.
    fn quarantined_until(&self, replies: &[Reply]) -> Micros {
        let ends = replies.iter().filter_map(|reply| Marker::parse(reply.value()?)?.deadline());
        ends.map(|end| end.plus(self.rules.skew)).max().unwrap_or(Micros(0))
    }

    /// Compactions of the logs that a missed fragment would be stored with: a hit needs none, the log is at rest.
    fn compactions(&self, found: &[Found], states: &[LogState]) -> Vec<Op> {
        let mut ops = BTreeMap::new();
        let mut places = self.places.iter();
        for (query, found) in self.queries.iter().zip(found).filter(|(query, _)| query.refused.is_none()) {
            for (log, &place) in query.logs().zip(&mut places) {
                if let (Found::Miss { .. }, LogState::Usable { compacted: Some(action), .. }) = (found, &states[place]) {
                    ops.insert(place, Op { node: log.node, key: log.key.clone(), action: action.clone() });
                }
            }
        }
        ops.into_values().collect()
    }

    fn read(&mut self, replies: &[Reply], tick: Tick) -> Step<Lookups> {
        let replies = &replies[self.ahead.min(replies.len())..];
        let (logs, rest) = replies.split_at(self.logs.len().min(replies.len()));
        let fetched = self.queries.iter().filter(|query| self.is_fetched(query)).count();
        let (fragments, markers) = rest.split_at(fetched.min(rest.len()));

        let (barred, mut repairs) = self.read_markers(markers, tick);
        let mut log_repairs = Vec::new();
        let logs = self.logs.iter().zip(logs);
        let states: SmallVec<[LogState; 1]> = logs.map(|(log, reply)| self.read_log(log, reply, tick, &mut log_repairs)).collect();
        // On a barred node nothing will be stored: its logs can wait. But in strict mode they have a wait of their own, which may
        // as well begin at once.
        let waits = |reason: &Reason| !(self.rules.strict && *reason == Reason::Quarantine);
        log_repairs.retain(|op| !barred.get(&op.node).is_some_and(waits));
        let absent = states.iter().zip(&self.logs);
        let mut again = absent.into_iter().any(|(state, log)| matches!(state, LogState::Absent) && !barred.contains_key(&log.node));
        repairs.append(&mut log_repairs);

        let quarantined_until = self.quarantined_until(markers);
        let (mut fragments, failed) = (fragments.iter(), Reply::No);
        let mut logs = Logs { states: &states, barred: &barred, places: &self.places };
        let mut stamp = StampBuilder::default();
        let found = self.queries.iter().map(|query| {
            if let Some(reason) = query.refused {
                return Found::Bypass { reason, stale: None };
            }
            let fragment = match &query.near {
                Some(near) if !self.again => Fragment::Near(near),
                _ => Fragment::Stored(fragments.next().unwrap_or(&failed)),
            };
            match self.judge(query, fragment, &mut logs, &mut stamp) {
                Found::Miss { stamp, settled, stale } => {
                    // Somebody may have stored the version that is valid now.
                    again |= matches!(fragment, Fragment::Near(_));
                    Found::Miss { stamp, settled: settled.max(quarantined_until), stale }
                }
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
