//! Whole machines on a store that answers what it likes: they end, within bounds, and hit for the right reasons only.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::keys::{Namespace, store_key};
use cachesweeper_core::protocol::{
    Append, Envelope, Found, Input, LogAddress, Lookup, Machine, Mode, Query, QueryContext, Rules, Serve, ServeInput, ServeStep, Served,
    Step,
};
use cachesweeper_core::registry::{Entity, Graph};
use cachesweeper_core::store::router::Router;
use cachesweeper_core::store::{Action, Op, Reply, StoreError, StoreInfo};
use cachesweeper_core::version::{Event, Marker, Stamp, StampBuilder, Token, Uid, VersionLog};
use cachesweeper_core::{Config, Dependency, Micros, RecordKey, Row, Tick, Ttl};
use cachesweeper_fuzz::{Front, entity};
use libfuzzer_sys::fuzz_target;

const NOW: Micros = Micros(1_000_000_000);

static ENTITY: Entity = entity();

/// One fragment that is asked for.
struct Asked {
    full: Arc<str>,
    on: Vec<Dependency>,
}

struct World {
    rules: Rules,
    namespace: Namespace,
    router: Router,
    graph: Graph,
    asked: Vec<Asked>,
}

impl World {
    fn new(front: &mut Front<'_>) -> Self {
        let nodes = vec!["a:1".into(), "b:1".into()];
        let router = Router::new(&nodes);
        let info = StoreInfo { kind: "remote", nodes, keeps_holds: false, shared: true, max_item: 1 << 20 };
        let namespace = Namespace::new("t");
        let dependency = |id: u8| Dependency {
            record: RecordKey::new("comment", id % 4),
            row: (id & 16 != 0).then_some(Row { entity: &ENTITY, digest: u128::from(id), updated_at: None }),
        };
        let asked = (0..=front.byte() % 3).map(|_| {
            let mut on = vec![dependency(front.byte())];
            for _ in 0..front.byte() % 3 {
                on.push(dependency(front.byte()));
            }
            Asked { full: namespace.fragment("f", &on, &[]), on }
        });
        let mut asked: Vec<Asked> = asked.collect();
        // Each key once: two answers for one key could not be told apart.
        asked.sort_by(|left, right| left.full.cmp(&right.full));
        asked.dedup_by(|left, right| left.full == right.full);
        let graph = Graph::new([]).expect("no entity contradicts another");
        Self { rules: Rules::new(&Config::default(), &info), namespace, router, graph, asked }
    }

    fn queries(&self, stale: bool) -> Vec<Query> {
        let context = QueryContext { namespace: &self.namespace, router: &self.router, graph: &self.graph, rules: &self.rules };
        let stale = stale.then_some(Micros(5_000_000));
        self.asked.iter().map(|asked| Query::new(&context, "f", &asked.on, &[], Some(Ttl::days(1)), stale)).collect()
    }

    fn stamp(&self, asked: &Asked, token: impl Fn(usize, &str) -> Option<Token>) -> Option<Stamp> {
        let mut stamp = StampBuilder::default();
        for dependency in &asked.on {
            if let Some(row) = &dependency.row {
                stamp.row(row.digest);
            }
            stamp.token(token(self.router.node(&dependency.record), &self.namespace.log(&dependency.record))?);
        }
        Some(stamp.finish())
    }
}

/// A store whose answers are the input.
struct Hostile<'a, 'b> {
    world: &'a World,
    front: Front<'b>,
    /// The last answer for each item.
    last: HashMap<(usize, Arc<str>), Reply>,
    /// Every body that was under some key as that key's fragment.
    bodies: Vec<(Arc<str>, Bytes)>,
    batches: usize,
    received: usize,
    sent: usize,
}

impl<'a, 'b> Hostile<'a, 'b> {
    fn new(world: &'a World, front: Front<'b>) -> Self {
        Self { world, front, last: HashMap::new(), bodies: Vec::new(), batches: 0, received: 0, sent: 0 }
    }

    fn log(&mut self) -> VersionLog {
        let front = &mut self.front;
        let mut log = VersionLog::fresh(front.uid());
        for _ in 0..front.byte() % 24 {
            let (kind, uid, time) = (front.byte(), front.uid(), Micros(NOW.0 - 2_000_000 + u64::from(front.byte()) * 20_000));
            log = log.with(if kind % 2 == 0 { Event::Mark { uid, deadline: time } } else { Event::Release { uid, birth: time } });
        }
        log
    }

