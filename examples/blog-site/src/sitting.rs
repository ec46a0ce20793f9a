//! One page from its request to its document: everything about it but the queries and the waiting.
//!
//! Fragments are nested. An article's page is one fragment, which holds one for each comment; a front page is one that depends
//! on all articles, and holds one for each story. Whatever a fragment shows beside the row in hand is loaded inside its closure:
//! its version is read before, so that what is stored can never be older than its version.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cachesweeper_core::{CacheSweep, RecordKey, Rendered};

use crate::STORIES_PER_PAGE;
use crate::cache::{Cache, Piece, Scheme};
use crate::overlay::{Trace, delimited};
use crate::site::{Mode, Page, Served, SiteError};
use crate::views::{self, ArticleRow, CommentRow, Frame, Templates};

/// One page under way.
#[derive(Debug)]
pub struct Sitting<'a, S> {
    templates: &'a Templates,
    cache: &'a Cache<S>,
    trace: Option<Trace>,
    began: Instant,
}

/// The votes, or comments, of many rows; those without are not in it.
pub type Counts = HashMap<i64, i64>;

/// What a fragment is called.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The record that it is a fragment of.
    pub home: &'a RecordKey,
    /// Its name.
    pub name: &'a str,
    /// A further part of its key.
    pub vary: Option<u64>,
}

impl<'a> Name<'a> {
    /// A fragment of a record.
    pub fn new(home: &'a RecordKey, name: &'a str) -> Self {
        Self { home, name, vary: None }
    }

    /// The name with the further part.
    pub fn whole(&self) -> String {
        self.vary.map_or_else(|| self.name.to_owned(), |part| format!("{} {part}", self.name))
    }
}

impl<'a, S> Sitting<'a, S> {
    /// A page is asked for.
    pub fn new(templates: &'a Templates, cache: &'a Cache<S>, mode: Mode) -> Self {
        let cache = if mode == Mode::Uncached { &Cache::Other(Scheme::Off) } else { cache };
        Self { templates, cache, trace: (mode == Mode::Overlay).then(Trace::default), began: Instant::now() }
    }

    /// Where this page gets its fragments.
    pub fn cache(&self) -> &'a Cache<S> {
        self.cache
    }

    // ---- what the overlay wants to know ---------------------------------------------------------------------------

    /// What became of a fragment.
    pub fn saw(&self, name: Name<'_>, rendered: &Rendered) {
        if let Some(trace) = &self.trace {
            trace.one(name.home, name.name, rendered);
        }
    }

    /// What became of the fragments of rows, whose rendering took so long.
    pub fn saw_each<T: CacheSweep>(&self, rows: &[T], name: &str, rendered: &[Rendered], rendering: Duration) {
        if let Some(trace) = &self.trace {
            let records: Vec<RecordKey> = rows.iter().map(CacheSweep::record_key).collect();
            trace.many(&records, name, rendered, rendering);
        }
    }

    /// Whether the fragments inside of this one are looked up for the overlay alone: a hit looks up nothing inside of it.
    pub fn looks_inside(&self, piece: &Piece) -> bool {
        self.trace.is_some() && piece.served == Served::Hit
    }

    // ---- what fragments show --------------------------------------------------------------------------------------

    /// The fragment of an article with all its comments, whose fragments are `pieces`.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn article<A: ArticleRow, C: CommentRow>(
        &self,
        article: &A,
        votes: i64,
        comments: &[C],
        pieces: &[Piece],
    ) -> Result<String, SiteError> {
        let keys: Vec<RecordKey> = comments.iter().map(CacheSweep::record_key).collect();
        let ids: Vec<(i64, Option<i64>)> = comments.iter().map(|comment| (comment.id(), comment.parent())).collect();
        let node = |(at, depth): (usize, usize)| (depth, views::Piece { record: &keys[at], html: &pieces[at].html });
        let thread: Vec<_> = views::thread(&ids).into_iter().map(node).collect();
        let count = i64::try_from(comments.len()).unwrap_or(i64::MAX);
        Ok(self.templates.article(&article.view(votes, count), &thread)?)
    }

    /// The fragments of comments.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn comments<C: CommentRow>(&self, comments: &[&C], votes: &Counts) -> Result<Vec<String>, SiteError> {
        let render = |comment: &&C| Ok(self.templates.comment(&comment.view(count(votes, comment.id())))?);
        comments.iter().map(render).collect()
    }

    /// The fragment of a front page, with the fragments of its stories.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn front<A: ArticleRow>(&self, number: u64, stories: &[A], pieces: &[Piece], more: bool) -> Result<String, SiteError> {
        let keys: Vec<RecordKey> = stories.iter().map(CacheSweep::record_key).collect();
        let rows: Vec<_> = keys.iter().zip(pieces).map(|(record, piece)| views::Piece { record, html: &piece.html }).collect();
        Ok(self.templates.front(number, skipped(number).saturating_add(1), &rows, more)?)
    }

    /// The fragments of stories on a front page.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn stories<A: ArticleRow>(&self, stories: &[&A], votes: &Counts, comments: &Counts) -> Result<Vec<String>, SiteError> {
        let render = |article: &&A| {
            let view = article.view(count(votes, article.id()), count(comments, article.id()));
            Ok(self.templates.story(&view)?)
        };
        stories.iter().map(render).collect()
    }

    // ---- the documents around them --------------------------------------------------------------------------------

    /// The page of an article.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn article_page<A: ArticleRow>(&self, article: &A, piece: Piece, queries: u64) -> Result<Page, SiteError> {
        let view = article.view(0, 0);
        self.page(&article.record_key(), piece, queries, view.title, format!("/articles/{}", view.id))
    }

    /// A front page, whose fragment is one of `home`.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn front_page(&self, home: &RecordKey, number: u64, piece: Piece, queries: u64) -> Result<Page, SiteError> {
        let path = if number == 1 { "/".to_owned() } else { format!("/?page={number}") };
        self.page(home, piece, queries, "Stories", path)
    }

    /// The document around its outermost fragment, with outlines if they are wanted.
    fn page(&self, home: &RecordKey, piece: Piece, queries: u64, title: &str, path: String) -> Result<Page, SiteError> {
        let mut frame = Frame { title: title.to_owned(), path, overlay: None };
        let html = match &self.trace {
            Some(trace) => {
                frame.overlay = Some(trace.summary(self.began.elapsed(), queries));
                self.templates.page(&frame, &trace.outline(&delimited(home, &piece.html)))?
            }
            None => self.templates.page(&frame, &piece.html)?,
        };
        Ok(Page { html, served: piece.served, queries })
    }
}

fn count(counts: &Counts, id: i64) -> i64 {
    counts.get(&id).copied().unwrap_or_default()
}

/// How many stories come before a front page.
pub fn skipped(number: u64) -> u64 {
    number.saturating_sub(1).saturating_mul(STORIES_PER_PAGE as u64)
}

/// Takes one story more than a front page shows apart: whether there are more.
pub fn cut<A>(mut stories: Vec<A>) -> (Vec<A>, bool) {
    let more = stories.len() > STORIES_PER_PAGE;
    stories.truncate(STORIES_PER_PAGE);
    (stories, more)
}
