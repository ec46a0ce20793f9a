//! Serving fragments: look up, join flights, take leases, render, store.
//!
//! A [`Serve`] says its next step like every machine, with three steps more that only a driver can take: joining flights
//! of this process, gathering callers of a render that cannot be stored, and rendering.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::DefaultHashBuilder;
use smallvec::{SmallVec, smallvec};

use super::lookup::{Found, Lookup, Lookups};
use super::query::{Cached, Mode, Query};
use super::reason::Reason;
use super::{Envelope, Input, Machine, Rules, Step};
use crate::keys::Namespace;
use crate::store::{Action, Op, Reply, StoreError};
use crate::version::Stamp;
use crate::{Micros, Tick};

/// How one fragment was served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// From the store, and valid.
    Hit(Cached),
    /// From another caller of this process, who rendered it for both.
    Shared(Bytes),
    /// From the store, an older version within the bound of `serve_stale`.
    Stale(Cached),
    /// Rendered now, and stored.
    Filled(Cached),
    /// Rendered now, and not stored.
    Unstored(Bytes, Unstored),
}

/// Why a rendered fragment was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unstored {
    /// The lookup was a bypass.
    Bypass(Reason),
    /// The page's data may have been loaded before a write that the tokens know of.
    LoadedTooEarly,
    /// An inner fragment was a bypass, or served stale.
    Inner,
    /// It is larger than the store takes.
    TooLarge,
    /// The store did not take it.
    Failed(StoreError),
}

/// What a [`Serve`] asks for.
#[derive(Debug)]
pub enum ServeStep {
    /// Run this batch: [`ServeInput::Replies`].
    Run(Vec<Op>),
    /// Sleep this long: [`ServeInput::Slept`].
    Sleep(Duration),
    /// Lead the flights of all these fragments, or wait for those that others lead: [`ServeInput::Joined`].
    Join(Vec<Flight>),
    /// Wait for the render of this fragment that runs now, and render once for all who did: [`ServeInput::Gathered`].
    Gather(Flight),
    /// Render these fragments, by their position: [`ServeInput::Rendered`].
    Render(Vec<usize>),
    /// All are served; one [`Served`] per query.
    Done(Vec<Served>),
}

/// A render that callers can share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The fragment's position.
    pub position: usize,
    /// The fragment's whole key.
    pub key: Arc<str>,
    /// The version; for a render that cannot be stored, the rows in hand.
    pub stamp: Stamp,
    /// Whether the caller would rather have an older version than wait.
    pub impatient: bool,
}

/// What has happened since the last step of a [`Serve`].
#[derive(Debug)]
pub enum ServeInput {
    /// The first step.
    Start,
    /// The batch was run.
    Replies(Vec<Reply>),
    /// The time is over.
    Slept,
    /// The flights were joined; the others' results, by position. A flight without one is ours, or nobody's.
    Joined(Vec<(usize, Bytes)>),
    /// Others rendered it for us, or we render.
    Gathered(Option<Bytes>),
    /// The bodies, in the order they were asked for, and whether nothing inside them forbids to store them.
    Rendered(Vec<Bytes>, bool),
}

/// A list that mostly has one member: most calls ask for one fragment.
type Few<T> = SmallVec<[T; 1]>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Waiting for a lookup's answer.
    Unknown,
    /// To be rendered and stored.
    Miss {
        stamp: Stamp,
        read_at: Micros,
        storable: bool,
        stale: Option<Cached>,
        leased: bool,
    },
    /// To be rendered only.
    Bypass {
        reason: Reason,
        read_at: Micros,
        keep_for_stale: bool,
    },
    Served(Served),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    LookUp(Box<Lookup>, Few<usize>),
    Flights,
    Leases(Vec<usize>),
    WaitForLease(Vec<usize>),
    Gather,
    Render(Vec<usize>),
    Fill(Vec<usize>),
    Ended,
}

/// Serves fragments: look up, join flights, take leases, render, store. A driver runs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serve {
    rules: Rules,
    namespace: Namespace,
    marker: Arc<str>,
    mode: Mode,
    /// The queries, each once.
    queries: Arc<[Query]>,
    /// For each query, the position at which its caller first asked for it.
    first: Few<usize>,
    /// For each position of the caller, its query.
    query_of: Few<usize>,
    states: Few<State>,
    waited: Micros,
    stage: Stage,
}

