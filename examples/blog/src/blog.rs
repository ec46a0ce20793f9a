//! The site: its database, its cache and its templates.

use blog_site::cache::Cache;
use blog_site::stories::Story;
use blog_site::views::Templates;
use blog_site::{Added, Mode, Opening, Page, Site, SiteError, Write};
use cachesweeper_seaorm::{Stats, SweepConnection, Sweeper};
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;

use crate::{database, load, pages, write};

/// The site.
#[derive(Debug)]
pub(crate) struct Blog {
    pub(crate) db: SweepConnection,
    pub(crate) cache: Cache<Sweeper>,
    pub(crate) templates: Templates,
}

impl Site for Blog {
    async fn open(opening: Opening) -> Result<Self, SiteError> {
        let sweeper = opening.sweeper(Sweeper::builder()).build()?;
        let db = database::connect(&opening.database, opening.tasks).await?;
        let cache = opening.cache(&sweeper);
        Ok(Self { db: SweepConnection::new(db, sweeper), cache, templates: Templates::new()? })
    }

    async fn close(&self) -> Result<(), SiteError> {
        Ok(self.db.inner().close_by_ref().await?)
    }

    fn templates(&self) -> &Templates {
        &self.templates
    }

    fn stats(&self) -> Stats {
        self.db.sweeper().stats()
    }

    async fn execute(&self, sql: String) -> Result<(), SiteError> {
        self.db.execute_unprepared(&sql).await?;
        Ok(())
    }

    async fn is_empty(&self) -> Result<bool, SiteError> {
        Ok(load::is_empty(&self.db).await?)
    }

    async fn has_article(&self, id: i64) -> Result<bool, SiteError> {
        Ok(load::article(&self.db, id).await?.is_some())
    }

    async fn article_of(&self, comment: i64) -> Result<Option<i64>, SiteError> {
        Ok(load::comment(&self.db, comment).await?.map(|comment| comment.article_id))
    }

    async fn add_articles(&self, stories: &[Story]) -> Result<usize, SiteError> {
        Ok(write::add_articles(&self.db, stories).await?)
    }

    async fn write_once(&self, article: i64, writes: &[Write], at: DateTime<Utc>) -> Result<Added, SiteError> {
        Ok(write::write(self, article, writes, at).await?)
    }

    fn is_conflict(error: &SiteError) -> bool {
        error.downcast_ref().is_some_and(write::is_conflict)
    }

    async fn article_page(&self, id: i64, mode: Mode) -> Result<Page, SiteError> {
        pages::article(self, id, mode).await
    }

    async fn front_page(&self, number: u64, mode: Mode) -> Result<Page, SiteError> {
        pages::front(self, number, mode).await
    }
}
