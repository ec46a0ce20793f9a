//! What the async and the blocking sweeper have in common: everything but waiting.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::ambient::{Changes, Render};
use crate::flight::Flights;
use crate::health::{Health, Pending};
use crate::keys::Namespace;
use crate::protocol::{Append, Appended, LogAddress, Mode, Query, QueryContext, Reason, Rules, Serve, Served, Unstored};
use crate::registry::Graph;
use crate::rendered::{Outcome, Rendered};
use crate::stats::Counters;
use crate::store::router::Router;
use crate::store::{Op, Reply, StoreError, StoreInfo};
use crate::version::Uid;
use crate::{Clock, Config, Dependency, Error, Micros, Policy, RecordKey, Strategy, Ttl};

/// The common part of a sweeper.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) namespace: Namespace,
    pub(crate) graph: Graph,
    pub(crate) counters: Counters,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) info: StoreInfo,
    default_ttl: Ttl,
    router: Router,
    health: Mutex<Health>,
    /// Whether a thread or task is delivering what is owed.
    delivering: AtomicBool,
    /// What has been said once already.
    said: Mutex<HashSet<String>>,
}

/// An open hold: what [`release`](crate::Sweeper::release) needs to end it.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    pub(crate) logs: Vec<LogAddress>,
    pub(crate) uids: Vec<Uid>,
    pub(crate) deadline: Micros,
    /// Logs that could not be marked; they are invalidated after the commit, until it is delivered.
    pub(crate) failed: Vec<LogAddress>,
}

impl Mark {
    /// Whether there is nothing to release.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.failed.is_empty()
    }

    /// When the hold ends by itself.
    pub fn deadline(&self) -> Micros {
        self.deadline
    }

    /// Makes one of two.
    pub fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let new = |log: &LogAddress| !self.logs.contains(log);
        let more: Vec<_> = other.logs.into_iter().filter(new).collect();
        self.logs.extend(more);
        self.uids.extend(other.uids);
        self.failed.extend(other.failed);
        self.deadline = self.deadline.min(other.deadline);
    }
}