    fn envelope(&mut self, key: &str) -> Option<Bytes> {
        let choice = self.front.byte();
        let named = self.world.asked.iter().find(|asked| *store_key(&asked.full) == *key)?;
        let right = self.world.stamp(named, |node, log| Some(VersionLog::token(self.last.get(&(node, Arc::from(log)))?.value()?)));
        let stamp = match right {
            Some(stamp) if choice & 1 == 0 => stamp,
            _ => Stamp::from_bytes([choice; 16]),
        };
        let written = if choice & 2 == 0 { named } else { &self.world.asked[usize::from(choice >> 2) % self.world.asked.len()] };
        let body = Bytes::copy_from_slice(self.front.bytes());
        Some(Envelope { stamp, read_at: Micros(NOW.0 - u64::from(choice) * 50_000), body }.encode(&written.full))
    }

    fn reply(&mut self, op: &Op) -> Reply {
        let value = |bytes: Vec<u8>| Reply::Value(bytes.into());
        match self.front.byte() % 12 {
            0 => Reply::No,
            1 => Reply::Done,
            2 => Reply::TooLarge,
            3 => Reply::Failed(StoreError::down("a:1", "down")),
            4 => Reply::Failed(StoreError::refused("a:1", "refused")),
            5 => value(self.front.bytes().to_vec()),
            6 => value(self.log().to_bytes()),
            7 => value(VersionLog::fresh(self.front.uid()).to_bytes()),
            8 => {
                let (head, named) = (self.front.uid(), self.front.uid());
                let until = Micros(NOW.0 - 1_500_000 + u64::from(self.front.byte()) * 10_000);
                value([Marker::bare(head), Marker::quarantine(if until.0 % 3 == 0 { named } else { head }, until)].concat())
            }
            // What an honest store might say, so that machines come far.
            _ if &*op.key == "t/b" => value([Marker::bare(uid(1)), Marker::quarantine(uid(1), Micros(5))].concat()),
            _ if op.key.starts_with("t/t/") && matches!(op.action, Action::Get) => value(VersionLog::fresh(uid(2)).to_bytes()),
            _ => self.envelope(&op.key).map_or(Reply::Done, Reply::Value),
        }
    }

    fn run(&mut self, ops: &[Op]) -> Vec<Reply> {
        self.batches += 1;
        for op in ops {
            assert!(op.node < 2 && op.key.len() <= 250 && op.key.bytes().all(|byte| byte.is_ascii_graphic()));
            self.sent += match &op.action {
                Action::Add(value, _) | Action::Append(value, _) | Action::Set(value, _) => value.len(),
                Action::Replace(old, new, _) => old.len() + new.len(),
                Action::Get | Action::GetForWrite | Action::Delete => 0,
            };
        }
        let mut replies: Vec<Reply> = Vec::new();
        for op in ops {
            let reply = self.reply(op);
            if let Reply::Value(bytes) = &reply {
                self.received += bytes.len();
                for asked in &self.world.asked {
                    if let Some(envelope) = Envelope::decode(bytes, &asked.full) {
                        self.bodies.push((asked.full.clone(), envelope.body));
                    }
                }
            }
            if op.action.is_read() {
                self.last.insert((op.node, op.key.clone()), reply.clone());
            }
            replies.push(reply);
        }
        // Too few, or too many.
        match self.front.byte() {
            254 => drop(replies.pop()),
            255 => replies.push(Reply::Done),
            _ => return replies,
        }
        // The machine may read such replies at other places than they were made for: nothing more is known of them.
        self.last.clear();
        replies
    }

    /// What is sent is bounded by what was received, and by what was asked for.
    fn bounded(&self, batches: usize) {
        assert!(self.batches <= batches, "{} batches", self.batches);
        let limit = 8 * self.received + self.batches * (64 << 10);
        assert!(self.sent <= limit, "{} bytes sent for {} received", self.sent, self.received);
    }
}

fn uid(number: u64) -> Uid {
    Uid::new(Tick { now: Micros(number), random: number })
}

fn tick(step: usize) -> Tick {
    Tick { now: NOW, random: step as u64 }
}

fn look_up(world: &World, front: Front<'_>, stale: bool) {
    let mut store = Hostile::new(world, front);
    let mut lookup = Lookup::new(world.rules, world.namespace.marker(), world.queries(stale));
    let mut input = Input::Start;
    let mut complete = true;
    let lookups = loop {
        match lookup.advance(input, tick(store.batches)) {
            Step::Run(ops) => {
                let replies = store.run(&ops);
                complete = replies.len() == ops.len();
                input = Input::Replies(replies);
            }
            Step::Sleep(_) => input = Input::Slept,
            Step::Done(lookups) => break lookups,
        }
        store.bounded(3);
    };
    assert_eq!(lookups.found.len(), world.asked.len());
    for (asked, found) in world.asked.iter().zip(&lookups.found) {
        let (Found::Hit(cached) | Found::Miss { stale: Some(cached), .. } | Found::Bypass { stale: Some(cached), .. }) = found else {
            continue;
        };
        assert!(std::str::from_utf8(&cached.body).is_ok());
        assert!(store.bodies.contains(&(asked.full.clone(), cached.body.clone())), "another fragment's body, or nobody's");
        if !matches!(found, Found::Hit(_)) || !complete || store.last.is_empty() {
            continue;
        }
        let said = |node: usize, key: &str| store.last[&(node, Arc::from(key))].value().expect("a hit has everything it needs").clone();
        let home = world.router.node(&asked.on[0].record);
        for node in asked.on.iter().map(|dependency| world.router.node(&dependency.record)) {
            assert!(Marker::parse(&said(node, "t/b")).expect("a marker").is_clear(NOW, world.rules.skew));
        }
        let token = |node: usize, log: &str| {
            let bytes = said(node, log);
            assert!(!VersionLog::parse(&bytes).expect("a log").is_held(NOW, world.rules.skew));
            Some(VersionLog::token(&bytes))
        };
        let stamp = world.stamp(asked, token).expect("every log is there");
        let envelope = Envelope::decode(&said(home, &store_key(&asked.full)), &asked.full).expect("this key's fragment");
        assert_eq!((envelope.stamp, &envelope.body), (stamp, &cached.body));
    }
}

