//! A comment on an article, or a reply to another one.
#![allow(unreachable_pub, reason = "SeaORM's macros write public items")]

use blog_site::views::{CommentRow, CommentView};
use cachesweeper_seaorm::CacheSweep;
use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
#[sea_orm(table_name = "comment")]
// A comment's fragment shows no replies, so a reply, or a vote for one, need not sweep the comments above it.
#[sweep(parents(Article))]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub article_id: i64,
    pub parent_id: Option<i64>,
    pub author: String,
    #[sea_orm(column_type = "Text")]
    pub text: String,
    pub created_at: DateTimeUtc,
    #[sea_orm(belongs_to, from = "article_id", to = "id")]
    pub article: BelongsTo<super::article::Entity>,
    #[sea_orm(self_ref, relation_enum = "Parent", from = "parent_id", to = "id")]
    pub parent: BelongsTo<Option<Entity>>,
    #[sea_orm(has_many)]
    pub votes: HasMany<super::vote::Entity>,
}

impl CommentRow for Model {
    fn id(&self) -> i64 {
        self.id
    }

    fn parent(&self) -> Option<i64> {
        self.parent_id
    }

    fn view(&self, votes: i64) -> CommentView<'_> {
        let Self { id, article_id, author, text, created_at, .. } = self;
        CommentView { id: *id, article: *article_id, author, text, created_at: *created_at, votes }
    }
}
