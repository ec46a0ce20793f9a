//! Pages: the read scope of one request, opened before the request loads its data.
//!
//! Tags of a page are answered from memory, after one prefetch; what they render is stored in one batch at the end. A page
//! loads its data *before* its tags render, so a tag's fragment may be stored only if everything its tokens know of had
//! settled before the page was opened.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::fragment::{Serving, Settings, hits};
use crate::protocol::{Cached, Found, Lookup, Lookups, Mode, Query, Serve, ServeInput, ServeStep, Served};
use crate::shared::Shared;
use crate::store::{Op, Reply};
use crate::verify::{Checks, Conclusion};
use crate::{CacheSweep, Dependencies, Dependency, Micros, Rendered, Row};

/// What a page looks up ahead of its tags. Filled by the closure of `page.prefetch_many(…)`.
#[derive(Debug, Default)]
pub struct Prefetch {
    wanted: Vec<(Settings, Vec<Dependency>)>,
}

impl Prefetch {
    /// One fragment per row.
    pub fn rows<T: CacheSweep>(&mut self, rows: &[T], name: &str) -> &mut Self {
        self.rows_varying(rows, name, &[])
    }

    /// One fragment per row, with further parts of the key.
    pub fn rows_varying<T: CacheSweep>(&mut self, rows: &[T], name: &str, vary: &[&str]) -> &mut Self {
        for row in rows {
            self.wanted.push((settings(name, vary), vec![Row::dependency(row)]));
        }
        self
    }

    /// One fragment, with further parts of the key.
    pub fn fragment(&mut self, on: impl Dependencies, name: &str, vary: &[&str]) -> &mut Self {
        let mut dependencies = Vec::new();
        on.collect_into(&mut dependencies);
        self.wanted.push((settings(name, vary), dependencies));
        self
    }
}

fn settings(name: &str, vary: &[&str]) -> Settings {
    let mut settings = Settings::new(name);
    settings.vary = vary.iter().map(|part| (*part).to_owned()).collect();
    settings
}

/// The read scope of one request. Made by `sweeper.page()`; cheap to clone.
#[derive(Clone, Debug)]
pub struct PageOf<S> {
    pub(crate) sweeper: S,
    pub(crate) page: Arc<PageState>,
}

type PageKey = (Arc<str>, crate::version::Stamp);

fn page_key(query: &Query) -> PageKey {
    (query.full_key().clone(), query.in_hand())
}

/// What a page remembers.
#[derive(Debug)]
pub(crate) struct PageState {
    pub(crate) shared: Arc<Shared>,
    opened: Micros,
    /// By the fragment's whole key and the rows in hand.
    found: Mutex<HashMap<PageKey, (Found, Micros)>>,
    /// Where it was opened: a template may render elsewhere.
    place: crate::ambient::Place,
    fills: Mutex<Vec<Op>>,
    /// Hits that were rendered again; they are judged when the page is finished.
    checks: Mutex<Vec<(Checks, Bytes)>>,
}

thread_local! {
    static OPEN: RefCell<Vec<Arc<dyn Tags>>> = const { RefCell::new(Vec::new()) };
}

/// What a template's tags need of a page.
pub trait Tags: Send + Sync {
    /// The fragment of a tag: from memory, or by `body`.
    ///
    /// # Errors
    ///
    /// Those of `body`; and [`TagError::NotPrefetched`].
    fn tag(
        &self,
        on: Vec<Dependency>,
        settings: TagSettings,
        body: &mut dyn FnMut() -> Result<String, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Rendered, TagError>;
}

/// What a tag says of its fragment.
#[derive(Clone, Debug)]
pub struct TagSettings {
    /// The fragment's name.
    pub name: String,
    /// Its TTL in seconds.
    pub ttl: Option<u64>,
    /// Further parts of its key.
    pub vary: Vec<String>,
}

/// A tag could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// Its body failed.
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// Templates cannot wait for the store.
    #[error(
        "the fragment {name:?} of {record} was not prefetched, and a template cannot wait for the store: call \
         `page.prefetch(&rows, {name:?}).await` before rendering, or render inside `spawn_blocking` with `page.blocking()`"
    )]
    NotPrefetched {
        /// The fragment's name.
        name: String,
        /// What it depends on.
        record: String,
    },
    /// No page is open.
    #[error("no page is open: render with `page.render(|| template.render(context))`, so that the tag knows when its data were loaded")]
    NoPage,
}

