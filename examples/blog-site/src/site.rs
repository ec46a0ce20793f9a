//! What an ORM's site must be able to do. Everything else is the same for all.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use cachesweeper_core::{Builder, Outcome, Stats};
use chrono::{DateTime, Utc};

use crate::cache::{Cache, Scheme};
use crate::database::DatabaseUrl;
use crate::naive::Naive;
use crate::stories::Story;
use crate::views::Templates;

/// The memory store's size.
const MEMORY: u64 = 256 << 20;
/// How often a transaction is tried that the database rolled back in favour of another one.
const TRIES: u32 = 10;

/// How pages are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through the site's cache, as visitors see it.
    Cached,
    /// As [`Cached`](Self::Cached), with an outline around each fragment.
    Overlay,
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

/// Why the site could not do it. Any error becomes one by `?`.
#[derive(Debug)]
pub enum SiteError {
    /// There is no such article, or comment.
    NotFound(String),
    /// The database, a template or something else has failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl SiteError {
    /// An error that is only told.
    pub fn new(problem: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(problem.into())
    }

    /// There is no article with this id.
    pub fn no_article(id: i64) -> Self {
        Self::NotFound(format!("article {id}"))
    }

    /// What has failed, if it is an error of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::NotFound(_) => None,
            Self::Failed(error) => error.downcast_ref(),
        }
    }
}

// It is no `Error` itself, so that all errors can become one.
impl<E: Error + Send + Sync + 'static> From<E> for SiteError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "there is no {what}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// Which cache a site's pages have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Cachesweeper.
    Sweeper,
    /// One in the classic way, which the audit must catch.
    Naive,
    /// None: every page is rendered anew.
    Off,
}

/// Where a site has its data and its cache.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The database.
    pub database: DatabaseUrl,
    /// How many tasks use the database at the same time, at most.
    pub tasks: u32,
    /// The memcached servers; none for the memory of this process.
    pub memcached: Vec<String>,
    /// What every key in the store begins with.
    pub namespace: String,
    /// How long a mark holds in transactions whose end is not seen; `None` for the default.
    pub plain_hold: Option<Duration>,
    /// Whether new version logs wait until no lost hold can be open.
    pub strict: bool,
    /// Which cache the pages have.
    pub caching: Caching,
}

impl Opening {
    /// Settles a sweeper, of either face.
    pub fn sweeper<S>(&self, builder: Builder<S>) -> Builder<S> {
        let builder = match self.memcached.as_slice() {
            [] => builder.memory(MEMORY),
            servers => builder.memcached(servers),
        };
        let builder = builder.namespace(&self.namespace);
        let builder = if self.strict { builder.strict() } else { builder };
        match self.plain_hold {
            Some(hold) => builder.plain_hold(hold),
            None => builder,
        }
    }

    /// Where pages get their fragments from.
    pub fn cache<S: Clone>(&self, sweeper: &S) -> Cache<S> {
        match self.caching {
            Caching::Sweeper => Cache::Sweeper(sweeper.clone()),
            Caching::Naive => Cache::Other(Scheme::Naive(Naive::default())),
            Caching::Off => Cache::Other(Scheme::Off),
        }
    }
}

/// A site on some ORM: its queries, its writes, and its pages, which are made of fragments.
pub trait Site: Send + Sync + Sized + 'static {
    /// Connects to the database, and says why if it cannot. Tables may not be there yet.
    fn open(opening: Opening) -> impl Future<Output = Result<Self, SiteError>> + Send;

    /// Gives the connections back.
    fn close(&self) -> impl Future<Output = Result<(), SiteError>> + Send;

    /// The templates.
    fn templates(&self) -> &Templates;

    /// The sweeper's statistics.
    fn stats(&self) -> Stats;

    // ---- data -----------------------------------------------------------------------------------------------------

    /// Runs one SQL statement, which makes or drops a table.
    fn execute(&self, sql: String) -> impl Future<Output = Result<(), SiteError>> + Send;

    /// Whether there is no article; there can be no comments and votes then.
    fn is_empty(&self) -> impl Future<Output = Result<bool, SiteError>> + Send;

    /// Whether there is this article.
    fn has_article(&self, id: i64) -> impl Future<Output = Result<bool, SiteError>> + Send;

    /// The article of a comment, if there is this comment.
    fn article_of(&self, comment: i64) -> impl Future<Output = Result<Option<i64>, SiteError>> + Send;

    /// Adds the articles that are not there yet, without votes or comments; returns how many.
    fn add_articles(&self, stories: &[Story]) -> impl Future<Output = Result<usize, SiteError>> + Send;

    /// Does all of this for one article in one transaction that the sweeper sees. Returns when it is committed.
    fn write_once(&self, article: i64, writes: &[Write], at: DateTime<Utc>) -> impl Future<Output = Result<Added, SiteError>> + Send;

    /// Whether the database has rolled a transaction back only because of another one: a deadlock, a serialization failure,
    /// or a lock that was waited for too long.
    fn is_conflict(error: &SiteError) -> bool;

    /// As [`write_once`](Self::write_once), again if the database chose another transaction.
    fn write(&self, article: i64, writes: &[Write], at: DateTime<Utc>) -> impl Future<Output = Result<Added, SiteError>> + Send {
        async move {
            let mut tries = 1;
            loop {
                match self.write_once(article, writes, at).await {
                    Err(error) if tries < TRIES && Self::is_conflict(&error) => {
                        tracing::debug!(%error, article, "the database chose another transaction; once more");
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10) * u64::from(tries))).await;
                        tries += 1;
                    }
                    result => return result,
                }
            }
        }
    }

    // ---- pages ----------------------------------------------------------------------------------------------------

    /// The page of an article.
    fn article_page(&self, id: i64, mode: Mode) -> impl Future<Output = Result<Page, SiteError>> + Send;

    /// A front page; the first is 1.
    fn front_page(&self, number: u64, mode: Mode) -> impl Future<Output = Result<Page, SiteError>> + Send;
}
