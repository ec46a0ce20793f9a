//! Building sweepers: where the store is, and how careful to be.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::Graph;
use crate::shared::Shared;
#[cfg(feature = "tokio")]
use crate::store::AsyncStore;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreInfo};
use crate::{Clock, Config, Error, Policy, SystemClock};

/// Where a sweeper keeps logs and fragments.
#[derive(Clone, Debug)]
enum Place {
    Unset,
    Memory(u64),
    #[cfg(feature = "memcached")]
    Memcached(Vec<String>),
    Blocking(Arc<dyn Store>),
    #[cfg(feature = "tokio")]
    Async(Arc<dyn AsyncStore>),
}

/// Builds a sweeper. Start with `Sweeper::builder()`.
#[must_use = "a builder does nothing until `build()`"]
#[derive(Debug)]
pub struct Builder<S> {
    place: Place,
    config: Config,
    clock: Arc<dyn Clock>,
    graph: Option<Graph>,
    sweeper: PhantomData<S>,
}

impl<S> Builder<S> {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(SystemClock);
        Self { place: Place::Unset, config: Config::default(), clock, graph: None, sweeper: PhantomData }
    }

    /// Keeps everything in this process, in at most `bytes` bytes. For one process only: others do not see its invalidations.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.place = Place::Memory(bytes);
        self
    }

    /// Keeps everything on these memcached servers (`host:port`, 1.6.18 or newer). Every process must name the same ones.
    ///
    /// Nothing is connected here: a server that is down, or whose name does not resolve, is no reason not to start.
    #[cfg(feature = "memcached")]
    pub fn memcached<A: Into<String>>(mut self, servers: impl IntoIterator<Item = A>) -> Self {
        self.place = Place::Memcached(servers.into_iter().map(Into::into).collect());
        self
    }

    /// Begins every key in the store, so that applications can share one (default: `cachesweeper`).
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.config.namespace = name.into();
        self
    }

    /// What to do with a write when its records cannot be marked (default: [`Policy::Proceed`]).
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = policy;
        self
    }

    /// How long a mark holds if its process dies (default: 3 s). A COMMIT must return within it. A sweep of more than 10,000 records
    /// gets the longer one of this and [`plain_hold`](Self::plain_hold), as marking them takes a part of it.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.config.hold = hold;
        self
    }

    /// How long a mark holds in a transaction whose end cannot be seen (default: 10 s). Such a transaction must end within it.
    pub fn plain_hold(mut self, hold: Duration) -> Self {
        self.config.plain_hold = hold;
        self
    }

    /// How far the clocks of two processes may differ (default: 500 ms).
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.config.max_clock_skew = skew;
        self
    }

    /// The TTL of fragments that name none (default: one day).
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.default_ttl = ttl;
        self
    }

    /// How long a store node that failed is left alone (default: 1 s).
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.config.retry_interval = interval;
        self
    }

    /// How long one exchange with a store node may take (default: 1 s).
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// How long a caller waits for another process that renders the same fragment (default: 300 ms).
    pub fn lease_wait(mut self, wait: Duration) -> Self {
        self.config.lease_wait = wait;
        self
    }

    /// How long a caller waits for another caller of this process that renders the same fragment (default: 5 s).
    pub fn flight_wait(mut self, wait: Duration) -> Self {
        self.config.flight_wait = wait;
        self
    }

    /// How long a mark is renewed whose COMMIT has an unknown outcome (default: 60 s).
    pub fn unknown_commit_limit(mut self, limit: Duration) -> Self {
        self.config.unknown_commit_limit = limit;
        self
    }

    /// Keeps G-commit even if the store evicts version logs with open holds: a log that is new, and so may have replaced such
    /// a one, is bypassed for the longest hold and twice the clock skew (default: 11 s). All processes must agree on it.
    ///
    /// The price is that the first fragments of every record wait that long, at its first use and after each eviction of its
    /// log. The embedded store never drops an open hold, so there it changes nothing.
    pub fn strict(mut self) -> Self {
        self.config.strict = true;
        self
    }

    /// Renders this share of all hits again, from 0 (none, the default) to 1 (every one), and compares them with what the store
    /// had. The statistics count what came of it, `verified` and `stale` above all; a stale fragment is logged as an error.
    ///
    /// What differs is not served: the caller gets the fresh render. A hit costs as much as a bypass then, and a lookup more.
    ///
    /// ```
    /// # use cachesweeper_core::blocking::Sweeper;
    /// let sweeper = Sweeper::builder().memory(64 << 20).verify(0.001).build()?;          // one hit in a thousand
    /// assert_eq!((sweeper.stats().verified, sweeper.stats().stale), (0, 0));
    /// # Ok::<(), cachesweeper_core::Error>(())
    /// ```
    pub fn verify(mut self, rate: f64) -> Self {
        self.config.verify = rate;
        self
    }

    /// Keeps fragment bodies in this process too, at most so many bytes of them (default 0: none). A lookup then fetches only
    /// the versions of what is kept, and takes the body from here if they still fit: exactly as fresh as without, and less on the
    /// wire. [`Stats::near_hits`](crate::Stats) counts them.
    ///
    /// It pays where the same fragments are read again and again by one process. One that has changed since costs a second round
    /// trip. With the embedded store it does nothing: that one is in the process already.
    ///
    /// ```
    /// # fn main() -> Result<(), cachesweeper_core::Error> {
    /// # use cachesweeper_core::blocking::Sweeper;
    /// let sweeper = Sweeper::builder().memcached(["127.0.0.1:11211"]).near_cache(64 << 20).build()?;   // 64 MiB
    /// # Ok(())
    /// # }
    /// ```
    pub fn near_cache(mut self, bytes: u64) -> Self {
        self.config.near_cache = bytes;
        self
    }

    /// Stores fragments of more than this many bytes compressed, if that makes them smaller (default: 2048). `u64::MAX` turns it
    /// off. What was stored compressed is read whatever the setting is, and processes may differ in it.
    ///
    /// A hit on a compressed fragment takes 0.2 µs per KiB more. In the embedded store that is up to five times as long, for two to
    /// four times as many fragments; on memcached it is hardly to be noticed.
    ///
    /// ```
    /// # use cachesweeper_core::{RecordKey, blocking::Sweeper};
    /// let sweeper = Sweeper::builder().memory(64 << 20).compress_above(4096).build()?;
    /// let list = || Ok::<_, std::io::Error>("<li>First!</li>".repeat(1000));
    /// sweeper.fragment(RecordKey::new("article", 1), "list.html").get_or_render(list)?;
    /// assert_eq!(sweeper.stats().compressed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "compression")]
    pub fn compress_above(mut self, bytes: u64) -> Self {
        self.config.compress_above = bytes;
        self
    }

    /// Seals every fragment with this secret (HMAC-SHA-256), so that whoever can write to the store cannot make the application
    /// serve what it has not rendered. At least 16 random bytes, used for nothing else; the same in every process.
    ///
    /// A fragment without a seal, or with another one, is a miss, counted as `forged`, and overwritten. The README and
    /// `SECURITY.md` say what a seal does not protect from.
    ///
    /// ```
    /// use cachesweeper_core::blocking::Sweeper;
    ///
    /// # let secret_from_vault = [7; 32];
    /// let sweeper = Sweeper::builder().memory(64 << 20).secret(secret_from_vault).build()?;
    /// # Ok::<(), cachesweeper_core::Error>(())
    /// ```
    #[cfg(feature = "hmac")]
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.config.seal = self.config.seal.with_secret(secret.as_ref());
        self
    }

    /// Accepts fragments that were sealed with this secret too, for a change of secrets without misses: deploy
    /// `.secret(old).also_accept_secret(new)`, then `.secret(new).also_accept_secret(old)`, then `.secret(new)`.
    #[cfg(feature = "hmac")]
    pub fn also_accept_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.config.seal = self.config.seal.accepting(secret.as_ref());
        self
    }

    /// The clock and the random numbers to go by; for tests and simulations.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The entities to go by, instead of all that the program registers; for tests.
    pub fn graph(mut self, graph: Graph) -> Self {
        self.graph = Some(graph);
        self
    }

    fn finish(self, info: StoreInfo) -> Result<Shared, Error> {
        let graph = match self.graph {
            Some(graph) => graph,
            None => Graph::of_program()?,
        };
        Shared::new(self.config, graph, info, self.clock)
    }

    fn blocking_store(&self) -> Result<Arc<dyn Store>, Error> {
        match &self.place {
            Place::Unset => Err(no_store()),
            Place::Memory(bytes) => Ok(Arc::new(MemoryStore::new(memory_bytes(*bytes)?, self.clock.clone()))),
            #[cfg(feature = "memcached")]
            Place::Memcached(servers) => {
                Ok(Arc::new(crate::store::memcached::MemcachedStore::new(&memcached_options(servers, &self.config)?)))
            }
            Place::Blocking(store) => Ok(store.clone()),
            #[cfg(feature = "tokio")]
            Place::Async(_) => Err(Error::Config("an async store cannot serve a blocking sweeper".into())),
        }
    }
}