impl Serve {
    /// Serves these queries. One that is asked for twice is looked up, leased and rendered once.
    pub fn new(rules: Rules, namespace: Namespace, mode: Mode, asked: impl Into<Arc<[Query]>>) -> Self {
        let (marker, asked) = (namespace.marker(), asked.into());
        let (first, query_of) = Self::each_once(&asked);
        let queries = if first.len() < asked.len() { first.iter().map(|&position| asked[position].clone()).collect() } else { asked };
        let lookup = Lookup::new(rules, marker.clone(), queries.clone());
        let all = (0..queries.len()).collect();
        let (states, waited, stage) = (smallvec![State::Unknown; queries.len()], Micros(0), Stage::LookUp(Box::new(lookup), all));
        Self { rules, namespace, marker, mode, queries, first, query_of, states, waited, stage }
    }

    /// For each different query its first position, and for each position its query.
    fn each_once(asked: &[Query]) -> (Few<usize>, Few<usize>) {
        if asked.len() == 1 {
            return (smallvec![0], smallvec![0]);
        }
        let mut known = HashMap::with_capacity_and_hasher(asked.len(), DefaultHashBuilder::default());
        let (mut first, mut query_of) = (Few::with_capacity(asked.len()), Few::with_capacity(asked.len()));
        for (position, query) in asked.iter().enumerate() {
            let next = first.len();
            let place = *known.entry((&*query.full_key, query.in_hand())).or_insert(next);
            query_of.push(place);
            if place == next {
                first.push(position);
            }
        }
        (first, query_of)
    }

    /// The operations that give up what this caller holds, when rendering has failed.
    pub fn abandon(&self) -> Vec<Op> {
        let leased = (0..self.states.len()).filter(|&position| matches!(self.states[position], State::Miss { leased: true, .. }));
        leased.filter_map(|position| self.end_lease(position)).collect()
    }

    /// What was served from the store so far, by the caller's positions.
    pub fn hits(&self) -> impl Iterator<Item = (usize, &Cached)> {
        self.query_of.iter().enumerate().filter_map(|(position, &query)| match self.states.get(query) {
            Some(State::Served(Served::Hit(cached))) => Some((position, cached)),
            _ => None,
        })
    }

    /// Starts behind the lookup: what it found of the only query is known already.
    pub fn found(mut self, found: Found, read_at: Micros) -> (Self, ServeStep) {
        self.looked_up(&[0], Lookups { found: vec![found], read_at });
        let step = self.flights();
        (self, step)
    }

    /// The next step.
    pub fn advance(&mut self, input: ServeInput, tick: Tick) -> ServeStep {
        match (std::mem::replace(&mut self.stage, Stage::Ended), input) {
            (Stage::LookUp(lookup, positions), ServeInput::Start) => self.look_up(lookup, positions, Input::Start, tick),
            (Stage::LookUp(lookup, positions), ServeInput::Replies(replies)) => {
                self.look_up(lookup, positions, Input::Replies(replies), tick)
            }
            (Stage::Flights, ServeInput::Joined(shared)) => self.joined(shared),
            (Stage::Leases(asked), ServeInput::Replies(replies)) => self.leased(&asked, &replies),
            (Stage::WaitForLease(positions), ServeInput::Slept) => {
                let queries: Vec<Query> = positions.iter().map(|&position| self.queries[position].clone()).collect();
                let lookup = Box::new(Lookup::new(self.rules, self.marker.clone(), queries));
                self.look_up(lookup, positions.into(), Input::Start, tick)
            }
            (Stage::Gather, ServeInput::Gathered(Some(body))) => {
                for state in &mut self.states {
                    if let State::Bypass { reason, .. } = state {
                        *state = State::Served(Served::Unstored(body.clone(), Unstored::Bypass(*reason)));
                    }
                }
                self.done()
            }
            (Stage::Gather, ServeInput::Gathered(None)) => self.render(),
            (Stage::Render(asked), ServeInput::Rendered(bodies, storable)) => self.fill(&asked, bodies, storable, tick),
            (Stage::Fill(asked), ServeInput::Replies(replies)) => self.filled(&asked, replies),
            // A driver that answers something else than it was asked: nothing is known, so nothing is stored.
            (_, _) => self.done(),
        }
    }

