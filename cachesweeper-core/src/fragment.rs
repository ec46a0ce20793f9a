//! Fragments as callers build them; the same for the async and the blocking face.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::ambient::Render;
use crate::protocol::{Cached, Mode, Query, Reason, Serve, Served, Unstored};
use crate::record::Row;
use crate::shared::Shared;
use crate::verify::Checks;
use crate::{CacheSweep, Dependencies, Dependency, RecordKey, Rendered, Ttl};

/// The settings of one fragment, or of many of the same name.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) ttl: Option<Result<Ttl, String>>,
    pub(crate) vary: Vec<String>,
    pub(crate) serve_stale: Option<Duration>,
}

impl Settings {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ttl: None, vary: Vec::new(), serve_stale: None }
    }

    pub(crate) fn query(&self, shared: &Shared, on: &[Dependency]) -> Query {
        shared.query(&self.name, on, &self.vary, self.ttl.clone(), self.serve_stale.map(Into::into))
    }
}

/// One fragment, before it is looked up. Made by `sweeper.fragment(on, name)`.
#[must_use = "a fragment is looked up by `get_or_render`"]
#[derive(Debug)]
pub struct FragmentOf<'a, S> {
    pub(crate) sweeper: &'a S,
    pub(crate) on: On,
    pub(crate) settings: Settings,
}

/// A list that mostly has one member: most calls ask for one fragment.
pub(crate) type Few<T> = SmallVec<[T; 1]>;

/// What one fragment depends on: mostly one record.
pub(crate) type On = SmallVec<[Dependency; 1]>;

/// Many fragments of the same name, one per row, before they are looked up. Made by `sweeper.fragments(rows, name)`.
#[must_use = "fragments are looked up by `get_or_render`"]
#[derive(Debug)]
pub struct FragmentsOf<'a, 'r, S, T> {
    pub(crate) sweeper: &'a S,
    pub(crate) rows: &'r [T],
    pub(crate) settings: Settings,
}

macro_rules! settings {
    () => {
        /// How long the fragment may be kept, at most (default: the builder's `default_ttl`, one day). A TTL is for tidiness:
        /// validity never depends on it.
        ///
        /// Parts of a second are rounded up. Zero, or more than 3650 days, is reported and the fragment is not stored.
        pub fn ttl(mut self, ttl: Duration) -> Self {
            self.settings.ttl = Some(Ttl::new(ttl).map_err(|error| error.to_string()));
            self
        }

        /// Adds a part to the key: what the output depends on beside its records, such as the language or the viewer's role.
        /// Call it once per part. Any text is safe; parts never run into each other.
        pub fn vary(mut self, part: impl fmt::Display) -> Self {
            self.settings.vary.push(part.to_string());
            self
        }

        /// Allows a version whose tokens were read at most `age` ago, where the caller would otherwise wait for another's
        /// render or bypass the cache. For fragments that may lag a little and must never be slow.
        ///
        /// `age` is counted from the lookup of who rendered it. What it shows of a row that its caller had in hand is as old as
        /// that copy, which was loaded before; and the clocks' skew comes on top.
        pub fn serve_stale(mut self, age: Duration) -> Self {
            self.settings.serve_stale = Some(age);
            self
        }
    };
}

impl<'a, S> FragmentOf<'a, S> {
    pub(crate) fn new(sweeper: &'a S, on: impl Dependencies, name: &str) -> Self {
        let mut dependencies = Vec::with_capacity(1);
        on.collect_into(&mut dependencies);
        Self { sweeper, on: dependencies.into(), settings: Settings::new(name) }
    }

    settings!();
}

impl<'a, 'r, S, T> FragmentsOf<'a, 'r, S, T> {
    pub(crate) fn new(sweeper: &'a S, rows: &'r [T], name: &str) -> Self {
        Self { sweeper, rows, settings: Settings::new(name) }
    }

    settings!();
}

/// Fragments about to be served: what both faces do around the waiting.
#[derive(Debug)]
pub(crate) struct Serving<'a> {
    name: &'a str,
    on: Few<On>,
    queries: Arc<[Query]>,
    corrected: Vec<(usize, Bytes)>,
    started: Instant,
    /// The render of these fragments, for those inside it.
    pub(crate) render: Arc<Render>,
}

