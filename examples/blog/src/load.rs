//! The queries.

use blog_site::STORIES_PER_PAGE;
use blog_site::sitting::{Counts, cut, skipped};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::{article, comment, vote};

/// Below every database's limit of bound values.
const CHUNK: usize = 10_000;

/// Whether there is no article; there can be no comments and votes then.
pub(crate) async fn is_empty(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(article::Entity::find().one(db).await?.is_none())
}

pub(crate) async fn article(db: &impl ConnectionTrait, id: i64) -> Result<Option<article::Model>, DbErr> {
    article::Entity::find_by_id(id).one(db).await
}

/// The articles of a front page, and whether there are more. The latest vote or comment decides: it is one index, whatever the
/// number of votes, and it is true at any time, where a ranking by age and points would go stale on its own.
pub(crate) async fn front(db: &impl ConnectionTrait, number: u64) -> Result<(Vec<article::Model>, bool), DbErr> {
    let articles = article::Entity::find()
        .order_by_desc(article::Column::UpdatedAt)
        .order_by_desc(article::Column::Id)
        .offset(skipped(number))
        .limit(STORIES_PER_PAGE as u64 + 1)
        .all(db)
        .await?;
    Ok(cut(articles))
}

/// An article's comments, the oldest first.
pub(crate) async fn comments(db: &impl ConnectionTrait, article: i64) -> Result<Vec<comment::Model>, DbErr> {
    comment::Entity::find().filter(comment::Column::ArticleId.eq(article)).order_by_asc(comment::Column::Id).all(db).await
}

pub(crate) async fn comment(db: &impl ConnectionTrait, id: i64) -> Result<Option<comment::Model>, DbErr> {
    comment::Entity::find_by_id(id).one(db).await
}

/// The votes on an article itself.
pub(crate) async fn votes_on_article(db: &impl ConnectionTrait, article: i64) -> Result<i64, DbErr> {
    let votes = vote::Entity::find().filter(vote::Column::ArticleId.eq(article)).count(db).await?;
    Ok(i64::try_from(votes).unwrap_or(i64::MAX))
}

/// The votes on many articles; those without are not in it.
pub(crate) async fn votes_on_articles(db: &impl ConnectionTrait, articles: &[i64]) -> Result<Counts, DbErr> {
    count::<vote::Entity>(db, vote::Column::ArticleId, articles).await
}

/// The votes on many comments; those without are not in it.
pub(crate) async fn votes_on_comments(db: &impl ConnectionTrait, comments: &[i64]) -> Result<Counts, DbErr> {
    count::<vote::Entity>(db, vote::Column::CommentId, comments).await
}

/// The numbers of comments on many articles; those without are not in it.
pub(crate) async fn comments_on_articles(db: &impl ConnectionTrait, articles: &[i64]) -> Result<Counts, DbErr> {
    count::<comment::Entity>(db, comment::Column::ArticleId, articles).await
}

#[derive(FromQueryResult)]
struct Count {
    of: i64,
    count: i64,
}

/// How many rows there are of each of these foreign keys, in one query.
async fn count<E: EntityTrait>(db: &impl ConnectionTrait, by: E::Column, of: &[i64]) -> Result<Counts, DbErr> {
    let mut counts = Counts::with_capacity(of.len());
    for chunk in of.chunks(CHUNK) {
        let rows = E::find()
            .select_only()
            .column_as(by, "of")
            .column_as(by.count(), "count")
            .filter(by.is_in(chunk.iter().copied()))
            .group_by(by)
            .into_model::<Count>()
            .all(db)
            .await?;
        counts.extend(rows.into_iter().map(|row| (row.of, row.count)));
    }
    Ok(counts)
}
