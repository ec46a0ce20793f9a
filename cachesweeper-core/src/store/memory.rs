//! The embedded store: fragments and logs in this process, bounded in bytes.
//!
//! It serves one process. It never drops a version log with an open hold, delivers at once and has one clock, so it needs
//! no marker. Inside is quick_cache; expiry lives in our own entry. Measured per hit on 100 values of 1 KiB, in one
//! thread: quick_cache 25 ns, moka 129 ns, a locked hash map that evicts nothing 19 ns.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use xxhash_rust::xxh3::xxh3_64;

use super::{Action, AsyncStore, BoxFuture, Op, Reply, Store, StoreError, StoreInfo};
use crate::version::VersionLog;
use crate::{Clock, Micros, Ttl};

#[derive(Clone)]
struct Entry {
    value: Bytes,
    expires: Micros,
}

/// Bytes of bookkeeping per item, beside key and value: hash table slot, two reference counts, expiry.
const OVERHEAD: u64 = 96;

#[derive(Clone)]
struct Weight;

impl Weighter<Arc<str>, Entry> for Weight {
    fn weight(&self, key: &Arc<str>, entry: &Entry) -> u64 {
        key.len() as u64 + entry.value.len() as u64 + OVERHEAD
    }
}

/// Pins version logs whose holds are open.
#[derive(Clone)]
struct KeepHolds(Arc<dyn Clock>);

impl Lifecycle<Arc<str>, Entry> for KeepHolds {
    type RequestState = ();

    fn is_pinned(&self, _: &Arc<str>, entry: &Entry) -> bool {
        entry.value.first() == Some(&b'=') && VersionLog::parse(&entry.value).is_ok_and(|log| log.is_held(self.0.now(), Micros(0)))
    }
}

/// The embedded store. See the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use cachesweeper_core::{SystemClock, store::{Op, Reply, Store, memory::MemoryStore}};
///
/// let store = MemoryStore::new(64 << 20, Arc::new(SystemClock));
/// assert!(matches!(store.run(&[Op::get(0, "blog/t/comment:1")])[..], [Reply::No]));
/// ```
pub struct MemoryStore {
    info: StoreInfo,
    clock: Arc<dyn Clock>,
    cache: Cache<Arc<str>, Entry, Weight, DefaultHashBuilder, KeepHolds>,
    /// Read-modify-write operations on one key exclude each other; reads and plain sets take no lock of ours.
    locks: [std::sync::Mutex<()>; 64],
}

impl MemoryStore {
    /// A store of at most `bytes` bytes, keys and bookkeeping included.
    pub fn new(bytes: u64, clock: Arc<dyn Clock>) -> Self {
        // Few shards for small stores: an item must fit its shard, and eviction is per shard.
        let shards = usize::try_from(bytes >> 22).unwrap_or(64).clamp(1, 64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bytes / 1024).unwrap_or(1 << 20).clamp(64, 1 << 20))
            .weight_capacity(bytes)
            .shards(shards)
            .build()
            .expect("both capacities are set");
        let cache = Cache::with_options(options, Weight, DefaultHashBuilder::default(), KeepHolds(clock.clone()));
        let info = StoreInfo {
            kind: "memory",
            nodes: vec!["memory".into()],
            keeps_holds: true,
            shared: false,
            // One item may not push everything else out of its shard.
            max_item: usize::try_from(cache.shard_capacity() / 2).unwrap_or(usize::MAX),
        };
        Self { info, clock, cache, locks: std::array::from_fn(|_| std::sync::Mutex::new(())) }
    }

    /// Items and bytes held now.
    pub fn usage(&self) -> (usize, u64) {
        (self.cache.len(), self.cache.weight())
    }

    fn get(&self, key: &str, now: Micros) -> Option<Bytes> {
        let entry = self.cache.get(key)?;
        (entry.expires >= now).then_some(entry.value)
    }

    fn put(&self, key: &Arc<str>, value: Bytes, ttl: Ttl, now: Micros) -> Reply {
        if key.len() + value.len() > self.info.max_item {
            return Reply::TooLarge;
        }
        self.cache.insert(key.clone(), Entry { value, expires: ttl.end(now) });
        Reply::Done
    }

    fn locked<T>(&self, key: &str, f: impl FnOnce() -> T) -> T {
        // The remainder is below 64. A panic elsewhere cannot leave an item half-written: entries are replaced whole.
        let lock = &self.locks[(xxh3_64(key.as_bytes()) % 64) as usize];
        let _guard = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f()
    }

    fn one(&self, op: &Op, now: Micros) -> Reply {
        let Op { node, key, action } = op;
        if *node != 0 {
            return Reply::Failed(StoreError::refused("memory", format_args!("there is no node {node}")));
        }
        match action {
            Action::Get | Action::GetForWrite => self.get(key, now).map_or(Reply::No, Reply::Value),
            Action::Set(value, ttl) => self.locked(key, || self.put(key, value.clone(), *ttl, now)),
            Action::Add(value, ttl) => self.locked(key, || match self.get(key, now) {
                Some(_) => Reply::No,
                None => self.put(key, value.clone(), *ttl, now),
            }),
            Action::Append(more, ttl) => self.locked(key, || match self.get(key, now) {
                Some(value) => self.put(key, [&value[..], &more[..]].concat().into(), *ttl, now),
                None => Reply::No,
            }),
            Action::Replace(expected, value, ttl) => self.locked(key, || match self.get(key, now) {
                Some(found) if found == *expected => self.put(key, value.clone(), *ttl, now),
                _ => Reply::No,
            }),
            Action::Delete => self.locked(key, || self.cache.remove(&**key).map_or(Reply::No, |_| Reply::Done)),
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (items, bytes) = self.usage();
        f.debug_struct("MemoryStore").field("items", &items).field("bytes", &bytes).finish()
    }
}