/// The page that is being rendered on this thread.
#[cfg(feature = "minijinja")]
pub(crate) fn open_page() -> Option<Arc<dyn Tags>> {
    OPEN.with_borrow(|pages| pages.last().cloned())
}

/// Closes the page again, also when a panic passes.
struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(Vec::pop);
    }
}

pub(crate) fn with_page<T>(page: Arc<dyn Tags>, render: impl FnOnce() -> T) -> T {
    OPEN.with_borrow_mut(|pages| pages.push(page));
    let _opened = Opened;
    render()
}

impl PageState {
    pub(crate) fn open(shared: &Arc<Shared>) -> Arc<Self> {
        let opened = shared.clock.now();
        let place = crate::ambient::Place::current();
        Arc::new(Self { shared: shared.clone(), opened, found: Mutex::default(), place, fills: Mutex::default(), checks: Mutex::default() })
    }

    fn found(&self) -> MutexGuard<'_, HashMap<PageKey, (Found, Micros)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lookup of everything that is wanted, and the keys to file its answers under.
    pub(crate) fn begin_prefetch(&self, prefetch: &Prefetch) -> (Lookup, Vec<PageKey>) {
        let queries: Vec<Query> = prefetch.wanted.iter().map(|(settings, on)| settings.query(&self.shared, on)).collect();
        let keys = queries.iter().map(page_key).collect();
        (Lookup::new(self.shared.rules, self.shared.namespace.marker(), queries), keys)
    }

    pub(crate) fn end_prefetch(&self, keys: Vec<PageKey>, lookups: Lookups) {
        let mut found = self.found();
        for (key, one) in keys.into_iter().zip(lookups.found) {
            found.insert(key, (one, lookups.read_at));
        }
    }