fn no_store() -> Error {
    Error::Config("no store is chosen: call .memory(bytes) or .memcached([\"host:port\"]) on the builder".into())
}

fn memory_bytes(bytes: u64) -> Result<u64, Error> {
    const LEAST: u64 = 64 << 10;
    if bytes < LEAST {
        return Err(Error::Config(format!("memory({bytes}) is too small: give at least {LEAST} bytes (64 << 20 is a good start)")));
    }
    Ok(bytes)
}

#[cfg(feature = "memcached")]
fn memcached_options(servers: &[String], config: &Config) -> Result<crate::store::memcached::MemcachedOptions, Error> {
    for server in servers {
        let port = server.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
        if !matches!(port, Some((false, Ok(port))) if port > 0) {
            return Err(Error::Config(format!(
                "{server:?} is no memcached server's address: write `host:port`, for example `127.0.0.1:11211`"
            )));
        }
    }
    Ok(crate::store::memcached::MemcachedOptions { servers: servers.to_vec(), timeout: config.store_timeout })
}

impl Builder<crate::blocking::Sweeper> {
    /// Keeps everything in a store of your own.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.place = Place::Blocking(store);
        self
    }

    /// The sweeper.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the settings cannot work, [`Error::Graph`] if the entities do not fit together. Never because a
    /// store is down.
    pub fn build(self) -> Result<crate::blocking::Sweeper, Error> {
        let store = self.blocking_store()?;
        let shared = self.finish(store.info().clone())?;
        Ok(crate::blocking::Sweeper::from_parts(Arc::new(shared), store))
    }
}

