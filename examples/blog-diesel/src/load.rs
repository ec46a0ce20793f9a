//! The queries.

use blog_site::STORIES_PER_PAGE;
use blog_site::sitting::{Counts, cut, skipped};
use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::database::Db;
use crate::entity::{Article, Comment, article, comment, vote};

/// Below every database's limit of bound values.
const CHUNK: usize = 10_000;

/// Whether there is no article; there can be no comments and votes then.
pub(crate) fn is_empty(conn: &mut Db) -> QueryResult<bool> {
    let any: Option<i64> = article::table.select(article::id).first(conn).optional()?;
    Ok(any.is_none())
}

pub(crate) fn article(conn: &mut Db, id: i64) -> QueryResult<Option<Article>> {
    article::table.find(id).select(Article::as_select()).first(conn).optional()
}

/// The articles of a front page, and whether there are more. The latest vote or comment decides: it is one index, whatever the
/// number of votes, and it is true at any time, where a ranking by age and points would go stale on its own.
pub(crate) fn front(conn: &mut Db, number: u64) -> QueryResult<(Vec<Article>, bool)> {
    let articles = article::table
        .order((article::updated_at.desc(), article::id.desc()))
        .limit(STORIES_PER_PAGE as i64 + 1)
        .offset(i64::try_from(skipped(number)).unwrap_or(i64::MAX))
        .select(Article::as_select())
        .load(conn)?;
    Ok(cut(articles))
}

/// An article's comments, the oldest first.
pub(crate) fn comments(conn: &mut Db, article: &Article) -> QueryResult<Vec<Comment>> {
    Comment::belonging_to(article).order(comment::id).select(Comment::as_select()).load(conn)
}

/// The article of a comment, if there is this comment.
pub(crate) fn article_of(conn: &mut Db, comment: i64) -> QueryResult<Option<i64>> {
    comment::table.find(comment).select(comment::article_id).first(conn).optional()
}

/// Which of these articles are there.
pub(crate) fn there(conn: &mut Db, ids: &[i64]) -> QueryResult<Vec<i64>> {
    article::table.filter(article::id.eq_any(ids)).select(article::id).load(conn)
}

/// The votes on an article itself.
pub(crate) fn votes_on_article(conn: &mut Db, article: i64) -> QueryResult<i64> {
    vote::table.filter(vote::article_id.eq(article)).count().get_result(conn)
}

/// How many rows there are of each of these foreign keys, in one query; those without are not in it.
macro_rules! counts {
    ($conn:ident, $table:ident :: $key:ident of $ids:ident) => {{
        let mut counts = Counts::with_capacity($ids.len());
        for chunk in $ids.chunks(CHUNK) {
            let rows = $table::table
                .filter($table::$key.eq_any(chunk))
                .group_by($table::$key)
                .select(($table::$key.assume_not_null(), count_star()));
            counts.extend(rows.load::<(i64, i64)>($conn)?);
        }
        Ok(counts)
    }};
}

/// The votes on many articles.
pub(crate) fn votes_on_articles(conn: &mut Db, ids: &[i64]) -> QueryResult<Counts> {
    counts!(conn, vote::article_id of ids)
}

/// The votes on many comments.
pub(crate) fn votes_on_comments(conn: &mut Db, ids: &[i64]) -> QueryResult<Counts> {
    counts!(conn, vote::comment_id of ids)
}

/// The numbers of comments on many articles.
pub(crate) fn comments_on_articles(conn: &mut Db, ids: &[i64]) -> QueryResult<Counts> {
    counts!(conn, comment::article_id of ids)
}
