//! Fragments as callers build them; the same for the async and the blocking face.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ambient::Render;
use crate::protocol::{Mode, Query, Serve, Served};
use crate::record::Row;
use crate::shared::Shared;
use crate::{CacheSweep, Dependencies, Dependency, Rendered, Ttl};

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
    pub(crate) on: Vec<Dependency>,
    pub(crate) settings: Settings,
}

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
        let mut dependencies = Vec::new();
        on.collect_into(&mut dependencies);
        Self { sweeper, on: dependencies, settings: Settings::new(name) }
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
pub(crate) struct Serving {
    name: String,
    on: Vec<Vec<Dependency>>,
    keys: Vec<String>,
    started: Instant,
    /// The render of these fragments, for those inside it.
    pub(crate) render: std::sync::Arc<Render>,
}

impl Serving {
    /// Prepares the fragments; `None` for the machine if the task has changes pending, so that all are bypassed.
    pub(crate) fn begin(shared: &Shared, settings: &Settings, on: Vec<Vec<Dependency>>, mode: Mode) -> (Self, Option<Serve>) {
        let queries: Vec<Query> = on.iter().map(|on| settings.query(shared, on)).collect();
        for on in &on {
            shared.warn_of_strangers(&settings.name, on);
        }
        let keys = queries.iter().map(|query| query.full_key().to_owned()).collect();
        let render = Render::new(on.iter().flatten().map(|dependency| dependency.record.clone()).collect());
        let serving = Self { name: settings.name.clone(), on, keys, started: Instant::now(), render };
        let serve = (!shared.changes.here()).then(|| shared.serve(mode, queries));
        (serving, serve)
    }

    pub(crate) fn end(self, shared: &Shared, served: Vec<Served>) -> Vec<Rendered> {
        let took = self.started.elapsed();
        let outcomes = served.into_iter().zip(&self.keys).map(|(served, key)| shared.outcome(&self.name, key, served, took));
        outcomes.collect()
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

/// The dependencies of many rows, one each.
pub(crate) fn of_rows<T: CacheSweep>(rows: &[T]) -> Vec<Vec<Dependency>> {
    rows.iter().map(|row| vec![Row::dependency(row)]).collect()
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
