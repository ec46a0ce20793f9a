//! The site: its database, its cache and its templates; what the replay drives, and what the handlers share.

use blog_site::stories::Story;
use blog_site::views::Templates;
use blog_site::{Added, Mode, Page, Site, SiteError, Write};
use cachesweeper_seaorm::{SweepConnection, insert_many_and_sweep};
use chrono::Utc;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Set};

use crate::cache::Cache;
use crate::entity::article;
use crate::pages::{self, Look};
use crate::write;

/// The site.
#[derive(Debug)]
pub(crate) struct Blog {
    pub(crate) db: SweepConnection,
    pub(crate) cache: Cache,
    pub(crate) templates: Templates,
}

impl Blog {
    /// Adds articles that are not there yet; returns how many.
    pub(crate) async fn import(&self, stories: &[Story]) -> Result<usize, DbErr> {
        let ids = stories.iter().map(|story| story.id);
        let there: Vec<i64> = article::Entity::find()
            .select_only()
            .column(article::Column::Id)
            .filter(article::Column::Id.is_in(ids))
            .into_tuple()
            .all(&self.db)
            .await?;
        let there: std::collections::HashSet<i64> = there.into_iter().collect();
        let new: Vec<article::ActiveModel> = stories.iter().filter(|story| !there.contains(&story.id)).map(row).collect();
        Ok(insert_many_and_sweep(new, &self.db).await?.len())
    }
}

/// A story's row. It was changed last when it was submitted: there are no votes and comments yet.
pub(crate) fn row(story: &Story) -> article::ActiveModel {
    article::ActiveModel {
        id: Set(story.id),
        title: Set(story.title.clone()),
        url: Set(story.url.clone()),
        author: Set(story.author.clone()),
        created_at: Set(story.created_at),
        updated_at: Set(story.created_at),
    }
}

impl Site for Blog {
    async fn add_articles(&self, stories: &[Story]) -> Result<(), SiteError> {
        self.import(stories).await.map_err(SiteError::new)?;
        Ok(())
    }

    async fn write(&self, article: i64, writes: &[Write]) -> Result<Added, SiteError> {
        write::write(self, article, writes, Utc::now()).await.map_err(SiteError::new)
    }

    async fn article_page(&self, id: i64, mode: Mode) -> Result<Page, SiteError> {
        pages::article(self, id, Look::Plain(mode)).await.map_err(SiteError::new)
    }

    async fn front_page(&self, number: u64, mode: Mode) -> Result<Page, SiteError> {
        pages::front(self, number, Look::Plain(mode)).await.map_err(SiteError::new)
    }
}
