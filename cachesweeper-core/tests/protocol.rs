//! Properties of the pure protocol, and a random walk over the real machines: writers, readers, crashes, evictions, restarts.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use cachesweeper_core::keys::Namespace;
use cachesweeper_core::protocol::{
    Append, Found, Input, LogAddress, Lookup, Machine, Mode, Query, QueryContext, Rules, Serve, ServeInput, ServeStep, Served, Step,
};
use cachesweeper_core::store::router::Router;
use cachesweeper_core::store::{Action, Op, Reply, StoreError, StoreInfo};
use cachesweeper_core::version::{Event, Marker, StampBuilder, Uid, VersionLog};
use cachesweeper_core::{Config, Dependency, Micros, RecordKey, Tick};
use proptest::prelude::*;

fn uid() -> impl Strategy<Value = Uid> {
    (0_u64..1_000, 0_u64..4).prop_map(|(now, random)| Uid::new(Tick { now: Micros(now), random }))
}

fn event() -> impl Strategy<Value = Event> {
    (0_u8..3, uid(), 0_u64..2_000).prop_map(|(kind, uid, time)| match kind {
        0 => Event::Mark { uid, deadline: Micros(time) },
        1 => Event::Release { uid, birth: Micros(time) },
        _ => Event::Quarantine { head: uid, deadline: Micros(time) },
    })
}

fn log() -> impl Strategy<Value = VersionLog> {
    // Half of the quarantines name the head.
    (uid(), prop::collection::vec((event(), any::<bool>()), 0..8)).prop_map(|(head, events)| {
        let own = |(event, own)| match event {
            Event::Quarantine { deadline, .. } if own => Event::Quarantine { head, deadline },
            event => event,
        };
        events.into_iter().map(own).fold(VersionLog::fresh(head), VersionLog::with)
    })
}

const NONE: Micros = Micros(0);

proptest! {
    #[test]
    fn any_bytes_are_a_log_or_refused(bytes in any::<Vec<u8>>()) {
        if let Ok(log) = VersionLog::parse(&bytes) {
            prop_assert_eq!(&log.to_bytes(), &bytes);
        }
        let _ = Marker::parse(&bytes);
    }

    #[test]
    fn a_log_survives_the_wire_and_a_cut_is_refused(log in log(), cut in 1_usize..25) {
        let bytes = log.to_bytes();
        prop_assert_eq!(VersionLog::parse(&bytes), Ok(log));
        prop_assert!(VersionLog::parse(&bytes[..bytes.len() - cut.min(bytes.len())]).is_err());
    }

    #[test]
    fn every_append_is_a_new_token(log in log(), event in event()) {
        prop_assert_ne!(VersionLog::token(&log.to_bytes()), VersionLog::token(&log.clone().with(event).to_bytes()));
    }

    #[test]
    fn order_and_duplicates_never_open_a_held_record(log in log(), now in 0_u64..2_000, order in any::<prop::sample::Index>(), twice in any::<prop::sample::Index>()) {
        let mut events = log.events().to_vec();
        if !events.is_empty() {
            let turn = order.index(events.len());
            events.rotate_left(turn);
            events.push(events[twice.index(events.len())]);
        }
        let mixed = events.into_iter().fold(VersionLog::fresh(log.head()), VersionLog::with);
        prop_assert_eq!(mixed.is_held(Micros(now), NONE), log.is_held(Micros(now), NONE));
        prop_assert!(mixed.settled(Micros(5)) == log.settled(Micros(5)));
    }

    #[test]
    fn a_late_event_settles_nothing_earlier_and_a_late_mark_holds(log in log(), late in event(), now in 0_u64..2_000) {
        let with = log.clone().with(late);
        if let Event::Mark { uid, deadline } = late {
            let released = log.events().iter().any(|event| matches!(event, Event::Release { uid: other, .. } if *other == uid));
            prop_assert_eq!(with.is_held(Micros(now), NONE), log.is_held(Micros(now), NONE) || (!released && deadline >= Micros(now)));
            prop_assert!(with.settled(NONE) >= log.settled(NONE));
        }
    }

    #[test]
    fn is_held_is_what_open_says(log in log(), now in 0_u64..2_000, skew in 0_u64..100) {
        prop_assert_eq!(log.is_held(Micros(now), Micros(skew)), !log.open(Micros(now), Micros(skew)).is_empty());
    }

    #[test]
    fn compaction_keeps_every_open_hold(log in log(), now in 0_u64..2_000, later in 0_u64..2_000) {
        let head = Uid::new(Tick { now: Micros(now), random: 9 });
        let compacted = log.compacted(head, Micros(now), NONE);
        let later = Micros(now + later);
        prop_assert_eq!(compacted.is_held(later, NONE), log.is_held(later, NONE));
        prop_assert_eq!(compacted.quarantine(), log.quarantine());
        prop_assert_ne!(VersionLog::token(&compacted.to_bytes()), VersionLog::token(&log.to_bytes()));
    }

    #[test]
    fn an_old_quarantine_does_not_clear_a_new_head(old in uid(), new in uid(), deadline in 0_u64..1_000) {
        prop_assume!(old != new);
        let bytes = [Marker::bare(new), Marker::quarantine(old, Micros(deadline))].concat();
        prop_assert_eq!(Marker::parse(&bytes).unwrap().deadline(), None);
    }
}