impl<'a> Serving<'a> {
    /// Prepares the fragments; `None` for the machine if all are [bypassed](Self::bypassed): the task has changes pending, or the
    /// render around them verifies.
    pub(crate) fn begin(shared: &Shared, settings: &'a Settings, on: impl Into<Few<On>>, mode: Mode) -> (Self, Option<Serve>) {
        let on = on.into();
        let queries: Arc<[Query]> = on.iter().map(|on| settings.query(shared, on)).collect();
        for on in &on {
            shared.warn_of_strangers(&settings.name, on);
        }
        let render = Render::new(shown(&on));
        if Render::current().is_some_and(|around| around.is_verifying()) {
            render.verify();
        }
        let bypassed = shared.changes.here() || render.is_verifying();
        let serve = (!bypassed).then(|| shared.serve(mode, queries.clone()));
        let (name, corrected) = (&*settings.name, Vec::new());
        let serving = Self { name, on, queries, corrected, started: Instant::now(), render };
        (serving, serve)
    }

    /// A body that was rendered without the machine.
    pub(crate) fn bypassed(&self, body: Bytes) -> Served {
        let reason = if self.render.is_verifying() { Reason::Verifying } else { Reason::InTransaction };
        Served::Unstored(body, Unstored::Bypass(reason))
    }

    /// Draws hits to render again; the render is told that it verifies then.
    pub(crate) fn checks<'h>(&self, shared: &Arc<Shared>, hits: impl FnOnce() -> Vec<(usize, &'h Cached)>) -> Option<Checks> {
        // The one branch that it costs when nothing is verified.
        shared.verifier.as_ref()?;
        let checks = Checks::draw(shared, self.name, &self.on, &self.queries, hits())?;
        self.render.verify();
        Some(checks)
    }

    /// What is served in place of what the store had.
    pub(crate) fn correct(&mut self, corrected: Vec<(usize, Bytes)>) {
        self.corrected = corrected;
    }

    pub(crate) fn end(self, shared: &Shared, served: Vec<Served>) -> Vec<Rendered> {
        let took = self.started.elapsed();
        let outcomes = served.into_iter().zip(&*self.queries).map(|(served, query)| {
            shared.keep_near(query, &served);
            shared.outcome(self.name, query.full_key(), served, took)
        });
        let mut rendered: Vec<Rendered> = outcomes.collect();
        for (position, body) in self.corrected {
            rendered[position].correct(body);
        }
        rendered
    }

    /// As [`Serving::end`], for a tag: its fill is counted when it is stored.
    pub(crate) fn end_of_tag(self, shared: &Shared, served: Vec<Served>) -> Vec<Rendered> {
        let filled = served.iter().filter(|served| matches!(served, Served::Filled(_))).count();
        let rendered = self.end(shared, served);
        shared.counters.fills.fetch_sub(filled as u64, std::sync::atomic::Ordering::Relaxed);
        rendered
    }

    pub(crate) fn count(&self) -> usize {
        self.on.len()
    }
}

/// The records that a render is told of: they are looked at in debug builds only.
fn shown(on: &[On]) -> Vec<RecordKey> {
    if cfg!(debug_assertions) { on.iter().flatten().map(|dependency| dependency.record.clone()).collect() } else { Vec::new() }
}

/// The hits among what was served, by the caller's positions.
pub(crate) fn hits(served: &[Served]) -> Vec<(usize, &Cached)> {
    let hits = served.iter().enumerate().filter_map(|(position, served)| match served {
        Served::Hit(cached) => Some((position, cached)),
        _ => None,
    });
    hits.collect()
}

/// The dependencies of many rows, one each.
pub(crate) fn of_rows<T: CacheSweep>(rows: &[T]) -> Vec<On> {
    rows.iter().map(|row| On::from([Row::dependency(row)])).collect()
}

/// The pieces of a `fragments` closure as bodies.
///
/// # Panics
///
/// If there are not as many as rows were missing: there is no telling which piece is whose.
pub(crate) fn bodies(name: &str, missing: usize, pieces: Vec<String>) -> Vec<Bytes> {
    assert!(
        pieces.len() == missing,
        "the closure of fragments(…, {name:?}) was given {missing} rows and returned {} pieces: it must return one for each, in order",
        pieces.len()
    );
    pieces.into_iter().map(Bytes::from).collect()
}