    fn look_up(&mut self, mut lookup: Box<Lookup>, positions: Few<usize>, input: Input, tick: Tick) -> ServeStep {
        match lookup.advance(input, tick) {
            Step::Run(ops) => {
                self.stage = Stage::LookUp(lookup, positions);
                ServeStep::Run(ops)
            }
            Step::Sleep(length) => {
                self.stage = Stage::LookUp(lookup, positions);
                ServeStep::Sleep(length)
            }
            Step::Done(lookups) => {
                self.looked_up(&positions, lookups);
                if self.states.iter().all(|state| matches!(state, State::Served(_))) {
                    return self.done();
                }
                let again = self.waited > Micros(0);
                if again { self.leases() } else { self.flights() }
            }
        }
    }

    fn looked_up(&mut self, positions: &[usize], lookups: Lookups) {
        for (&position, found) in positions.iter().zip(lookups.found) {
            let read_at = lookups.read_at;
            self.states[position] = match found {
                Found::Hit(cached) => State::Served(Served::Hit(cached)),
                Found::Miss { stamp, settled, stale } => {
                    let storable = match self.mode {
                        Mode::Closure => true,
                        Mode::Page(opened) => settled < opened,
                    };
                    State::Miss { stamp, read_at, storable, stale, leased: false }
                }
                Found::Bypass { stale: Some(stale), .. } => State::Served(Served::Stale(stale)),
                Found::Bypass { reason, stale: None } => {
                    let keep_for_stale = matches!(reason, Reason::Held | Reason::Adopted) && self.queries[position].serve_stale.is_some();
                    State::Bypass { reason, read_at, keep_for_stale }
                }
            };
        }
    }

    fn storable_misses(&self) -> Vec<usize> {
        let positions = 0..self.states.len();
        positions.filter(|&position| matches!(self.states[position], State::Miss { storable: true, .. })).collect()
    }

    /// Only storable renders of the closure form are shared by key and stamp.
    fn flights(&mut self) -> ServeStep {
        let misses = self.storable_misses();
        if misses.is_empty() || self.mode != Mode::Closure {
            return self.leases();
        }
        let flights = misses.into_iter().filter_map(|position| match &self.states[position] {
            State::Miss { stamp, stale, .. } => {
                Some(Flight { position, key: self.queries[position].full_key.clone(), stamp: *stamp, impatient: stale.is_some() })
            }
            _ => None,
        });
        let flights = flights.collect();
        self.stage = Stage::Flights;
        ServeStep::Join(flights)
    }

    fn joined(&mut self, shared: Vec<(usize, Bytes)>) -> ServeStep {
        for (position, body) in shared {
            self.states[self.query_of[position]] = State::Served(Served::Shared(body));
        }
        self.leases()
    }

    /// Serves the older version to a caller whose flight is led by another and who would rather not wait.
    pub fn serve_impatient(&mut self, position: usize) {
        let state = &mut self.states[self.query_of[position]];
        if let State::Miss { stale: Some(stale), .. } = state {
            *state = State::Served(Served::Stale(stale.clone()));
        }
    }

    fn leases(&mut self) -> ServeStep {
        let mut misses = self.storable_misses();
        misses.retain(|&position| !matches!(self.states[position], State::Miss { leased: true, .. }));
        if misses.is_empty() || !self.rules.leases || self.mode != Mode::Closure {
            return self.gather();
        }
        let ops = misses.iter().filter_map(|&position| match &self.states[position] {
            State::Miss { stamp, .. } => Some(Op {
                node: self.queries[position].node,
                key: self.namespace.lease(&self.queries[position].full_key, *stamp),
                action: Action::Add(Bytes::from_static(b"1"), self.rules.lease_ttl),
            }),
            _ => None,
        });
        let ops = ops.collect();
        self.stage = Stage::Leases(misses);
        ServeStep::Run(ops)
    }

    fn leased(&mut self, asked: &[usize], replies: &[Reply]) -> ServeStep {
        let mut busy = Vec::new();
        for (&position, reply) in asked.iter().zip(replies) {
            let State::Miss { stale, leased, .. } = &mut self.states[position] else { continue };
            match (reply, stale) {
                (Reply::Done, _) => *leased = true,
                (Reply::No, Some(stale)) => self.states[position] = State::Served(Served::Stale(stale.clone())),
                (Reply::No, None) => busy.push(position),
                // Without an answer everybody renders: a lease only saves work.
                _ => {}
            }
        }
        if busy.is_empty() || self.waited >= self.rules.lease_wait {
            return self.gather();
        }
        // 5, 10, 20, … ms: short renders are picked up soon, long ones do not cost many lookups.
        let pause = Micros((self.waited.0 + 5_000).min(100_000));
        self.waited = self.waited.plus(pause);
        self.stage = Stage::WaitForLease(busy);
        ServeStep::Sleep(pause.into())
    }