proptest! {
    /// Strict mode: only a quarantine that names the log's own head clears it, and no later one makes it wait again.
    #[test]
    fn a_quarantine_of_another_head_clears_no_log(log in log(), other in uid(), deadline in 0_u64..1_000, now in 0_u64..2_000) {
        prop_assume!(other != log.head());
        let late = log.clone().with(Event::Quarantine { head: other, deadline: Micros(deadline) });
        prop_assert_eq!(late.quarantine(), log.quarantine());
        let again = log.clone().with(Event::Quarantine { head: log.head(), deadline: Micros(deadline) });
        prop_assert!(again.is_clear(Micros(now), NONE) >= log.is_clear(Micros(now), NONE));
        prop_assert!(again.settled(NONE) >= again.quarantine().unwrap());
        prop_assert!(!VersionLog::fresh(log.head()).is_clear(Micros(now), NONE));
    }
}

fn rules() -> Rules {
    let info = StoreInfo { kind: "remote", nodes: vec!["a:1".into()], keeps_holds: false, shared: true, max_item: 1 << 20 };
    Rules::new(&Config::default(), &info)
}

fn query() -> Query {
    let (namespace, graph, router, rules) = (Namespace::new("t"), support::graph(), Router::new(&["a:1".into()]), rules());
    let context = QueryContext { namespace: &namespace, router: &router, graph: &graph, rules: &rules };
    let on = [Dependency { record: RecordKey::new("comment", 1), row: None }];
    Query::new(&context, "f", &on, &[], Some(cachesweeper_core::Ttl::days(1)), None)
}

const KEY: &str = "t/f/f/~/comment:1";
const NOW: Micros = Micros(1_000_000_000);