    /// The operations that store what was rendered.
    pub(crate) fn take_fills(&self) -> Vec<Op> {
        std::mem::take(&mut *self.fills.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sees the replies to the fills.
    pub(crate) fn filled(&self, ops: &[Op], replies: &[Reply]) {
        for (op, reply) in ops.iter().zip(replies) {
            let counters = &self.shared.counters;
            match reply {
                Reply::TooLarge => {
                    crate::stats::Counters::bump(&counters.too_large);
                    tracing::warn!(
                        key = &*op.key,
                        limit = self.shared.info.max_item,
                        "a fragment is too large for the store; it was served and not stored"
                    );
                }
                Reply::Failed(error) => {
                    crate::stats::Counters::bump(&counters.fills_failed);
                    tracing::debug!(key = &*op.key, %error, "a fragment could not be stored");
                }
                _ => crate::stats::Counters::bump(&counters.fills),
            }
        }
    }

    /// Renders a hit again, if it is drawn: the fresh body, and whether it differs. Whether the hit was stale is judged in the
    /// end, since a template cannot wait for a second lookup.
    fn verify(
        &self,
        serving: &Serving<'_>,
        served: &[Served],
        render: &mut dyn FnMut() -> Result<Bytes, TagError>,
    ) -> Option<(Bytes, bool)> {
        // The page may have loaded its data at its opening already. Only a fragment whose tokens were read before that is as old
        // as they are: they have not changed since, or it would not be a hit.
        let old = |cached: &Cached| cached.read_at.plus(self.shared.rules.skew) < self.opened;
        let checks = serving.checks(&self.shared, || hits(served).into_iter().filter(|(_, cached)| old(cached)).collect())?;
        let (body, had) = (render().ok()?, hits(served).first().map(|(_, cached)| cached.body.clone()));
        if !serving.render.is_storable() {
            return None;
        }
        let differs = had.is_some_and(|had| had != body);
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push((checks, body.clone()));
        Some((body, differs))
    }

    /// The hits that were rendered again, and the lookup that tells whether anything has changed since.
    pub(crate) fn take_checks(&self) -> Option<(Lookup, Vec<(Checks, Bytes)>)> {
        let checks = std::mem::take(&mut *self.checks.lock().unwrap_or_else(PoisonError::into_inner));
        if checks.is_empty() {
            return None;
        }
        let queries: Vec<Query> = checks.iter().flat_map(|(checks, _)| checks.queries()).collect();
        Some((Lookup::new(self.shared.rules, self.shared.namespace.marker(), queries), checks))
    }

    /// Judges them; tells what to take out of the store. Each tag has one.
    pub(crate) fn conclude(checks: Vec<(Checks, Bytes)>, lookups: &Lookups) -> Vec<Op> {
        let judged = checks.into_iter().zip(lookups.found.chunks(1));
        let removals = judged.flat_map(|((checks, body), found)| {
            let Conclusion { removals, .. } = checks.conclude(&[body], found);
            removals
        });
        removals.collect()
    }

    /// One tag. `look_up` is how the caller can wait for the store, if at all.
    pub(crate) fn tag(
        &self,
        on: Vec<Dependency>,
        tag: TagSettings,
        body: &mut dyn FnMut() -> Result<String, Box<dyn std::error::Error + Send + Sync>>,
        look_up: Option<&dyn Fn(Lookup) -> Lookups>,
    ) -> Result<Rendered, TagError> {
        let ttl = tag.ttl.map(|secs| crate::Ttl::new(std::time::Duration::from_secs(secs)).map_err(|error| error.to_string()));
        let settings = Settings { name: tag.name, ttl, vary: tag.vary, serve_stale: None };
        let record = on.first().map(|dependency| dependency.record.to_string()).unwrap_or_default();
        let query = settings.query(&self.shared, &on);
        let (mut serving, serve) = Serving::begin(&self.shared, &settings, [on.into()], Mode::Page(self.opened));
        let shared = &self.shared;
        let inside = serving.render.clone();
        let mut render = || inside.enter(&mut *body).map(Bytes::from).map_err(TagError::Body);

        let key = page_key(&query);
        let serve = serve.filter(|_| !self.shared.changes.at(self.place));
        let Some(serve) = serve else {
            let body = render()?;
            let served = serving.bypassed(body);
            return Ok(one(serving.end(shared, vec![served])));
        };
        let known = self.found().get(&key).cloned();
        let (found, read_at) = match (known, look_up) {
            (Some(known), _) => known,
            (None, Some(look_up)) => {
                let lookups = look_up(Lookup::new(shared.rules, shared.namespace.marker(), vec![query]));
                let found = lookups.found.into_iter().next();
                (found.unwrap_or(Found::Bypass { reason: crate::Reason::NodeDown, stale: None }), lookups.read_at)
            }
            (None, None) => return Err(TagError::NotPrefetched { name: settings.name, record }),
        };
        let mut step = Serve::found(serve, found, read_at);
        let served = loop {
            let (serve, next) = step;
            let (mut serve, input) = match next {
                ServeStep::Done(served) => break served,
                ServeStep::Render(_) => {
                    let body = render()?;
                    (serve, ServeInput::Rendered(vec![body], inside.is_storable()))
                }
                ServeStep::Run(ops) => {
                    // Stored later, in one batch; whether the store takes them is seen then.
                    let replies = vec![Reply::Done; ops.len()];
                    self.fills.lock().unwrap_or_else(PoisonError::into_inner).extend(ops);
                    (serve, ServeInput::Replies(replies))
                }
                // A page neither waits nor shares.
                ServeStep::Sleep(_) => (serve, ServeInput::Slept),
                ServeStep::Join(_) => (serve, ServeInput::Joined(Vec::new())),
                ServeStep::Gather(_) => (serve, ServeInput::Gathered(None)),
            };
            let next = serve.advance(input, shared.clock.tick());
            step = (serve, next);
        };
        if let Some(Served::Filled(cached)) = served.first() {
            // A second tag of the same fragment on this page shows the same.
            self.found().insert(key, (Found::Hit(cached.clone()), read_at));
        } else if let Some((body, differs)) = self.verify(&serving, &served, &mut render) {
            // Also for a second tag; it is not verified again.
            if let Some(Served::Hit(cached)) = served.first() {
                let cached = Cached { body: body.clone(), read_at: self.opened, stamp: cached.stamp };
                self.found().insert(key, (Found::Hit(cached), self.opened));
            }
            if differs {
                serving.correct(vec![(0, body)]);
            }
        }
        Ok(one(serving.end_of_tag(shared, served)))
    }
}

fn one(rendered: Vec<Rendered>) -> Rendered {
    rendered.into_iter().next().unwrap_or_else(|| Rendered::new(Bytes::new(), crate::Outcome::Unstored, std::time::Duration::ZERO))
}