#[cfg(feature = "tokio")]
impl Builder<crate::Sweeper> {
    /// Keeps everything in a store of your own.
    pub fn store(mut self, store: Arc<dyn AsyncStore>) -> Self {
        self.place = Place::Async(store);
        self
    }

    /// The sweeper.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the settings cannot work, [`Error::Graph`] if the entities do not fit together. Never because a
    /// store is down.
    pub fn build(self) -> Result<crate::Sweeper, Error> {
        let (store, blocking): (Arc<dyn AsyncStore>, Option<Arc<dyn Store>>) = match &self.place {
            Place::Unset => return Err(no_store()),
            Place::Memory(bytes) => {
                let store = Arc::new(MemoryStore::new(memory_bytes(*bytes)?, self.clock.clone()));
                (store.clone(), Some(store))
            }
            #[cfg(feature = "memcached")]
            Place::Memcached(servers) => {
                let options = memcached_options(servers, &self.config)?;
                let blocking = crate::store::memcached::MemcachedStore::new(&options);
                (Arc::new(crate::store::memcached::AsyncMemcachedStore::new(&options)), Some(Arc::new(blocking)))
            }
            Place::Blocking(_) => return Err(Error::Config("a blocking store cannot serve an async sweeper".into())),
            Place::Async(store) => (store.clone(), None),
        };
        let shared = self.finish(store.info().clone())?;
        Ok(crate::Sweeper::from_parts(Arc::new(shared), store, blocking))
    }
}
