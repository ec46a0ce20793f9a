//! What the async and the blocking sweeper have in common: everything but waiting.

mod compressing;
mod lookups;
mod sealing;
mod sweeps;

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::ambient::Changes;
use crate::blocking::Renewals;
use crate::face::Adapters;
use crate::flight::Flights;
use crate::health::{Health, Pending};
use crate::keys::Namespace;
use crate::near::Near;
use crate::protocol::{LogAddress, Rules};
use crate::registry::Graph;
use crate::stats::Counters;
use crate::store::router::Router;
use crate::store::{Op, Reply, StoreError, StoreInfo};
use crate::verify::Verifier;
use crate::{Clock, Config, Error, Micros, Ttl};

pub(crate) use sweeps::MARKED_AT_ONCE;
pub use sweeps::Mark;

/// How many different messages are said once, at most: their texts may come from a store, or from a user.
const MOST_SAID: usize = 4096;

/// The common part of a sweeper.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "named by a hidden method of `Face`")]
pub struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) namespace: Namespace,
    pub(crate) graph: Graph,
    pub(crate) counters: Counters,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) info: StoreInfo,
    pub(crate) adapters: Adapters,
    pub(crate) renewals: Renewals,
    /// Bodies that the process keeps itself, if it does.
    pub(crate) near: Option<Near>,
    /// `None` if no hit is verified.
    pub(crate) verifier: Option<Verifier>,
    default_ttl: Ttl,
    router: Router,
    health: Mutex<Health>,
    /// Whether a thread or task is delivering what is owed.
    delivering: AtomicBool,
    /// What has been said once already.
    said: Mutex<HashSet<String>>,
}

impl Shared {
    pub(crate) fn new(config: Config, graph: Graph, info: StoreInfo, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let default_ttl = config.check()?;
        let router = crate::config::check_nodes(&info.nodes)?;
        let rules = Rules::new(&config, &info);
        let late = Micros::from(config.max_clock_skew).plus(config.store_timeout.into());
        let health = Health::new(info.nodes.len(), config.retry_interval.into(), late);
        Ok(Self {
            namespace: Namespace::new(&config.namespace),
            rules,
            graph,
            counters: Counters::default(),
            clock,
            flights: Arc::default(),
            changes: Arc::default(),
            adapters: Adapters::default(),
            renewals: Renewals::default(),
            // The embedded store is as near as can be.
            near: (info.shared && config.near_cache > 0).then(|| Near::new(config.near_cache)),
            verifier: Verifier::new(config.verify),
            default_ttl,
            router,
            health: Mutex::new(health),
            delivering: AtomicBool::new(false),
            said: Mutex::default(),
            config,
            info,
        })
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `what` is said for the first time.
    pub(crate) fn first_time(&self, what: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < MOST_SAID && said.insert(what.to_owned())
    }

    /// The operations as they are sent: large fragments are compressed, and sealed then.
    pub(crate) fn outgoing(&self, ops: Vec<Op>) -> Vec<Op> {
        self.sealed(self.compressed(ops))
    }

    /// Counts a batch, and takes out what must not be sent. `None`: send it all.
    pub(crate) fn admit(&self, ops: &[Op]) -> Option<Vec<Option<Reply>>> {
        Counters::bump(&self.counters.round_trips);
        Counters::add(&self.counters.store_operations, ops.len());
        let mut health = self.health();
        if health.all_up() { None } else { Some(health.admit(ops, self.clock.now())) }
    }

    /// Learns from the replies, and takes back those that must not be used.
    pub(crate) fn observe(&self, ops: &[Op], replies: &mut [Reply]) {
        // Nothing is decompressed before its seal was found to be right.
        self.open_seals(ops, replies);
        self.decompress(ops, replies);
        let failed = replies.iter().filter(|reply| matches!(reply, Reply::Failed(_))).count();
        let mut health = self.health();
        if failed == 0 && health.all_up() {
            return;
        }
        health.observe(ops, replies, self.clock.now());
        drop(health);
        Counters::add(&self.counters.store_errors, failed);
        if let Some(Reply::Failed(error)) = replies.iter().find(|reply| matches!(reply, Reply::Failed(_))) {
            tracing::debug!(failed, %error, "store operations failed");
            if self.first_time(&format!("store: {error}")) {
                if error.down {
                    tracing::warn!(%error, "the store does not answer; pages are rendered without it until it does");
                } else {
                    tracing::warn!(%error, "the store refused an operation; what it was for is rendered, or delivered later");
                }
            }
        }
    }
}

/// What a sweeper has under way: all of it ends by itself, so an idle sweeper has none. For simulations.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Renders that callers share.
    pub flights: usize,
    /// Holds of blocking code that are renewed.
    pub renewals: usize,
    /// Tasks and threads with changes pending.
    pub changes: usize,
    /// Logs whose invalidation is owed to their node.
    pub owed: Vec<LogAddress>,
    /// Whether what is owed is being delivered.
    pub delivering: bool,
}

impl Shared {
    #[doc(hidden)]
    pub fn leftovers(&self) -> Leftovers {
        let owed = self.health().owed().into_iter().map(|Pending { node, key }| LogAddress { node, key });
        let owed = owed.collect();
        let delivering = self.delivering.load(std::sync::atomic::Ordering::SeqCst);
        Leftovers { delivering, flights: self.flights.len(), renewals: self.renewals.len(), changes: self.changes.len(), owed }
    }
}

/// The sweeper that hooks use on connections that know none.
pub(crate) struct Installed<T>(OnceLock<Mutex<Option<T>>>);

impl<T: Clone> Installed<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn set(&self, sweeper: T) {
        *self.0.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner) = Some(sweeper);
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Replaces the replies that were not sent for.
pub(crate) fn merge(admitted: Vec<Option<Reply>>, sent: Vec<Reply>) -> Vec<Reply> {
    let mut sent = sent.into_iter();
    let missing = || Reply::Failed(StoreError::refused("store", "it gave fewer replies than operations"));
    admitted.into_iter().map(|reply| reply.unwrap_or_else(|| sent.next().unwrap_or_else(missing))).collect()
}
