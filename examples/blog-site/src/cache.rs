//! Where pages get their fragments: from Cachesweeper, from the classic scheme that the audit must catch, or from nowhere.

use cachesweeper_core::{CacheSweep, RecordKey, Rendered};

use crate::naive::Naive;
use crate::site::Served;

/// A cache, as pages see it. `S` is the ORM's sweeper.
#[derive(Debug)]
pub enum Cache<S> {
    /// The one that this site is about.
    Sweeper(S),
    /// Something to compare it with.
    Other(Scheme),
}

/// What Cachesweeper is compared with.
#[derive(Debug)]
pub enum Scheme {
    /// The classic scheme.
    Naive(Naive),
    /// Everything is rendered anew.
    Off,
}

/// A fragment's HTML, and what became of it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The HTML.
    pub html: String,
    /// What became of it.
    pub served: Served,
}

impl From<Rendered> for Piece {
    fn from(rendered: Rendered) -> Self {
        Self { served: rendered.outcome().into(), html: rendered.into() }
    }
}

impl<S> Cache<S> {
    /// What the classic scheme does when a row is saved: raises the versions of the row and its parents. Cachesweeper finds
    /// them itself, so this does nothing for it.
    pub fn after_save(&self, records: impl IntoIterator<Item = RecordKey>) {
        if let Self::Other(Scheme::Naive(naive)) = self {
            naive.after_save(records);
        }
    }
}

/// A fragment that must be rendered.
#[derive(Debug)]
pub struct Vacancy<'a> {
    /// The version it will have, in the classic scheme.
    slot: Option<(&'a Naive, RecordKey, String, u64)>,
}

impl Vacancy<'_> {
    /// Takes the rendered fragment, and stores it if that is the scheme.
    pub fn fill(self, html: String) -> Piece {
        match self.slot {
            Some((naive, record, name, version)) => {
                naive.set(&record, &name, version, html.clone());
                Piece { html, served: Served::Miss }
            }
            None => Piece { html, served: Served::Bypass },
        }
    }
}

impl Scheme {
    /// Looks a fragment up.
    ///
    /// # Errors
    ///
    /// The place to fill, if it must be rendered.
    pub fn look_up(&self, record: RecordKey, name: String) -> Result<Piece, Vacancy<'_>> {
        let Self::Naive(naive) = self else { return Err(Vacancy { slot: None }) };
        let version = naive.version(&record);
        match naive.get(&record, &name, version) {
            Some(html) => Ok(Piece { html, served: Served::Hit }),
            None => Err(Vacancy { slot: Some((naive, record, name, version)) }),
        }
    }

    /// Looks up one fragment per row.
    pub fn look_up_each<'a, T: CacheSweep>(&'a self, rows: &'a [T], name: &str) -> Looked<'a, T> {
        Looked { found: rows.iter().map(|row| (row, self.look_up(row.record_key(), name.to_owned()))).collect() }
    }
}

/// One fragment per row, those that were found and those that must be rendered.
#[derive(Debug)]
pub struct Looked<'a, T> {
    found: Vec<(&'a T, Result<Piece, Vacancy<'a>>)>,
}

impl<'a, T> Looked<'a, T> {
    /// The rows whose fragments must be rendered.
    pub fn missing(&self) -> Vec<&'a T> {
        self.found.iter().filter(|(_, found)| found.is_err()).map(|(row, _)| *row).collect()
    }

    /// All fragments; `fresh` are those of [`missing`](Self::missing).
    pub fn fill(self, fresh: Vec<String>) -> Vec<Piece> {
        let mut fresh = fresh.into_iter();
        let piece = |found: Result<Piece, Vacancy<'_>>| found.unwrap_or_else(|vacancy| vacancy.fill(fresh.next().unwrap_or_default()));
        self.found.into_iter().map(|(_, found)| found).map(piece).collect()
    }
}
