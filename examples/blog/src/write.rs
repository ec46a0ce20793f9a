//! The writes: plain SeaORM, in transactions. The hooks do the rest.

use std::collections::HashSet;

use blog_site::stories::Story;
use blog_site::{Added, Write};
use cachesweeper_seaorm::{CacheSweep, RecordKey, SweepConnection, SweepTransaction, insert_many_and_sweep};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, RuntimeErr, Set, TransactionTrait, sqlx};

use crate::blog::Blog;
use crate::entity::{article, comment, vote};

/// Adds articles that are not there yet; returns how many.
pub(crate) async fn add_articles(db: &SweepConnection, stories: &[Story]) -> Result<usize, DbErr> {
    let ids = stories.iter().map(|story| story.id);
    let there: Vec<i64> = article::Entity::find()
        .select_only()
        .column(article::Column::Id)
        .filter(article::Column::Id.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    let there: HashSet<i64> = there.into_iter().collect();
    let new: Vec<article::ActiveModel> = stories.iter().filter(|story| !there.contains(&story.id)).map(row).collect();
    Ok(insert_many_and_sweep(new, db).await?.len())
}

/// A story's row. It was changed last when it was submitted: there are no votes and comments yet.
fn row(story: &Story) -> article::ActiveModel {
    article::ActiveModel {
        id: Set(story.id),
        title: Set(story.title.clone()),
        url: Set(story.url.clone()),
        author: Set(story.author.clone()),
        created_at: Set(story.created_at),
        updated_at: Set(story.created_at),
    }
}

/// Does all of this for one article in one transaction, and returns when it is committed.
pub(crate) async fn write(blog: &Blog, article: i64, writes: &[Write], at: DateTime<Utc>) -> Result<Added, DbErr> {
    let txn = blog.db.begin().await?;
    let mut added = Added::default();
    for write in writes {
        let comment = match write {
            Write::Comment { parent, author, text } => {
                let comment = add_comment(&txn, article, *parent, author, text, at).await?;
                added.comments.push(comment.id);
                Some(comment.id)
            }
            Write::VoteOnArticle { voter } => {
                add_vote(&txn, Some(article), None, voter, at).await?;
                None
            }
            Write::VoteOnComment { comment, voter } => {
                add_vote(&txn, None, Some(*comment), voter, at).await?;
                Some(*comment)
            }
        };
        // For the classic scheme alone. Cachesweeper's hooks are in the entities.
        let comment = comment.map(|id| RecordKey::new("comment", id));
        blog.cache.after_save(comment.into_iter().chain([RecordKey::new("article", article), article::Model::collection()]));
    }
    txn.commit().await?;
    Ok(added)
}

async fn add_comment(
    txn: &SweepTransaction,
    article: i64,
    parent: Option<i64>,
    author: &str,
    text: &str,
    at: DateTime<Utc>,
) -> Result<comment::Model, DbErr> {
    let comment = comment::ActiveModel {
        article_id: Set(article),
        parent_id: Set(parent),
        author: Set(author.to_owned()),
        text: Set(text.to_owned()),
        created_at: Set(at),
        ..Default::default()
    };
    comment.insert(txn).await
}

async fn add_vote(
    txn: &SweepTransaction,
    article: Option<i64>,
    comment: Option<i64>,
    voter: &str,
    at: DateTime<Utc>,
) -> Result<vote::Model, DbErr> {
    let vote = vote::ActiveModel {
        article_id: Set(article),
        comment_id: Set(comment),
        voter: Set(voter.to_owned()),
        created_at: Set(at),
        ..Default::default()
    };
    vote.insert(txn).await
}

/// Whether the database has rolled a transaction back only because of another one: a deadlock, a serialization failure, or a
/// lock that was waited for too long. PostgreSQL's and MySQL's SQLSTATEs, and SQLite's BUSY.
pub(crate) fn is_conflict(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else { return false };
    let sqlx::Error::Database(error) = &**error else { return false };
    matches!(error.code().as_deref(), Some("40001" | "40P01" | "5" | "517"))
}
