//! A store that behaves like a remote one, with a clock that is moved by hand.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod logs;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::registry::{Entity, EntityInfo, Graph, ParentLink};
use cachesweeper_core::store::memory::MemoryStore;
use cachesweeper_core::store::{Op, Reply, Store, StoreError, StoreInfo};
use cachesweeper_core::{Builder, CacheSweep, Clock, Dependencies, Dependency, Micros, RecordKey, Rendered, Row, Strategy};

/// A clock that is moved by hand.
#[derive(Debug)]
pub struct Hand(AtomicU64, AtomicU64);

impl Default for Hand {
    fn default() -> Self {
        Self(AtomicU64::new(1_000_000_000), AtomicU64::new(1))
    }
}

impl Hand {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }

    fn random(&self) -> u64 {
        // The same in every run, and without a pattern that steps in equal number could fall into.
        fastrand::Rng::with_seed(self.1.fetch_add(1, Ordering::SeqCst)).u64(..)
    }
}

/// A memory store that says it is remote: shared, and forgetful.
#[derive(Debug)]
pub struct Remote {
    info: StoreInfo,
    clock: Arc<Hand>,
    inner: Mutex<MemoryStore>,
    pub down: AtomicBool,
    /// Refuses to append, in the words that memcached has for it: as if there were no such item.
    pub full: AtomicBool,
    /// How long a batch takes, in microseconds of the clock.
    pub slow: AtomicU64,
    pub batches: Mutex<Vec<Vec<Op>>>,
    pub reads: AtomicUsize,
}

impl Remote {
    pub fn new(clock: Arc<Hand>) -> Arc<Self> {
        let info = StoreInfo { kind: "remote", nodes: vec!["a:1".into()], keeps_holds: false, shared: true, max_item: 1 << 20 };
        let inner = Mutex::new(MemoryStore::new(64 << 20, clock.clone()));
        let (batches, reads, slow) = (Mutex::default(), AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { info, clock, inner, down: AtomicBool::new(false), full: AtomicBool::new(false), slow, batches, reads })
    }

    /// Forgets everything, like a restart.
    pub fn restart(&self) {
        *self.inner.lock().unwrap() = MemoryStore::new(64 << 20, self.clock.clone());
    }

    /// Forgets one item, like an eviction.
    pub fn evict(&self, key: &str) {
        let delete = Op { node: 0, key: key.into(), action: cachesweeper_core::store::Action::Delete };
        let replies = Store::run(&*self.inner.lock().unwrap(), &[delete]);
        assert!(matches!(replies[..], [Reply::Done]), "{key} was not there");
    }

    pub fn get(&self, key: &str) -> Option<bytes::Bytes> {
        Store::run(&*self.inner.lock().unwrap(), &[Op::get(0, key)])[0].value().cloned()
    }

    pub fn set(&self, key: &str, value: &[u8]) {
        let action = cachesweeper_core::store::Action::Set(value.to_vec().into(), cachesweeper_core::Ttl::days(1));
        Store::run(&*self.inner.lock().unwrap(), &[Op { node: 0, key: key.into(), action }]);
    }

    pub fn batch_count(&self) -> usize {
        self.batches.lock().unwrap().len()
    }
}

impl Store for Remote {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run(&self, batch: &[Op]) -> Vec<Reply> {
        self.batches.lock().unwrap().push(batch.to_vec());
        self.clock.advance(Duration::from_micros(self.slow.load(Ordering::SeqCst)));
        if self.down.load(Ordering::SeqCst) {
            return batch.iter().map(|_| Reply::Failed(StoreError::down("a:1", "connection refused"))).collect();
        }
        let full = self.full.load(Ordering::SeqCst);
        let inner = self.inner.lock().unwrap();
        let one = |op: &Op| match op.action {
            cachesweeper_core::store::Action::Append(..) if full => Reply::No,
            _ => Store::run(&*inner, std::slice::from_ref(op)).remove(0),
        };
        batch.iter().map(one).collect()
    }
}

pub static ARTICLE: Entity = Entity::new(|| entity("article", Strategy::UpdatedAt, &[]));
pub static COMMENT: Entity = Entity::new(|| entity("comment", Strategy::Counter, &["article"]));