impl Store for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run(&self, batch: &[Op]) -> Vec<Reply> {
        let now = self.clock.now();
        batch.iter().map(|op| self.one(op, now)).collect()
    }
}

impl AsyncStore for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run<'a>(&'a self, batch: &'a [Op]) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(std::future::ready(Store::run(self, batch)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Tick;
    use crate::version::{Event, Uid};

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Micros {
            Micros(self.0.load(Ordering::Relaxed))
        }

        fn random(&self) -> u64 {
            7
        }
    }

    fn store(bytes: u64) -> (MemoryStore, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        (MemoryStore::new(bytes, clock.clone()), clock)
    }

    fn run(store: &MemoryStore, key: &str, action: Action) -> Reply {
        Store::run(store, &[Op { node: 0, key: key.into(), action }]).remove(0)
    }

    const DAY: Ttl = Ttl::days(1);

    #[test]
    fn operations_do_what_they_say() {
        let (store, _) = store(1 << 20);
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(matches!(run(&store, "k", Action::Append(bytes("x"), DAY)), Reply::No));
        assert!(matches!(run(&store, "k", Action::Add(bytes("a"), DAY)), Reply::Done));
        assert!(matches!(run(&store, "k", Action::Add(bytes("b"), DAY)), Reply::No));
        assert!(matches!(run(&store, "k", Action::Append(bytes("c"), DAY)), Reply::Done));
        assert!(matches!(run(&store, "k", Action::Replace(bytes("a"), bytes("z"), DAY)), Reply::No));
        assert!(matches!(run(&store, "k", Action::Get), Reply::Value(value) if &value[..] == b"ac"));
        assert!(matches!(run(&store, "k", Action::Replace(bytes("ac"), bytes("z"), DAY)), Reply::Done));
        assert!(matches!(run(&store, "k", Action::Delete), Reply::Done));
        assert!(matches!(run(&store, "k", Action::Get), Reply::No));
    }

    #[test]
    fn items_end_with_their_ttl_and_appending_renews_it() {
        let (store, clock) = store(1 << 20);
        run(&store, "k", Action::Add(Bytes::from_static(b"a"), DAY));
        clock.0.store(DAY.end(Micros(0)).0, Ordering::Relaxed);
        assert!(matches!(run(&store, "k", Action::Append(Bytes::from_static(b"b"), DAY)), Reply::Done));
        clock.0.fetch_add(1_000_000, Ordering::Relaxed);
        assert!(matches!(run(&store, "k", Action::Get), Reply::Value(_)));
        clock.0.fetch_add(DAY.end(Micros(0)).0, Ordering::Relaxed);
        assert!(matches!(run(&store, "k", Action::Get), Reply::No));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_open_holds() {
        let (store, clock) = store(1 << 20);
        let mark = Event::Mark { uid: Uid::new(Tick { now: Micros(1), random: 1 }), deadline: Micros(5_000_000) };
        let log = VersionLog::fresh(Uid::new(Tick { now: Micros(1), random: 2 })).with(mark).to_bytes();
        let hold = |name: &str| {
            for id in 0..50 {
                run(&store, &format!("{name}/{id}"), Action::Add(log.clone().into(), DAY));
            }
        };
        let flood = |name: &str| {
            for id in 0..5_000 {
                run(&store, &format!("{name}/{id}"), Action::Set(vec![b'x'; 1_000].into(), DAY));
            }
        };
        let kept = |name: &str| (0..50).filter(|id| matches!(run(&store, &format!("{name}/{id}"), Action::Get), Reply::Value(_))).count();
        hold("open");
        flood("first");
        assert_eq!(kept("open"), 50);
        assert!(store.usage().1 <= 1 << 20, "{store:?}");
        clock.0.store(6_000_000, Ordering::Relaxed);
        hold("over");
        flood("second");
        assert!(kept("over") < 50, "a hold that is over keeps nothing");
        assert!(matches!(run(&store, "big", Action::Set(vec![0; 2 << 20].into(), DAY)), Reply::TooLarge));
    }

    #[test]
    fn concurrent_appends_are_all_kept() {
        let (store, _) = store(1 << 20);
        run(&store, "k", Action::Add(Bytes::new(), DAY));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| drop(run(&store, "k", Action::Append(Bytes::from_static(b"x"), DAY)))));
            }
        });
        assert!(matches!(run(&store, "k", Action::Get), Reply::Value(value) if value.len() == 2_000));
    }
}
