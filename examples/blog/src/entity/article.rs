//! An article: a link or a question, with comments and votes.
#![allow(unreachable_pub, reason = "SeaORM's macros write public items")]

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
