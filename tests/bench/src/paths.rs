//! The paths that do no I/O, each ready to be called many times: for their times and allocations, and for their instructions.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cachesweeper_core::keys::{Namespace, store_key};
use cachesweeper_core::protocol::{Envelope, Found, Input, Lookup, Machine, Query, QueryContext, Rules, Step};
use cachesweeper_core::store::memory::MemoryStore;
use cachesweeper_core::store::router::Router;
use cachesweeper_core::store::{Reply, Store, StoreInfo};
use cachesweeper_core::version::{Event, Marker, StampBuilder, Uid, VersionLog};
use cachesweeper_core::{CacheSweep, Clock, Config, Micros, RecordKey, Row, Tick, Ttl, blocking};

use crate::Failure;
use crate::entities::graph;
use crate::rows::{BODY, COMMENT_HTML, NAMESPACE, body, comments};
use crate::sweepers::{NoHit, fill};

/// One call of a path.
pub type Call = Box<dyn FnMut() -> Result<(), Failure>>;

/// A path.
#[derive(Clone, Copy)]
pub struct Path {
    /// What it is called in tables and files.
    pub name: &'static str,
    /// How many calls tell its cost well enough, where each is slow.
    pub calls: u32,
    make: fn(Arc<dyn Clock>) -> Result<Call, Failure>,
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Path {
    /// Makes it ready. Sweepers go by `clock`.
    ///
    /// # Errors
    ///
    /// If a store cannot be filled.
    pub fn make(&self, clock: Arc<dyn Clock>) -> Result<Call, Failure> {
        (self.make)(clock)
    }
}

/// All of them.
pub const PATHS: &[Path] = &[
    Path { name: "record key", calls: 10_000, make: record_key },
    Path { name: "fragment key", calls: 10_000, make: fragment_key },
    Path { name: "store key of 300 bytes, cut", calls: 10_000, make: long_key },
    Path { name: "row digest, 1 KiB", calls: 10_000, make: row_digest },
    Path { name: "log of 1 event, read and token", calls: 10_000, make: |_| log(1) },
    Path { name: "log of 8 events, read and token", calls: 10_000, make: |_| log(8) },
    Path { name: "stamp of a row and a token", calls: 10_000, make: stamp },
    Path { name: "envelope encode, 1 KiB", calls: 10_000, make: encode },
    Path { name: "envelope decode, 1 KiB", calls: 10_000, make: decode },
    Path { name: "router, 3 nodes", calls: 10_000, make: router },
    Path { name: "lookup machine, 100 hits", calls: 100, make: machine },
    Path { name: "hit, memory store", calls: 5_000, make: hit },
    Path { name: "hit by key, memory store", calls: 5_000, make: hit_by_key },
    Path { name: "100 hits, memory store", calls: 100, make: hits },
    Path { name: "mark and release of 3 records, memory store", calls: 2_000, make: mark },
];

/// The path of this name.
pub fn named(name: &str) -> Option<Path> {
    PATHS.iter().copied().find(|path| path.name == name)
}

/// A clock that goes on by a microsecond whenever it is read, and random numbers that are the same in every run.
#[derive(Debug)]
pub struct Steady {
    now: AtomicU64,
    random: AtomicU64,
}

impl Default for Steady {
    fn default() -> Self {
        Self { now: AtomicU64::new(1_700_000_000_000_000), random: AtomicU64::new(1) }
    }
}

impl Clock for Steady {
    fn now(&self) -> Micros {
        Micros(self.now.fetch_add(1, Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014): every bit of a counter decides on every bit of the number.
        let mut mixed = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A call that cannot fail.
fn call<T>(mut f: impl FnMut() -> T + 'static) -> Result<Call, Failure> {
    Ok(Box::new(move || {
        black_box(f());
        Ok(())
    }))
}

fn record_key(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    call(|| RecordKey::new(black_box("comment"), black_box(42_i64)))
}

fn fragment_key(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let (namespace, on) = (Namespace::new(NAMESPACE), [Row::dependency(&comments(1)[0])]);
    call(move || namespace.fragment(black_box(COMMENT_HTML), black_box(&on), &[]))
}

fn long_key(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let key = Arc::from("k".repeat(300));
    call(move || store_key(black_box(&key)))
}

fn row_digest(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let rows = comments(1);
    call(move || black_box(&rows[0]).row_digest())
}

fn uid(number: u64) -> Uid {
    Uid::new(Tick { now: Micros(1_700_000_000_000_000 + number), random: number })
}

/// A log of this many events, marks and their releases in turn.
fn log_of(events: u64) -> VersionLog {
    (0..events).fold(VersionLog::fresh(uid(0)), |log, event| {
        let (uid, time) = (uid(1 + event / 2), Micros(1_700_000_000_000_000 + event));
        log.with(if event % 2 == 0 { Event::Mark { uid, deadline: time } } else { Event::Release { uid, birth: time } })
    })
}

fn log(events: u64) -> Result<Call, Failure> {
    let bytes = log_of(events).to_bytes();
    call(move || {
        let bytes = black_box(&bytes[..]);
        let held = VersionLog::parse(bytes).map(|log| log.is_held(Micros(1_800_000_000_000_000), Micros(500_000)));
        (held, VersionLog::token(bytes))
    })
}

fn stamp(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let (digest, token) = (comments(1)[0].row_digest(), VersionLog::token(&log_of(1).to_bytes()));
    call(move || {
        let mut stamp = StampBuilder::with_capacity(2);
        stamp.row(black_box(digest));
        stamp.token(black_box(token));
        stamp.finish()
    })
}

fn envelope() -> Envelope {
    let mut stamp = StampBuilder::default();
    stamp.row(7);
    Envelope { stamp: stamp.finish(), read_at: Micros(1_700_000_000_000_000), body: Bytes::from(body(BODY)) }
}

const KEY: &str = "bench/f/comment.html/comment:42";

fn encode(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let envelope = envelope();
    call(move || black_box(&envelope).encode(black_box(KEY)))
}

fn decode(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let bytes = envelope().encode(KEY);
    call(move || Envelope::decode(black_box(&bytes), black_box(KEY)))
}

fn router(_: Arc<dyn Clock>) -> Result<Call, Failure> {
    let router = Router::new(&["cache1:11211", "cache2:11211", "cache3:11211"].map(Arc::from));
    let record = RecordKey::new("comment", 42);
    call(move || router.node(black_box(&record)))
}

/// A lookup of 100 comments on one memcached, from rows to hits, with the replies at hand.
fn machine(clock: Arc<dyn Clock>) -> Result<Call, Failure> {
    let (namespace, router, graph) = (Namespace::new(NAMESPACE), Router::new(&[Arc::from("cache1:11211")]), graph()?);
    let info = StoreInfo { kind: "none", nodes: vec!["cache1:11211".into()], keeps_holds: false, shared: true, max_item: 1 << 20 };
    let (rules, rows) = (Rules::new(&Config::default(), &info), comments(100));
    let queries = move || {
        let context = QueryContext { namespace: &namespace, router: &router, graph: &graph, rules: &rules };
        let query = |row| Query::new(&context, COMMENT_HTML, &[Row::dependency(row)], &[], Some(Ttl::days(1)), None);
        Lookup::new(rules, namespace.marker(), rows.iter().map(query).collect::<Vec<_>>())
    };
    let run = move |replies: &[Reply], tick: Tick| {
        let mut lookup = queries();
        black_box(lookup.advance(Input::Start, tick));
        match lookup.advance(Input::Replies(replies.to_vec()), tick) {
            Step::Done(lookups) => Ok(lookups.found),
            Step::Run(_) | Step::Sleep(_) => Err(NoHit),
        }
    };
    let log = Bytes::from(VersionLog::fresh(uid(0)).to_bytes());
    let marker = [Marker::bare(uid(0)), Marker::quarantine(uid(0), Micros(1))].concat();
    let mut replies = vec![Reply::Value(log); 100];
    replies.extend(vec![Reply::No; 100]);
    replies.push(Reply::Value(marker.into()));
    let tick = clock.tick();
    let keys: Vec<String> = crate::rows::items(&comments(100), COMMENT_HTML);
    for (position, found) in run(&replies, tick)?.into_iter().enumerate() {
        let Found::Miss { stamp, .. } = found else { return Err("a fragment that is not there must be a miss".into()) };
        replies[100 + position] = Reply::Value(Envelope { stamp, ..envelope() }.encode(&keys[100 + position]));
    }
    Ok(Box::new(move || {
        let found = run(black_box(&replies), tick)?;
        if found.iter().all(|found| matches!(found, Found::Hit(_))) { Ok(()) } else { Err(NoHit.into()) }
    }))
}

fn memory(clock: Arc<dyn Clock>) -> Result<blocking::Sweeper, Failure> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(64 << 20, clock.clone()));
    Ok(blocking::Sweeper::builder().store(store).clock(clock).namespace(NAMESPACE).graph(graph()?).build()?)
}

fn hit(clock: Arc<dyn Clock>) -> Result<Call, Failure> {
    let (sweeper, rows, mut next) = (memory(clock)?, comments(100), 0);
    fill(&sweeper, &rows, COMMENT_HTML, &body(BODY))?;
    Ok(Box::new(move || {
        next = (next + 1) % rows.len();
        black_box(sweeper.fragment(&rows[next], COMMENT_HTML).get_or_render(|| Err::<String, _>(NoHit))?);
        Ok(())
    }))
}

fn hit_by_key(clock: Arc<dyn Clock>) -> Result<Call, Failure> {
    let sweeper = memory(clock)?;
    let (keys, mut next) = (comments(100).iter().map(CacheSweep::record_key).collect::<Vec<_>>(), 0);
    for key in &keys {
        sweeper.fragment(key, COMMENT_HTML).get_or_render(|| Ok::<_, NoHit>(body(BODY)))?;
    }
    Ok(Box::new(move || {
        next = (next + 1) % keys.len();
        black_box(sweeper.fragment(&keys[next], COMMENT_HTML).get_or_render(|| Err::<String, _>(NoHit))?);
        Ok(())
    }))
}

fn hits(clock: Arc<dyn Clock>) -> Result<Call, Failure> {
    let (sweeper, rows) = (memory(clock)?, comments(100));
    fill(&sweeper, &rows, COMMENT_HTML, &body(BODY))?;
    Ok(Box::new(move || {
        black_box(sweeper.fragments(&rows, COMMENT_HTML).get_or_render(|_| Err::<Vec<String>, _>(NoHit))?);
        Ok(())
    }))
}

fn mark(clock: Arc<dyn Clock>) -> Result<Call, Failure> {
    let sweeper = memory(clock)?;
    let records = [RecordKey::new("vote", 1), RecordKey::new("comment", 1), RecordKey::new("article", 1)];
    Ok(Box::new(move || {
        let mark = sweeper.mark(black_box(&records))?;
        sweeper.release(&mark);
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_can_be_called_and_has_its_own_name() {
        for (position, path) in PATHS.iter().enumerate() {
            assert!(PATHS[..position].iter().all(|other| other.name != path.name), "{path:?} twice");
            let mut call = path.make(Arc::new(Steady::default())).unwrap();
            for _ in 0..3 {
                call().unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
        }
    }
}
