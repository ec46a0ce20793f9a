//! The site: its database, its cache and its templates. Diesel blocks, so everything runs where threads may block.

use std::sync::Arc;

use blog_site::cache::Cache;
use blog_site::stories::Story;
use blog_site::views::Templates;
use blog_site::{Added, Mode, Opening, Page, Site, SiteError, Write};
use cachesweeper_diesel::{Stats, Sweeper};
use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;

use crate::database::{Db, Pool, connect, not_counting};
use crate::{load, pages, write};

/// The site. Its clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Blog {
    pool: Pool,
    sweeper: Sweeper,
    pub(crate) cache: Arc<Cache<Sweeper>>,
    pub(crate) templates: Arc<Templates>,
}

impl Blog {
    /// Runs queries on a connection, which is taken for them alone. It must not be kept while a fragment is looked up: those
    /// who wait for one that another request renders could then hold all connections, and that request need one.
    pub(crate) fn query<T>(&self, queries: impl FnOnce(&mut Db) -> QueryResult<T>) -> Result<T, SiteError> {
        // The pool asks whether the connection still lives, which is no query of the page's.
        let mut conn = not_counting(|| self.pool.get())?;
        Ok(queries(&mut conn)?)
    }

    async fn blocking<T, F>(&self, run: F) -> Result<T, SiteError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, SiteError> + Send + 'static,
    {
        let blog = self.clone();
        tokio::task::spawn_blocking(move || run(&blog)).await?
    }
}

impl Site for Blog {
    async fn open(opening: Opening) -> Result<Self, SiteError> {
        let sweeper = opening.sweeper(Sweeper::builder()).build()?;
        let pool = connect(&opening.database, opening.tasks, &sweeper).await?;
        let cache = Arc::new(opening.cache(&sweeper));
        Ok(Self { pool, sweeper, cache, templates: Arc::new(Templates::new()?) })
    }

    async fn close(&self) -> Result<(), SiteError> {
        // The pool closes its connections with its last clone.
        Ok(())
    }

    fn templates(&self) -> &Templates {
        &self.templates
    }

    fn stats(&self) -> Stats {
        self.sweeper.stats()
    }

    async fn execute(&self, sql: String) -> Result<(), SiteError> {
        self.blocking(move |blog| blog.query(|conn| conn.batch_execute(&sql))).await
    }

    async fn is_empty(&self) -> Result<bool, SiteError> {
        self.blocking(|blog| blog.query(load::is_empty)).await
    }

    async fn has_article(&self, id: i64) -> Result<bool, SiteError> {
        self.blocking(move |blog| Ok(blog.query(|conn| load::article(conn, id))?.is_some())).await
    }

    async fn article_of(&self, comment: i64) -> Result<Option<i64>, SiteError> {
        self.blocking(move |blog| blog.query(|conn| load::article_of(conn, comment))).await
    }

    async fn add_articles(&self, stories: &[Story]) -> Result<usize, SiteError> {
        let stories = stories.to_vec();
        self.blocking(move |blog| blog.query(|conn| write::add_articles(&blog.sweeper, conn, &stories))).await
    }

    async fn write_once(&self, article: i64, writes: &[Write], at: DateTime<Utc>) -> Result<Added, SiteError> {
        let (writes, at) = (writes.to_vec(), at.naive_utc());
        self.blocking(move |blog| blog.query(|conn| write::write(&blog.sweeper, &blog.cache, conn, article, &writes, at))).await
    }

    fn is_conflict(error: &SiteError) -> bool {
        error.downcast_ref().is_some_and(write::is_conflict)
    }

    async fn article_page(&self, id: i64, mode: Mode) -> Result<Page, SiteError> {
        self.blocking(move |blog| pages::article(blog, id, mode)).await
    }

    async fn front_page(&self, number: u64, mode: Mode) -> Result<Page, SiteError> {
        self.blocking(move |blog| pages::front(blog, number, mode)).await
    }
}