impl Shared {
    pub(crate) fn new(config: Config, graph: Graph, info: StoreInfo, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let default_ttl = config.check()?;
        let router = crate::config::check_nodes(&info.nodes)?;
        let rules = Rules::new(&config, &info);
        let health = Health::new(info.nodes.len(), config.retry_interval.into(), config.max_clock_skew.into());
        Ok(Self {
            namespace: Namespace::new(&config.namespace),
            rules,
            graph,
            counters: Counters::default(),
            clock,
            flights: Arc::default(),
            changes: Arc::default(),
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
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned())
    }

    // ---- batches --------------------------------------------------------------------------------------------------

    /// Counts a batch, and takes out what must not be sent. `None`: send it all.
    pub(crate) fn admit(&self, ops: &[Op]) -> Option<Vec<Option<Reply>>> {
        Counters::bump(&self.counters.round_trips);
        Counters::add(&self.counters.store_operations, ops.len());
        let mut health = self.health();
        if health.all_up() { None } else { Some(health.admit(ops, self.clock.now())) }
    }

    /// Learns from the replies, and takes back those that must not be used.
    pub(crate) fn observe(&self, ops: &[Op], replies: &mut [Reply]) {
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
                tracing::warn!(%error, "the store does not answer; pages are rendered without it until it does");
            }
        }
    }

    // ---- lookups --------------------------------------------------------------------------------------------------

    pub(crate) fn query(
        &self,
        name: &str,
        on: &[Dependency],
        vary: &[String],
        ttl: Option<Result<Ttl, String>>,
        serve_stale: Option<Micros>,
    ) -> Query {
        for dependency in on.iter().filter(|dependency| dependency.row.is_none()) {
            self.warn_of_unknown(&dependency.record);
        }
        let ttl = match ttl {
            None => Some(self.default_ttl),
            Some(Ok(ttl)) => Some(ttl),
            Some(Err(problem)) => {
                if self.first_time(&format!("ttl: {name}")) {
                    tracing::error!(fragment = name, "{problem}; the fragment is rendered and not stored");
                }
                None
            }
        };
        let context = QueryContext { namespace: &self.namespace, router: &self.router, graph: &self.graph, rules: &self.rules };
        Query::new(&context, name, on, vary, ttl, serve_stale)
    }

    fn warn_of_unknown(&self, record: &RecordKey) {
        if self.graph.node(record).is_none() && self.first_time(&format!("unknown: {}", record.entity())) {
            let nearest = crate::nearest(record.entity(), self.graph.nodes().map(|node| node.entity.name()));
            let hint = nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
            tracing::warn!(%record, "no model of the table `{}` derives CacheSweep{hint}; only invalidate({record}) will change its version", record.entity());
        }
    }

    pub(crate) fn serve(&self, mode: Mode, queries: Vec<Query>) -> Serve {
        Serve::new(self.rules, self.namespace.clone(), mode, queries)
    }

    /// What a fragment's caller is told, counted. `renders` is the fragment's own render; the one around it is told too.
    pub(crate) fn outcome(&self, name: &str, full_key: &str, served: Served, waited: std::time::Duration) -> Rendered {
        let counters = &self.counters;
        let (body, outcome) = match served {
            Served::Hit(cached) => {
                Counters::bump(&counters.hits);
                (cached.body, Outcome::Hit)
            }
            Served::Shared(body) => {
                Counters::bump(&counters.shared);
                (body, Outcome::Shared)
            }
            Served::Stale(cached) => {
                Counters::bump(&counters.served_stale);
                (cached.body, Outcome::Stale)
            }
            Served::Filled(body) => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.fills);
                (body, Outcome::Miss)
            }
            Served::Unstored(body, why) => {
                let outcome = self.unstored(name, full_key, &why, body.len());
                (body, outcome)
            }
        };
        if !outcome.is_cacheable()
            && let Some(around) = Render::current()
        {
            around.taint();
        }
        Rendered::new(body, outcome, waited)
    }

    fn unstored(&self, name: &str, full_key: &str, why: &Unstored, len: usize) -> Outcome {
        let counters = &self.counters;
        match why {
            Unstored::Bypass(reason) => {
                Counters::bump(&counters.bypasses);
                Counters::bump(match reason {
                    Reason::Held => &counters.bypasses_held,
                    Reason::Quarantine => &counters.bypasses_quarantine,
                    Reason::NodeDown | Reason::Evicted => &counters.bypasses_node_down,
                    Reason::InTransaction => &counters.bypasses_in_transaction,
                    Reason::NoDependency | Reason::KeyOfTimestampRecord | Reason::InvalidTtl => &counters.bypasses_refused,
                });
                let refused = matches!(reason, Reason::NoDependency | Reason::KeyOfTimestampRecord);
                if refused && self.first_time(&format!("refused: {name}")) {
                    tracing::error!(fragment = name, key = full_key, "{reason}");
                }
                Outcome::Bypass(*reason)
            }
            Unstored::LoadedTooEarly => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.loaded_too_early);
                Outcome::Unstorable
            }
            Unstored::Inner => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.unstorable_inner);
                Outcome::Unstorable
            }
            Unstored::TooLarge => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.too_large);
                let limit = self.info.max_item;
                tracing::warn!(
                    fragment = name,
                    key = full_key,
                    bytes = len,
                    limit,
                    "the fragment is too large for the store; it is served and not stored"
                );
                Outcome::TooLarge
            }
            Unstored::Failed(error) => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.fills_failed);
                tracing::debug!(fragment = name, key = full_key, %error, "the fragment could not be stored");
                Outcome::Unstored
            }
        }
    }

    /// In debug builds: says once when a fragment shows a record that its outer fragment is not invalidated by.
    pub(crate) fn warn_of_strangers(&self, name: &str, on: &[Dependency]) {
        if !cfg!(debug_assertions) {
            return;
        }
        let Some(around) = Render::current() else { return };
        for record in on.iter().map(|dependency| &dependency.record) {
            let covered = around.on.iter().any(|outer| {
                outer == record
                    || (outer.entity() == record.entity() && !outer.is_row())
                    || self.graph.is_ancestor(outer.entity(), record.entity())
            });
            if !covered && self.first_time(&format!("stranger: {name} {}", record.entity())) {
                let outer = around.on.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    fragment = name, inner = %record, outer,
                    "the inner record is no descendant of the outer fragment's: the outer fragment goes stale when it changes; add it to the outer fragment's dependencies"
                );
            }
        }
    }

    /// Whether a record can be invalidated only with the database's help: to find its ancestors, or to touch its row.
    pub(crate) fn needs_database(&self, record: &RecordKey) -> bool {
        let node = self.graph.node(record).filter(|_| record.is_row());
        node.is_some_and(|node| !node.parents.is_empty() || node.strategy == Strategy::UpdatedAt)
    }

    // ---- sweeps ---------------------------------------------------------------------------------------------------

    /// The logs that must be written when these records change: their own, and their entities' collections.
    pub(crate) fn logs(&self, records: &[RecordKey]) -> Vec<LogAddress> {
        let mut logs = Vec::with_capacity(records.len());
        let mut seen = HashSet::new();
        let mut push = |record: &RecordKey| {
            let log = LogAddress { node: self.router.node(record), key: self.namespace.log(record) };
            if seen.insert(log.clone()) {
                logs.push(log);
            }
        };
        for record in records {
            let node = self.graph.node(record);
            let has_log = !record.is_row() || node.is_none_or(|node| node.strategy == Strategy::Counter);
            if has_log {
                push(record);
            }
            if let Some(node) = node.filter(|node| node.entity.info().collection) {
                push(&RecordKey::collection(node.entity.name()));
            }
        }
        logs
    }

    /// A mark on these logs, and the machine that makes it.
    pub(crate) fn begin_mark(&self, logs: Vec<LogAddress>, hold: Micros) -> (Mark, Append) {
        let tick = self.clock.tick();
        let (uid, deadline) = (Uid::new(tick), tick.now.plus(hold));
        let append = Append::mark(self.rules, logs.clone(), uid, deadline);
        (Mark { logs, uids: vec![uid], deadline, failed: Vec::new() }, append)
    }

    /// Sorts out what could not be marked, by the policy.
    pub(crate) fn end_mark(&self, mut mark: Mark, appended: Appended) -> Result<Mark, Error> {
        let Some((first, cause)) = appended.failed.first().cloned() else { return Ok(mark) };
        if self.config.policy == Policy::Abort {
            Counters::bump(&self.counters.writes_refused);
            return Err(Error::Refused { record: self.readable(&mark.logs[first].key), cause });
        }
        Counters::add(&self.counters.marks_failed, appended.failed.len());
        tracing::warn!(records = appended.failed.len(), %cause, "records could not be marked before their write; they are invalidated as soon as the store answers");
        let failed: HashSet<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
        let (lost, kept) = mark.logs.drain(..).enumerate().partition::<Vec<_>, _>(|(position, _)| failed.contains(position));
        mark.failed.extend(lost.into_iter().map(|(_, log)| log));
        mark.logs = kept.into_iter().map(|(_, log)| log).collect();
        Ok(mark)
    }

    fn readable(&self, log_key: &str) -> String {
        let prefix = self.namespace.log(&RecordKey::new("", ""));
        log_key.strip_prefix(prefix.trim_end_matches([':', '%'])).unwrap_or(log_key).to_owned()
    }

    /// The machine that releases a mark, and whether its delivery must be certain: the hold may be over by now.
    pub(crate) fn begin_release(&self, mark: &Mark) -> (Append, bool) {
        let now = self.clock.now();
        // Others' clocks may be ahead of ours.
        let must_arrive = now.plus(self.rules.skew) >= mark.deadline;
        let make = if must_arrive { Append::invalidate } else { Append::release };
        (make(self.rules, mark.logs.clone(), &mark.uids, now), must_arrive)
    }

    /// What still has to reach the store after a commit.
    pub(crate) fn end_release(&self, mark: &Mark, appended: &Appended, must_arrive: bool) {
        let late = appended.failed.iter().filter(|_| must_arrive).map(|(log, _)| &mark.logs[*log]);
        let owed: Vec<LogAddress> = late.chain(&mark.failed).cloned().collect();
        self.owe(owed);
    }

    pub(crate) fn owe(&self, logs: Vec<LogAddress>) {
        let mut health = self.health();
        for LogAddress { node, key } in logs {
            health.owe(Pending { node, key });
        }
    }

    /// The machine that invalidates these logs now.
    pub(crate) fn begin_invalidate(&self, logs: Vec<LogAddress>) -> Append {
        let tick = self.clock.tick();
        Append::invalidate(self.rules, logs, &[Uid::new(tick)], tick.now)
    }

    /// What is owed to the store: one attempt at delivering it. `None` if nothing is.
    pub(crate) fn begin_delivery(&self) -> Option<(Vec<Pending>, Append)> {
        let owed = self.health().owed();
        if owed.is_empty() {
            return None;
        }
        let logs = owed.iter().map(|pending| LogAddress { node: pending.node, key: pending.key.clone() }).collect();
        Some((owed, self.begin_invalidate(logs)))
    }

    pub(crate) fn end_delivery(&self, owed: &[Pending], appended: &Appended) {
        let failed: HashSet<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
        let now = self.clock.now();
        let mut delivered = 0;
        for (position, pending) in owed.iter().enumerate() {
            if !failed.contains(&position) {
                self.health().deliver(pending, now);
                delivered += 1;
            }
        }
        if delivered > 0 {
            Counters::add(&self.counters.marks_delivered, delivered);
            tracing::info!(records = delivered, "invalidations that waited for the store were delivered");
        }
    }

    /// Whether the caller is to deliver: nobody else does.
    pub(crate) fn start_delivering(&self) -> bool {
        !self.delivering.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn stop_delivering(&self) {
        self.delivering.store(false, Ordering::SeqCst);
    }

    pub(crate) fn owes(&self) -> bool {
        !self.health().owed().is_empty()
    }

    /// Logs a problem that is absorbed after a commit.
    pub(crate) fn sweep_incomplete(&self, error: &Error) {
        Counters::bump(&self.counters.sweeps_incomplete);
        tracing::error!(%error, "a committed write's sweep is incomplete: fragments of its ancestors may be stale until they change again or expire");
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