fn entity(name: &str, strategy: Strategy, parents: &[&str]) -> EntityInfo {
    let parents = parents.iter().map(|&parent| ParentLink { entity: parent.into(), columns: vec![format!("{parent}_id")], listed: false });
    EntityInfo {
        name: name.into(),
        orm: "Test",
        model: "test::Model",
        strategy,
        collection: false,
        skipped: Vec::new(),
        max_depth: None,
        parents: parents.collect(),
        problems: Vec::new(),
        adapter: None,
    }
}

pub fn graph() -> Graph {
    Graph::new([&ARTICLE, &COMMENT]).unwrap()
}

/// A row of either entity.
#[derive(Clone, Debug)]
pub struct Article(pub i64, pub u64);

#[derive(Clone, Debug)]
pub struct Comment(pub i64, pub &'static str);

impl CacheSweep for Article {
    fn entity() -> &'static Entity {
        &ARTICLE
    }

    fn record_key(&self) -> RecordKey {
        RecordKey::new("article", self.0)
    }

    fn row_digest(&self) -> u128 {
        u128::from(self.1)
    }

    fn updated_at(&self) -> Option<Micros> {
        Some(Micros(self.1))
    }
}

impl CacheSweep for Comment {
    fn entity() -> &'static Entity {
        &COMMENT
    }

    fn record_key(&self) -> RecordKey {
        RecordKey::new("comment", self.0)
    }

    fn row_digest(&self) -> u128 {
        let mut row = cachesweeper_core::digest::RowDigest::new();
        row.bytes(self.1.as_bytes());
        row.finish()
    }

    fn updated_at(&self) -> Option<Micros> {
        None
    }
}

impl Dependencies for Article {
    fn collect_into(&self, out: &mut Vec<Dependency>) {
        out.push(Row::dependency(self));
    }
}

impl Dependencies for Comment {
    fn collect_into(&self, out: &mut Vec<Dependency>) {
        out.push(Row::dependency(self));
    }
}

/// A remote store, and processes on it.
pub struct World {
    pub clock: Arc<Hand>,
    pub store: Arc<Remote>,
}

impl World {
    pub fn new() -> Self {
        let clock = Arc::new(Hand::default());
        Self { store: Remote::new(clock.clone()), clock }
    }

    /// One more process.
    pub fn process(&self) -> Sweeper {
        self.build(|builder| builder)
    }

    /// One in strict mode.
    pub fn strict(&self) -> Sweeper {
        self.build(Builder::strict)
    }

    pub fn build(&self, more: impl FnOnce(Builder<Sweeper>) -> Builder<Sweeper>) -> Sweeper {
        let builder = Sweeper::builder().store(self.store.clone()).clock(self.clock.clone()).graph(graph()).namespace("t");
        more(builder.lease_wait(Duration::from_millis(20)).flight_wait(Duration::from_secs(2))).build().unwrap()
    }

    /// One more process, which keeps bodies near.
    pub fn near(&self) -> Sweeper {
        self.warm();
        self.build(|builder| builder.near_cache(1 << 20))
    }

    /// One more process, which renders this share of its hits again.
    pub fn verifying(&self, rate: f64) -> Sweeper {
        self.warm();
        let builder = Sweeper::builder().store(self.store.clone()).clock(self.clock.clone()).graph(graph()).namespace("t");
        builder.verify(rate).build().unwrap()
    }

    /// A process on a store that is past its quarantine.
    pub fn warm(&self) -> Sweeper {
        let sweeper = self.process();
        self.settle(&sweeper);
        sweeper
    }

    /// Lets the quarantine of a new or restarted store pass.
    pub fn settle(&self, sweeper: &Sweeper) {
        for _ in 0..3 {
            render(sweeper, RecordKey::new("warmup", 1), "x");
            self.clock.advance(Duration::from_secs(12));
        }
    }
}

pub fn render(sweeper: &Sweeper, on: impl Dependencies, body: &str) -> Rendered {
    sweeper.fragment(on, "f").get_or_render(|| Ok::<_, std::convert::Infallible>(body.to_owned())).unwrap()
}

/// `hit`, `miss` or `bypass`.
pub fn word(sweeper: &Sweeper, on: impl Dependencies) -> &'static str {
    render(sweeper, on, "body").outcome().word()
}
