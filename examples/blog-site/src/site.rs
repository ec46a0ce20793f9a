//! What an ORM's site must be able to do, so that the replay can drive it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use cachesweeper_core::Outcome;

use crate::stories::Story;

/// How pages are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through the site's cache.
    Cached,
    /// Everything anew, without any cache.
    Uncached,
}

/// How a whole page was served: what became of its outermost fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// From the cache.
    Hit,
    /// Rendered, because the cache had no valid version.
    Miss,
    /// Rendered without the cache.
    Bypass,
}

impl From<Outcome> for Served {
    fn from(outcome: Outcome) -> Self {
        match outcome.word() {
            "hit" => Self::Hit,
            "bypass" => Self::Bypass,
            _ => Self::Miss,
        }
    }
}

/// A page as a reader gets it.
#[derive(Clone, Debug)]
pub struct Page {
    /// The whole document.
    pub html: String,
    /// What became of its outermost fragment.
    pub served: Served,
    /// How many database queries it took.
    pub queries: u64,
}

/// One thing that a visitor does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Votes for the article.
    VoteOnArticle {
        /// The visitor.
        voter: String,
    },
    /// Votes for one of its comments.
    VoteOnComment {
        /// The comment's id.
        comment: i64,
        /// The visitor.
        voter: String,
    },
    /// Comments on the article.
    Comment {
        /// The id of the comment that it replies to.
        parent: Option<i64>,
        /// The visitor.
        author: String,
        /// What it says.
        text: String,
    },
}

/// What a transaction has added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// The ids of the new comments, in order.
    pub comments: Vec<i64>,
}

/// The site could not do it.
#[derive(Clone, Debug)]
pub struct SiteError(Arc<dyn std::error::Error + Send + Sync>);

impl SiteError {
    /// Wraps the ORM's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SiteError {}

/// A site on some ORM: pages as its handlers serve them, and writes as its forms do them.
pub trait Site: Send + Sync + 'static {
    /// Adds articles, without votes or comments.
    fn add_articles(&self, stories: &[Story]) -> impl Future<Output = Result<(), SiteError>> + Send;

    /// Does all of this for one article in one transaction, through the hooks. Returns after the commit is acknowledged.
    fn write(&self, article: i64, writes: &[Write]) -> impl Future<Output = Result<Added, SiteError>> + Send;

    /// The page of an article.
    fn article_page(&self, id: i64, mode: Mode) -> impl Future<Output = Result<Page, SiteError>> + Send;

    /// The front page; pages are counted from 1.
    fn front_page(&self, number: u64, mode: Mode) -> impl Future<Output = Result<Page, SiteError>> + Send;
}
