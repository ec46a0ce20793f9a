//! Where pages get their fragments: from Cachesweeper, from the classic scheme that the audit must catch, or from nowhere.

use std::time::{Duration, Instant};

use blog_site::Served;
use blog_site::overlay::Trace;
use cachesweeper_seaorm::{CacheSweep, Dependencies, RecordKey, Rendered, Sweeper};

use crate::naive::Naive;

/// A cache, as pages see it.
#[derive(Debug)]
pub(crate) enum Cache {
    /// The one that this site is about.
    Sweeper(Sweeper),
    /// The classic scheme.
    Naive(Naive),
    /// Everything is rendered anew.
    Off,
}

/// A fragment's HTML, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) html: String,
    pub(crate) served: Served,
}

impl From<Rendered> for Piece {
    fn from(rendered: Rendered) -> Self {
        Self { served: rendered.outcome().into(), html: rendered.into() }
    }
}

impl Piece {
    fn bypass(html: String) -> Self {
        Self { html, served: Served::Bypass }
    }
}

/// What a fragment is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// A further part of its key.
    pub(crate) vary: Option<u64>,
    /// Where the overlay learns what became of it.
    pub(crate) trace: Option<&'a Trace>,
}

impl Cache {
    /// One fragment. `home` is the record it is a fragment of.
    pub(crate) async fn fragment<D, F, E>(&self, on: D, home: &RecordKey, name: Name<'_>, render: F) -> Result<Piece, E>
    where
        D: Dependencies,
        F: AsyncFnOnce() -> Result<String, E>,
    {
        match self {
            Self::Sweeper(sweeper) => {
                let mut fragment = sweeper.fragment(on, name.name);
                if let Some(part) = name.vary {
                    fragment = fragment.vary(part);
                }
                let rendered = fragment.get_or_render(render).await?;
                if let Some(trace) = name.trace {
                    trace.one(home, name.name, &rendered);
                }
                Ok(rendered.into())
            }
            Self::Naive(naive) => naive.fragment(home, &format!("{} {:?}", name.name, name.vary), render).await,
            Self::Off => render().await.map(Piece::bypass),
        }
    }

    /// One fragment per row; `render` is called once, with the rows that have no valid version.
    pub(crate) async fn fragments<T, F, E>(&self, rows: &[T], name: Name<'_>, render: F) -> Result<Vec<Piece>, E>
    where
        T: CacheSweep,
        F: AsyncFnOnce(&[&T]) -> Result<Vec<String>, E>,
    {
        match self {
            Self::Sweeper(sweeper) => {
                let mut rendering = Duration::ZERO;
                let fragments = sweeper.fragments(rows, name.name);
                let rendered = fragments
                    .get_or_render(async |missing: &[&T]| {
                        let began = Instant::now();
                        let pieces = render(missing).await;
                        rendering = began.elapsed();
                        pieces
                    })
                    .await?;
                if let Some(trace) = name.trace {
                    let records: Vec<RecordKey> = rows.iter().map(CacheSweep::record_key).collect();
                    trace.many(&records, name.name, &rendered, rendering);
                }
                Ok(rendered.into_iter().map(Piece::from).collect())
            }
            Self::Naive(naive) => naive.fragments(rows, name.name, render).await,
            Self::Off => {
                let rows: Vec<&T> = rows.iter().collect();
                Ok(render(&rows).await?.into_iter().map(Piece::bypass).collect())
            }
        }
    }
}