    /// One fragment whose render cannot be stored is still rendered once for all who came before the render began.
    fn gather(&mut self) -> ServeStep {
        match (self.states.as_slice(), self.mode) {
            ([State::Bypass { .. }], Mode::Closure) => {
                let query = &self.queries[0];
                let flight = Flight { position: 0, key: query.full_key.clone(), stamp: query.in_hand(), impatient: false };
                self.stage = Stage::Gather;
                ServeStep::Gather(flight)
            }
            _ => self.render(),
        }
    }

    fn render(&mut self) -> ServeStep {
        let positions = 0..self.states.len();
        let asked: Vec<usize> = positions.filter(|&position| !matches!(self.states[position], State::Served(_))).collect();
        if asked.is_empty() {
            return self.done();
        }
        let positions = asked.iter().map(|&query| self.first[query]).collect();
        self.stage = Stage::Render(asked);
        ServeStep::Render(positions)
    }

    fn end_lease(&self, position: usize) -> Option<Op> {
        let State::Miss { stamp, leased: true, .. } = &self.states[position] else { return None };
        let query = &self.queries[position];
        Some(Op { node: query.node, key: self.namespace.lease(&query.full_key, *stamp), action: Action::Delete })
    }

    fn fill(&mut self, asked: &[usize], bodies: Vec<Bytes>, storable: bool, tick: Tick) -> ServeStep {
        let (mut ops, mut ends, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for (&position, body) in asked.iter().zip(bodies) {
            ends.extend(self.end_lease(position));
            let query = &self.queries[position];
            // The stamp and the time are those of the lookup above: tokens are never read again for a fill.
            let unstored = |why| Served::Unstored(body.clone(), why);
            let (stamp, served) = match &self.states[position] {
                _ if query.ttl.is_none() => (None, unstored(Unstored::Bypass(Reason::InvalidTtl))),
                State::Miss { .. } if !storable => (None, unstored(Unstored::Inner)),
                State::Miss { storable: false, .. } => (None, unstored(Unstored::LoadedTooEarly)),
                State::Miss { stamp, read_at, .. } => {
                    (Some((*stamp, *read_at)), Served::Filled(Cached { body: body.clone(), read_at: *read_at, stamp: *stamp }))
                }
                State::Bypass { reason, read_at, keep_for_stale: true } if storable => {
                    let stamp = Stamp::unmatchable(tick.random, tick.now.0);
                    (Some((stamp, *read_at)), unstored(Unstored::Bypass(*reason)))
                }
                State::Bypass { reason, .. } => (None, unstored(Unstored::Bypass(*reason))),
                State::Unknown | State::Served(_) => continue,
            };
            if let (Some((stamp, read_at)), Some(ttl)) = (stamp, query.ttl) {
                let value = Envelope { stamp, read_at, body }.encode(&query.full_key);
                ops.push(Op { node: query.node, key: query.store_key.clone(), action: Action::Set(value, ttl) });
                stored.push(position);
            }
            self.states[position] = State::Served(served);
        }
        ops.append(&mut ends);
        if ops.is_empty() {
            return self.done();
        }
        self.stage = Stage::Fill(stored);
        ServeStep::Run(ops)
    }

    fn filled(&mut self, stored: &[usize], replies: Vec<Reply>) -> ServeStep {
        for (&position, reply) in stored.iter().zip(replies) {
            let State::Served(served) = &mut self.states[position] else { continue };
            let Served::Filled(Cached { body, .. }) = served else { continue };
            *served = match reply {
                Reply::TooLarge => Served::Unstored(body.clone(), Unstored::TooLarge),
                Reply::Failed(error) => Served::Unstored(body.clone(), Unstored::Failed(error)),
                _ => continue,
            };
        }
        self.done()
    }

    fn done(&mut self) -> ServeStep {
        self.stage = Stage::Ended;
        let states = std::mem::take(&mut self.states);
        let served = |&query: &usize| match &states[query] {
            State::Served(served) => served.clone(),
            _ => Served::Unstored(Bytes::new(), Unstored::Bypass(Reason::NodeDown)),
        };
        ServeStep::Done(self.query_of.iter().map(served).collect())
    }
}
