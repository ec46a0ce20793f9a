//! An article: a link or a question, with comments and votes.
#![allow(unreachable_pub, reason = "SeaORM's macros write public items")]

use blog_site::views::{ArticleRow, StoryView};
use cachesweeper_seaorm::CacheSweep;
use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
#[sea_orm(table_name = "article")]
#[sweep(using = "updated_at", collection)]
pub struct Model {
    /// Given by who adds it: imported stories keep their ids.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    #[sea_orm(column_type = "Text")]
    pub title: String,
    #[sea_orm(column_type = "Text")]
    pub url: Option<String>,
    pub author: String,
    pub created_at: DateTimeUtc,
    /// Its version: every vote and comment below it moves it on. The front page is in this order.
    pub updated_at: DateTimeUtc,
    #[sea_orm(has_many)]
    pub comments: HasMany<super::comment::Entity>,
    #[sea_orm(has_many)]
    pub votes: HasMany<super::vote::Entity>,
}

impl ArticleRow for Model {
    fn id(&self) -> i64 {
        self.id
    }

    fn view(&self, votes: i64, comments: i64) -> StoryView<'_> {
        let Self { id, title, url, author, created_at, .. } = self;
        StoryView { id: *id, title, url: url.as_deref(), author, created_at: *created_at, votes, comments }
    }
}
