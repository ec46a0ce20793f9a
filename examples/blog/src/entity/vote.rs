//! A vote: on an article, or on a comment.
#![allow(unreachable_pub, reason = "SeaORM's macros write public items")]

use cachesweeper_seaorm::CacheSweep;
use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
#[sea_orm(table_name = "vote")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub article_id: Option<i64>,
    pub comment_id: Option<i64>,
    pub voter: String,
    pub created_at: DateTimeUtc,
    #[sea_orm(belongs_to, from = "article_id", to = "id")]
    pub article: BelongsTo<Option<super::article::Entity>>,
    #[sea_orm(belongs_to, from = "comment_id", to = "id")]
    pub comment: BelongsTo<Option<super::comment::Entity>>,
}
