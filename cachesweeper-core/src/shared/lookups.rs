//! Lookups: building queries, counting outcomes, warning of what cannot be right.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Shared;
use crate::ambient::Render;
use crate::fragment::Settings;
use crate::protocol::{Mode, Query, QueryContext, Reason, Serve, Served, Unstored};
use crate::rendered::{Outcome, Rendered};
use crate::stats::Counters;
use crate::store::{Op, Reply};
use crate::{Dependency, Micros, RecordKey, Strategy, Ttl};

impl Shared {
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
        let query = Query::new(&context, name, on, vary, ttl, serve_stale);
        match &self.near {
            Some(near) => near.look(query, self.clock.now()),
            None => query,
        }
    }

    /// Keeps in the process what was served, and counts what came from there.
    pub(crate) fn keep_near(&self, query: &Query, served: &Served) {
        let Some(near) = &self.near else { return };
        match served {
            Served::Hit(cached) if query.is_near(cached) => Counters::bump(&self.counters.near_hits),
            Served::Hit(cached) | Served::Filled(cached) => near.keep(query, cached),
            Served::Shared(_) | Served::Stale(_) | Served::Unstored(..) => {}
        }
    }

    fn warn_of_unknown(&self, record: &RecordKey) {
        if self.graph.node(record).is_none() && self.first_time(&format!("unknown: {}", record.entity())) {
            let nearest = crate::nearest(record.entity(), self.graph.nodes().map(|node| node.name()));
            let hint = nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
            tracing::warn!(%record, "no model of the table `{}` derives CacheSweep{hint}; only invalidate({record}) will change its version", record.entity());
        }
    }

    /// What to read to see a hit at a glance: of the embedded store, which is asked without ado.
    pub(crate) fn glance(&self, settings: &Settings, on: &[Dependency]) -> Option<(Query, SmallVec<[Op; 2]>)> {
        let plain = !self.info.shared && !self.rules.markers && self.verifier.is_none() && !self.seals();
        if !plain || self.changes.here() || Render::current().is_some_and(|around| around.is_verifying()) {
            return None;
        }
        let query = settings.query(self, on);
        let ops = query.glance()?;
        Some((query, ops))
    }

    /// The hit, if the replies show one. Whatever else they show is looked up again, and counted then.
    pub(crate) fn seen(&self, fragment: &str, query: &Query, ops: &[Op], mut replies: Vec<Reply>, started: Instant) -> Option<Rendered> {
        self.decompress(ops, &mut replies);
        let cached = query.seen(&self.rules, &replies)?;
        Counters::bump(&self.counters.round_trips);
        Counters::add(&self.counters.store_operations, ops.len());
        Some(self.outcome(fragment, query.full_key(), Served::Hit(cached), started.elapsed()))
    }

    pub(crate) fn serve(&self, mode: Mode, queries: Arc<[Query]>) -> Serve {
        Serve::new(self.rules, self.namespace.clone(), mode, queries)
    }

    /// What a fragment's caller is told, counted. `renders` is the fragment's own render; the one around it is told too.
    pub(crate) fn outcome(&self, name: &str, full_key: &Arc<str>, served: Served, waited: std::time::Duration) -> Rendered {
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
            Served::Filled(cached) => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.fills);
                (cached.body, Outcome::Miss)
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

    fn unstored(&self, name: &str, full_key: &Arc<str>, why: &Unstored, len: usize) -> Outcome {
        let counters = &self.counters;
        // At most as long as a store key: a whole key is as long as its user's text.
        let key = || crate::keys::store_key(full_key);
        match why {
            Unstored::Bypass(reason) => {
                Counters::bump(&counters.bypasses);
                Counters::bump(match reason {
                    Reason::Held => &counters.bypasses_held,
                    Reason::Quarantine | Reason::Adopted => &counters.bypasses_quarantine,
                    Reason::NodeDown | Reason::Evicted => &counters.bypasses_node_down,
                    Reason::InTransaction => &counters.bypasses_in_transaction,
                    Reason::Verifying => &counters.bypasses_verifying,
                    Reason::NoDependency | Reason::KeyOfTimestampRecord | Reason::InvalidTtl => &counters.bypasses_refused,
                });
                let refused = matches!(reason, Reason::NoDependency | Reason::KeyOfTimestampRecord);
                if refused && self.first_time(&format!("refused: {name}")) {
                    tracing::error!(fragment = name, key = &*key(), "{reason}");
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
                    key = &*key(),
                    bytes = len,
                    limit,
                    "the fragment is too large for the store; it is served and not stored"
                );
                Outcome::TooLarge
            }
            Unstored::Failed(error) => {
                Counters::bump(&counters.misses);
                Counters::bump(&counters.fills_failed);
                tracing::debug!(fragment = name, key = &*key(), %error, "the fragment could not be stored");
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
}
