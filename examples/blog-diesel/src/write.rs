//! The writes: Diesel's statements, in transactions that the sweeper sees.

use std::collections::HashSet;

use blog_site::cache::Cache;
use blog_site::stories::Story;
use blog_site::{Added, Write};
use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{RecordKey, Sweeper};
use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};

use crate::database::Db;
use crate::entity::{Article, NewComment, NewVote, article, comment, vote};
use crate::load;

/// Adds articles that are not there yet; returns how many.
pub(crate) fn add_articles(sweeper: &Sweeper, conn: &mut Db, stories: &[Story]) -> QueryResult<usize> {
    let ids: Vec<i64> = stories.iter().map(|story| story.id).collect();
    let there: HashSet<i64> = load::there(conn, &ids)?.into_iter().collect();
    let new: Vec<Article> = stories.iter().filter(|story| !there.contains(&story.id)).map(row).collect();
    // One statement for many rows is not there for an enum of connections, but for each of them.
    match conn {
        Db::Postgres(conn) => sweeper.insert_and_sweep(conn, article::table, &new),
        Db::MySql(conn) => sweeper.insert_and_sweep(conn, article::table, &new),
        Db::Sqlite(conn) => sweeper.insert_and_sweep(conn, article::table, &new),
    }
}

/// A story's row. It was changed last when it was submitted: there are no votes and comments yet.
fn row(story: &Story) -> Article {
    let Story { id, title, url, author, created_at, .. } = story.clone();
    Article { id, title, url, author, created_at: created_at.naive_utc(), updated_at: created_at.naive_utc() }
}

/// Does all of this for one article in one transaction, and returns when it is committed.
pub(crate) fn write(
    sweeper: &Sweeper,
    cache: &Cache<Sweeper>,
    conn: &mut Db,
    article: i64,
    writes: &[Write],
    at: NaiveDateTime,
) -> QueryResult<Added> {
    sweeper.transaction(conn, |conn| {
        let mut added = Added::default();
        for write in writes {
            let comment = match write {
                Write::Comment { parent, author, text } => {
                    let new = NewComment { article_id: article, parent_id: *parent, author, text, created_at: at };
                    let id = add_comment(sweeper, conn, new)?;
                    added.comments.push(id);
                    Some(id)
                }
                Write::VoteOnArticle { voter } => {
                    let new = NewVote { article_id: Some(article), comment_id: None, voter, created_at: at };
                    sweeper.insert_and_sweep(conn, vote::table, new)?;
                    None
                }
                Write::VoteOnComment { comment, voter } => {
                    let new = NewVote { article_id: None, comment_id: Some(*comment), voter, created_at: at };
                    sweeper.insert_and_sweep(conn, vote::table, new)?;
                    Some(*comment)
                }
            };
            // For the classic scheme alone. Cachesweeper knows what it has inserted.
            let comment = comment.map(|id| RecordKey::new("comment", id));
            cache.after_save(comment.into_iter().chain([RecordKey::new("article", article), Article::collection()]));
        }
        Ok(added)
    })
}

/// Adds a comment; returns its id.
fn add_comment(sweeper: &Sweeper, conn: &mut Db, new: NewComment<'_>) -> QueryResult<i64> {
    let insert = diesel::insert_into(comment::table).values(new);
    match conn {
        Db::Postgres(conn) => insert.returning(comment::id).get_result_and_sweep(sweeper, conn),
        Db::Sqlite(conn) => insert.returning(comment::id).get_result_and_sweep(sweeper, conn),
        // It has no RETURNING, and so its connection's type has none.
        Db::MySql(conn) => {
            insert.execute_and_sweep(sweeper, conn)?;
            diesel::select(last_insert_id()).get_result(conn)
        }
    }
}

diesel::define_sql_function! {
    /// MySQL's name for the key that this connection made last.
    fn last_insert_id() -> BigInt;
}

/// Whether the database has rolled a transaction back only because of another one. Diesel tells few kinds of errors apart, so
/// the others are known by the databases' words: PostgreSQL's, MySQL's (two) and SQLite's.
pub(crate) fn is_conflict(error: &Error) -> bool {
    let told = ["deadlock detected", "Deadlock found", "Lock wait timeout exceeded", "database is locked"];
    match error {
        Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        Error::DatabaseError(_, information) => told.iter().any(|words| information.message().starts_with(words)),
        _ => false,
    }
}
