//! The writes: plain SeaORM, in transactions. The hooks do the rest.

use std::time::Duration;

use blog_site::made_up::MadeUpArticle;
use blog_site::{Added, Write};
use cachesweeper_seaorm::{CacheSweep, RecordKey, SweepTransaction};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, DbErr, RuntimeErr, Set, TransactionTrait, sqlx};

use crate::blog::{Blog, row};
use crate::cache::Cache;
use crate::entity::{article, comment, vote};

/// How often a transaction is tried that the database rolled back in favour of another one.
const TRIES: u32 = 10;

/// Does all of this for one article in one transaction, and returns when it is committed.
pub(crate) async fn write(blog: &Blog, article: i64, writes: &[Write], now: DateTime<Utc>) -> Result<Added, DbErr> {
    let mut tries = 1;
    loop {
        match once(blog, article, writes, now).await {
            Err(error) if tries < TRIES && is_conflict(&error) => {
                tracing::debug!(%error, article, "the database chose another transaction; once more");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10) * u64::from(tries))).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

async fn once(blog: &Blog, article: i64, writes: &[Write], now: DateTime<Utc>) -> Result<Added, DbErr> {
    let txn = blog.db.begin().await?;
    let mut added = Added::default();
    for write in writes {
        match write {
            Write::Comment { parent, author, text } => {
                let comment = add_comment(&txn, article, *parent, author, text, now).await?;
                saved(blog, article, Some(comment.id));
                added.comments.push(comment.id);
            }
            Write::VoteOnArticle { voter } => {
                add_vote(&txn, Some(article), None, voter, now).await?;
                saved(blog, article, None);
            }
            Write::VoteOnComment { comment, voter } => {
                add_vote(&txn, None, Some(*comment), voter, now).await?;
                saved(blog, article, Some(*comment));
            }
        }
    }
    txn.commit().await?;
    Ok(added)
}

/// The classic scheme's hook. Cachesweeper's are in the entities.
fn saved(blog: &Blog, article: i64, comment: Option<i64>) {
    if let Cache::Naive(naive) = &blog.cache {
        let comment = comment.map(|id| RecordKey::new("comment", id));
        naive.after_save(comment.into_iter().chain([RecordKey::new("article", article), article::Model::collection()]));
    }
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

/// Adds an article of the demo's data with its comments and votes.
pub(crate) async fn add_made_up(blog: &Blog, made_up: &MadeUpArticle) -> Result<(), DbErr> {
    let txn = blog.db.begin().await?;
    let (article, at) = (made_up.story.id, made_up.story.created_at);
    row(&made_up.story).insert(&txn).await?;
    for _ in 0..made_up.votes {
        add_vote(&txn, Some(article), None, "visitor", at).await?;
    }
    let mut ids = Vec::with_capacity(made_up.comments.len());
    for comment in &made_up.comments {
        let parent = comment.parent.and_then(|position| ids.get(position).copied());
        let added = add_comment(&txn, article, parent, &comment.author, &comment.text, comment.created_at).await?;
        for _ in 0..comment.votes {
            add_vote(&txn, None, Some(added.id), "visitor", comment.created_at).await?;
        }
        ids.push(added.id);
    }
    txn.commit().await
}

/// Whether the database has rolled a transaction back only because of another one: a deadlock, a serialization failure, or a
/// lock that was waited for too long. PostgreSQL's and MySQL's SQLSTATEs, and SQLite's BUSY.
fn is_conflict(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else { return false };
    let sqlx::Error::Database(error) = &**error else { return false };
    matches!(error.code().as_deref(), Some("40001" | "40P01" | "5" | "517"))
}