fn reply() -> impl Strategy<Value = Reply> {
    let near = |offset: i64| Micros(NOW.0.saturating_add_signed(offset));
    let log = log().prop_map(|log| log.to_bytes());
    let fresh = VersionLog::fresh(Uid::new(Tick { now: Micros(5), random: 5 })).to_bytes();
    let mut stamp = StampBuilder::default();
    stamp.token(VersionLog::token(&fresh));
    let valid =
        cachesweeper_core::protocol::Envelope { stamp: stamp.finish(), read_at: Micros(7), body: Bytes::from_static(b"body") }.encode(KEY);
    let head = Uid::new(Tick { now: Micros(1), random: 1 });
    let held = VersionLog::fresh(head).with(Event::Mark { uid: head, deadline: near(500) }).to_bytes();
    let marker = move |offset| [Marker::bare(head), Marker::quarantine(head, near(offset))].concat();
    prop_oneof![
        Just(Reply::No),
        Just(Reply::Done),
        Just(Reply::TooLarge),
        Just(Reply::Failed(StoreError::down("a:1", "down"))),
        any::<Vec<u8>>().prop_map(|bytes| Reply::Value(bytes.into())),
        log.prop_map(|bytes| Reply::Value(bytes.into())),
        Just(Reply::Value(fresh.into())),
        Just(Reply::Value(held.into())),
        Just(Reply::Value(valid)),
        Just(Reply::Value(Marker::bare(head).into())),
        (-2_000_000_i64..2_000_000).prop_map(move |offset| Reply::Value(marker(offset).into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a store answers: a lookup ends, and a hit is a hit for good reasons only.
    #[test]
    fn a_lookup_believes_nothing_it_cannot_prove(answers in prop::collection::vec(prop::collection::vec(reply(), 8), 3)) {
        let mut lookup = Lookup::new(rules(), "t/b".into(), vec![query()]);
        let (mut input, mut last, mut answers) = (Input::Start, Vec::new(), answers.into_iter());
        let found = loop {
            match lookup.advance(input, Tick { now: NOW, random: 77 }) {
                Step::Run(ops) => {
                    let replies: Vec<Reply> = answers.next().expect("three batches at the most").into_iter().take(ops.len()).collect();
                    if ops.last().is_some_and(|op| &*op.key == "t/b" && op.action.is_read()) {
                        last = replies[replies.len() - 3..].to_vec();
                    }
                    input = Input::Replies(replies);
                }
                Step::Sleep(_) => input = Input::Slept,
                Step::Done(lookups) => break lookups.found,
            }
        };
        let [found] = &found[..] else { panic!("one query, {found:?}") };
        if let Found::Hit(cached) = found {
            let log = VersionLog::parse(last[0].value().unwrap()).unwrap();
            prop_assert!(!log.is_held(NOW, rules().skew));
            prop_assert!(Marker::parse(last[2].value().unwrap()).unwrap().is_clear(NOW, rules().skew));
            prop_assert_eq!(&cached.body[..], b"body");
        }
    }

    /// Whatever a store answers: writing to a log ends, and what was not acknowledged is reported.
    #[test]
    fn an_append_ends_and_reports_what_was_not_acknowledged(answers in prop::collection::vec(prop::collection::vec(reply(), 2), 20)) {
        let uid = Uid::new(Tick { now: NOW, random: 1 });
        let log = LogAddress { node: 0, key: "t/t/comment:1".into() };
        let mut append = Append::mark(rules(), vec![log], uid, NOW);
        let (mut input, mut done, mut answers) = (Input::Start, false, answers.into_iter());
        let result = loop {
            match append.advance(input, Tick { now: NOW, random: 2 }) {
                Step::Run(ops) => {
                    let replies: Vec<Reply> = answers.next().expect("a bounded number of tries").into_iter().take(ops.len()).collect();
                    done = replies.iter().any(|reply| matches!(reply, Reply::Done));
                    input = Input::Replies(replies);
                }
                Step::Sleep(_) => input = Input::Slept,
                Step::Done(result) => break result,
            }
        };
        prop_assert_eq!(result.failed.is_empty(), done);
    }
}

/// A store in which every operation is a message of its own.
#[derive(Default)]
struct Store(HashMap<std::sync::Arc<str>, Bytes>);

impl Store {
    fn run(&mut self, op: &Op) -> Reply {
        let found = self.0.get(&*op.key).cloned();
        let put = |value: &Bytes, store: &mut Self| {
            store.0.insert(op.key.clone(), value.clone());
            Reply::Done
        };
        match (&op.action, found) {
            (Action::Get | Action::GetForWrite, found) => found.map_or(Reply::No, Reply::Value),
            (Action::Add(value, _), None) | (Action::Set(value, _), _) => put(value, self),
            (Action::Append(more, _), Some(old)) => put(&[old, more.clone()].concat().into(), self),
            (Action::Replace(expected, value, _), Some(old)) if old == *expected => put(value, self),
            (Action::Delete, Some(_)) => self.0.remove(&*op.key).map_or(Reply::No, |_| Reply::Done),
            _ => Reply::No,
        }
    }
}

/// Messages on their way, one by one and in order, and their replies so far.
#[derive(Default)]
struct Batch {
    ops: std::collections::VecDeque<Op>,
    replies: Vec<Reply>,
}

impl Batch {
    fn send(&mut self, ops: Vec<Op>) {
        *self = Self { ops: ops.into(), replies: Vec::new() };
    }

    /// Delivers one message; the replies when it was the last.
    fn step(&mut self, store: &mut Store) -> Option<Vec<Reply>> {
        if let Some(op) = self.ops.pop_front() {
            self.replies.push(store.run(&op));
        }
        self.ops.is_empty().then(|| std::mem::take(&mut self.replies))
    }
}

enum Writer {
    Idle,
    Marking(Append, Batch, Uid, Micros),
    Marked(Uid, Micros),
    Releasing(Append, Batch),
}

struct Reader {
    serve: Serve,
    batch: Batch,
    /// What had been committed when it began.
    committed: u64,
    render: Option<Vec<usize>>,
    read: Option<u64>,
}

struct Walk {
    dice: fastrand::Rng,
    /// Whether the store may evict logs with open holds.
    evicts_holds: bool,
    now: Micros,
    store: Store,
    rules: Rules,
    committed: u64,
    hits: u64,
}

impl Walk {
    fn tick(&mut self) -> Tick {
        Tick { now: self.now, random: self.dice.u64(..) }
    }

    fn log() -> Vec<LogAddress> {
        vec![LogAddress { node: 0, key: "t/t/comment:1".into() }]
    }

    fn write(&mut self, writer: Writer) -> Writer {
        match writer {
            Writer::Idle => {
                let tick = self.tick();
                let deadline = self.now.plus(self.rules.hold);
                let append = Append::mark(self.rules, Self::log(), Uid::new(tick), deadline);
                self.append(
                    append,
                    Batch::default(),
                    Input::Start,
                    |append, batch| Writer::Marking(append, batch, Uid::new(tick), deadline),
                    |_| Writer::Marked(Uid::new(tick), deadline),
                )
            }
            Writer::Marking(append, mut batch, uid, deadline) => match batch.step(&mut self.store) {
                None => Writer::Marking(append, batch, uid, deadline),
                Some(replies) => {
                    let going = |append, batch| Writer::Marking(append, batch, uid, deadline);
                    self.append(append, batch, Input::Replies(replies), going, |_| Writer::Marked(uid, deadline))
                }
            },
            Writer::Marked(uid, deadline) => {
                // The condition of G-commit: COMMIT returns within the hold. A transaction that is too late is given up.
                if self.now >= deadline {
                    return Writer::Idle;
                }
                self.committed += 1;
                if self.dice.u8(..4) == 0 {
                    // It dies between COMMIT and release.
                    return Writer::Idle;
                }
                let append = Append::release(self.rules, Self::log(), &[uid], self.now);
                self.append(append, Batch::default(), Input::Start, Writer::Releasing, |_| Writer::Idle)
            }
            Writer::Releasing(append, mut batch) => match batch.step(&mut self.store) {
                None => Writer::Releasing(append, batch),
                Some(replies) => self.append(append, batch, Input::Replies(replies), Writer::Releasing, |_| Writer::Idle),
            },
        }
    }

    fn append(
        &mut self,
        mut append: Append,
        mut batch: Batch,
        input: Input,
        going: impl FnOnce(Append, Batch) -> Writer,
        done: impl FnOnce(bool) -> Writer,
    ) -> Writer {
        let tick = self.tick();
        match append.advance(input, tick) {
            Step::Run(ops) => {
                batch.send(ops);
                going(append, batch)
            }
            // A mark that was not acknowledged is not committed on.
            Step::Done(result) if !result.failed.is_empty() => Writer::Idle,
            _ => done(true),
        }
    }

    fn begin(&mut self) -> Reader {
        let serve = Serve::new(self.rules, Namespace::new("t"), Mode::Closure, vec![query()]);
        let mut reader = Reader { serve, batch: Batch::default(), committed: self.committed, render: None, read: None };
        self.advance(&mut reader, ServeInput::Start);
        reader
    }

    /// One step of a reader; `true` when it has ended.
    fn read(&mut self, reader: &mut Reader) -> bool {
        if reader.render.is_some() {
            // Reading the data and storing the render are two moments.
            let Some(read) = reader.read else {
                reader.read = Some(self.committed);
                return false;
            };
            reader.render = None;
            return self.advance(reader, ServeInput::Rendered(vec![read.to_string().into()], true));
        }
        match reader.batch.step(&mut self.store) {
            None => false,
            Some(replies) => self.advance(reader, ServeInput::Replies(replies)),
        }
    }

    fn advance(&mut self, reader: &mut Reader, input: ServeInput) -> bool {
        let mut input = input;
        loop {
            let tick = self.tick();
            input = match reader.serve.advance(input, tick) {
                ServeStep::Run(ops) => {
                    reader.batch.send(ops);
                    return false;
                }
                ServeStep::Sleep(_) => ServeInput::Slept,
                ServeStep::Join(_) => ServeInput::Joined(Vec::new()),
                ServeStep::Gather(_) => ServeInput::Gathered(None),
                ServeStep::Render(positions) => {
                    reader.render = Some(positions);
                    return false;
                }
                ServeStep::Done(served) => {
                    if let [Served::Hit(cached)] = &served[..] {
                        let shown: u64 = std::str::from_utf8(&cached.body).unwrap().parse().unwrap();
                        assert!(shown >= reader.committed, "{shown} was shown, {} had been committed", reader.committed);
                        self.hits += 1;
                    }
                    return true;
                }
            };
        }
    }

    /// Something goes wrong, or time passes.
    fn fate(&mut self) {
        match self.dice.u8(..100) {
            0 => self.store.0.clear(),
            1..=3 => drop(self.store.0.remove(KEY)),
            4 => self.evict_log(),
            5..=30 => self.now = self.now.plus(Micros(self.dice.u64(..2_000_000))),
            _ => self.now = self.now.plus(Micros(self.dice.u64(..1_000))),
        }
    }

    /// An eviction of the log, but for one with an open hold: that is the condition of G-commit, unless in strict mode.
    fn evict_log(&mut self) {
        let held = self.store.0.get("t/t/comment:1").and_then(|bytes| VersionLog::parse(bytes).ok());
        if self.evicts_holds || held.is_none_or(|log| !log.is_held(self.now, Micros(0))) {
            self.store.0.remove("t/t/comment:1");
        }
    }
}

fn walk(seed: u64, rules: Rules, steps: usize) -> u64 {
    walk_on(seed, rules, steps, false)
}

fn walk_on(seed: u64, rules: Rules, steps: usize, evicts_holds: bool) -> u64 {
    let dice = fastrand::Rng::with_seed(seed);
    let mut walk = Walk { dice, evicts_holds, now: NOW, store: Store::default(), rules, committed: 0, hits: 0 };
    let mut writers = [Writer::Idle, Writer::Idle];
    let mut readers: Vec<Reader> = (0..3).map(|_| walk.begin()).collect();
    for _ in 0..steps {
        match walk.dice.usize(..8) {
            0 => {
                let which = walk.dice.usize(..2);
                let writer = std::mem::replace(&mut writers[which], Writer::Idle);
                writers[which] = walk.write(writer);
            }
            1 => walk.fate(),
            _ => {
                let which = walk.dice.usize(..3);
                if walk.read(&mut readers[which]) {
                    readers[which] = walk.begin();
                }
            }
        }
    }
    walk.hits
}

#[test]
fn no_walk_finds_a_stale_hit() {
    let hits: u64 = (0..400).map(|seed| walk(seed, rules(), 3_000)).sum();
    assert!(hits > 1_000, "the walk proves little with {hits} hits");
}

/// The walk can find what it looks for: without the marker a restart swallows holds.
#[test]
fn without_the_marker_a_walk_finds_a_stale_hit() {
    let careless = Rules { markers: false, ..rules() };
    let found = (0..400).any(|seed| std::panic::catch_unwind(|| walk(seed, careless, 3_000)).is_err());
    assert!(found, "the walk cannot fail, so it proves nothing");
}

/// Strict mode lifts the condition that no log with an open hold is evicted.
#[test]
fn a_strict_walk_may_lose_open_holds() {
    let strict = Rules { strict: true, ..rules() };
    let hits: u64 = (0..400).map(|seed| walk_on(seed, strict, 3_000, true)).sum();
    assert!(hits > 500, "the walk proves little with {hits} hits");
    let found = (0..400).any(|seed| std::panic::catch_unwind(|| walk_on(seed, rules(), 3_000, true)).is_err());
    assert!(found, "without strict mode a lost hold is found, or the walk proves nothing");
}

/// And without holds a refill between mark and COMMIT keeps old data.
#[test]
fn without_holds_a_walk_finds_a_stale_hit() {
    let found = (0..400).any(|seed| {
        let hasty = Rules { hold: Micros(0), ..rules() };
        std::panic::catch_unwind(|| walk_unheld(seed, hasty)).is_err()
    });
    assert!(found, "the walk cannot fail, so it proves nothing");
}

/// Writers whose marks are over before they commit.
fn walk_unheld(seed: u64, rules: Rules) {
    let dice = fastrand::Rng::with_seed(seed);
    let mut walk = Walk { dice, evicts_holds: false, now: NOW, store: Store::default(), rules, committed: 0, hits: 0 };
    let mut writer = Writer::Idle;
    let mut readers: Vec<Reader> = (0..3).map(|_| walk.begin()).collect();
    for _ in 0..3_000 {
        match walk.dice.usize(..8) {
            0 => {
                if let Writer::Marked(uid, _) = writer {
                    writer = Writer::Marked(uid, Micros(u64::MAX));
                }
                writer = walk.write(writer);
            }
            1 => walk.now = walk.now.plus(Micros(walk.dice.u64(..600_000))),
            _ => {
                let which = walk.dice.usize(..3);
                if walk.read(&mut readers[which]) {
                    readers[which] = walk.begin();
                }
            }
        }
    }
}