fn serve(world: &World, front: Front<'_>, page: bool, stale: bool) {
    let mut store = Hostile::new(world, front);
    let mode = if page { Mode::Page(NOW) } else { Mode::Closure };
    let mut serve = Serve::new(world.rules, world.namespace.clone(), mode, world.queries(stale));
    let mut input = ServeInput::Start;
    let (mut steps, mut renders) = (0, 0);
    let served = loop {
        steps += 1;
        assert!(steps <= 200, "it does not end");
        input = match serve.advance(input, tick(steps)) {
            ServeStep::Run(ops) => ServeInput::Replies(store.run(&ops)),
            ServeStep::Sleep(length) => {
                assert!(Micros::from(length) <= world.rules.lease_wait);
                ServeInput::Slept
            }
            ServeStep::Join(flights) => {
                let shared =
                    flights.iter().filter(|_| store.front.byte() == 7).map(|flight| (flight.position, Bytes::from_static(b"shared")));
                ServeInput::Joined(shared.collect())
            }
            ServeStep::Gather(_) => ServeInput::Gathered((store.front.byte() == 7).then(|| Bytes::from_static(b"gathered"))),
            ServeStep::Render(positions) => {
                renders += 1;
                let bodies = positions.iter().map(|position| Bytes::from(format!("rendered {position}")));
                ServeInput::Rendered(bodies.collect(), store.front.byte() % 4 != 0)
            }
            ServeStep::Done(served) => break served,
        };
        store.bounded(120);
    };
    assert!(renders <= 1);
    assert_eq!(served.len(), world.asked.len());
    for (asked, served) in world.asked.iter().zip(&served) {
        match served {
            Served::Hit(cached) | Served::Stale(cached) => {
                assert!(store.bodies.contains(&(asked.full.clone(), cached.body.clone())), "another fragment's body, or nobody's");
                assert!(stale || matches!(served, Served::Hit(_)));
            }
            Served::Shared(body) => assert_eq!(&body[..], b"shared"),
            Served::Filled(cachesweeper_core::protocol::Cached { body, .. }) | Served::Unstored(body, _) => {
                assert!(body.starts_with(b"rendered ") || body == "gathered" || body.is_empty());
            }
        }
    }
}

fn append(world: &World, front: Front<'_>, kind: u8) {
    let mut store = Hostile::new(world, front);
    let log = |record: &RecordKey| LogAddress { node: world.router.node(record), key: world.namespace.log(record) };
    let logs: Vec<LogAddress> = world.asked.iter().flat_map(|asked| asked.on.iter().map(|dependency| log(&dependency.record))).collect();
    let count = logs.len();
    let mut append = match kind % 3 {
        0 => Append::mark(world.rules, logs, uid(7), NOW.plus(world.rules.hold)),
        1 => Append::release(world.rules, logs, &[uid(7), uid(8)], NOW),
        _ => Append::invalidate(world.rules, logs, &[uid(9)], NOW),
    };
    let mut input = Input::Start;
    let appended = loop {
        match append.advance(input, tick(store.batches + usize::from(kind))) {
            Step::Run(ops) => input = Input::Replies(store.run(&ops)),
            Step::Sleep(_) => input = Input::Slept,
            Step::Done(appended) => break appended,
        }
        store.bounded(12);
    };
    assert!(appended.failed.iter().all(|(log, _)| *log < count) && appended.failed.len() <= count);
    for op in &appended.compactions {
        assert!(matches!(&op.action, Action::Replace(old, new, _) if new.len() <= old.len()));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut front = Front(data);
    let world = World::new(&mut front);
    let kind = front.byte();
    let stale = kind & 64 != 0;
    match kind % 3 {
        0 => look_up(&world, front, stale),
        1 => serve(&world, front, kind & 128 != 0, stale),
        _ => append(&world, front, kind >> 2),
    }
});
