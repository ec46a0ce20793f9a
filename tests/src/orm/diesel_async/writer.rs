//! The site's writes with diesel-async: the wrappers, and `execute_and_sweep` on statements.

use cachesweeper_diesel::Dependencies;
use cachesweeper_diesel::asynchronous::{AsyncSweepConn, Sweeper, prelude::*};
use diesel::prelude::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl as _};

use super::connection::{AsyncConnRef, AsyncPooled, AsyncSqlite};
use super::{DieselAsync, transaction};
use crate::on_async_conn;
use crate::orm::diesel::entity::schema::{article, coarse, comment, label, part, tag, vote};
use crate::orm::diesel::entity::{self, NewArticle, NewComment, NewVote};
use crate::orm::{Article, Coarse, Comment, Label, Result, Tag, Vote, Writer};

enum Held<'w> {
    Pooled(AsyncPooled<'w>),
    Inside(AsyncConnRef<'w>),
}

/// The site's writes with diesel-async.
pub struct AsyncWriter<'w> {
    sweeper: &'w Sweeper,
    held: Held<'w>,
}

/// A connection of a type that is known.
pub(in crate::orm) trait Known: AsyncSweepConn {
    /// As one of an unknown type.
    fn unknown(&mut self) -> AsyncConnRef<'_>;
}

macro_rules! known {
    ($($type:ty => $variant:ident;)*) => {$(
        impl Known for $type {
            fn unknown(&mut self) -> AsyncConnRef<'_> {
                AsyncConnRef::$variant(self)
            }
        }
    )*};
}

known! {
    AsyncSqlite => Sqlite;
    AsyncPgConnection => Postgres;
    AsyncMysqlConnection => MySql;
}

impl<'w> AsyncWriter<'w> {
    pub(super) fn pooled(sweeper: &'w Sweeper, conn: AsyncPooled<'w>) -> Self {
        Self { sweeper, held: Held::Pooled(conn) }
    }

    pub(super) fn inside<C: Known>(sweeper: &'w Sweeper, conn: &'w mut C) -> Self {
        Self { sweeper, held: Held::Inside(conn.unknown()) }
    }

    fn conn(&mut self) -> (&'w Sweeper, AsyncConnRef<'_>) {
        let conn = match &mut self.held {
            Held::Pooled(conn) => conn.as_mut(),
            Held::Inside(conn) => conn.reborrow(),
        };
        (self.sweeper, conn)
    }
}

/// Runs an expression with the sweeper and the connection.
macro_rules! on {
    ($self:ident, |$sweeper:ident, $conn:ident| $body:expr) => {{
        let ($sweeper, conn) = $self.conn();
        on_async_conn!(conn, |$conn| $body)
    }};
}

/// Inserts a row whose key the database makes, and returns it. MySQL tells the key, the others the row.
macro_rules! inserted {
    ($self:ident, $row:ty, $table:ident, $values:expr) => {{
        let values = $values;
        let (sweeper, conn) = $self.conn();
        let row: $row = match conn {
            AsyncConnRef::Sqlite(conn) => diesel::insert_into($table::table).values(values).get_result_and_sweep(sweeper, conn).await?,
            AsyncConnRef::Postgres(conn) => diesel::insert_into($table::table).values(values).get_result_and_sweep(sweeper, conn).await?,
            AsyncConnRef::MySql(conn) => {
                sweeper.insert_and_sweep(conn, $table::table, values).await?;
                let id = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>("LAST_INSERT_ID()")).get_result::<i64>(conn).await?;
                $table::table.find(id).first(conn).await?
            }
        };
        row
    }};
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).expect("a number of rows")
}

impl Writer for AsyncWriter<'_> {
    type Orm = DieselAsync;

    async fn nested<T>(&mut self, work: impl AsyncFnOnce(&mut AsyncWriter<'_>) -> Result<T>) -> Result<T> {
        on!(self, |sweeper, conn| transaction(sweeper, conn, work))
    }

    async fn invalidate(&mut self, on: impl Dependencies) -> Result<()> {
        Ok(on!(self, |sweeper, conn| sweeper.invalidate_with(conn, on).await)?)
    }

    async fn insert_article(&mut self, title: &str) -> Result<i64> {
        let article: entity::Article = inserted!(self, entity::Article, article, NewArticle::now(title));
        Ok(article.id)
    }

    async fn insert_comment(&mut self, article: Option<i64>, parent: Option<i64>) -> Result<Comment> {
        Ok(inserted!(self, entity::Comment, comment, &NewComment::below(article, parent)).into())
    }

    async fn insert_comments(&mut self, article: i64, count: usize) -> Result<Vec<Comment>> {
        let comments: Vec<NewComment> = (0..count).map(|_| NewComment::below(Some(article), None)).collect();
        let (sweeper, conn) = self.conn();
        match conn {
            // diesel-async has no insert of several rows on SQLite.
            AsyncConnRef::Sqlite(conn) => {
                for comment in &comments {
                    sweeper.insert_and_sweep(conn, comment::table, comment).await?;
                }
            }
            AsyncConnRef::Postgres(conn) => drop(sweeper.insert_and_sweep(conn, comment::table, &comments).await?),
            AsyncConnRef::MySql(conn) => drop(sweeper.insert_and_sweep(conn, comment::table, &comments).await?),
        }
        on!(self, |_sweeper, conn| {
            let made = comment::table.filter(comment::article_id.eq(article)).order(comment::id);
            Ok(made.load::<entity::Comment>(conn).await?.into_iter().map(Into::into).collect())
        })
    }

    async fn insert_vote(&mut self, comment: i64, voter: &str) -> Result<Vote> {
        Ok(inserted!(self, entity::Vote, vote, NewVote { comment_id: comment, voter: voter.into() }).into())
    }

    async fn insert_tag(&mut self, name: &str) -> Result<Tag> {
        let tag = entity::Tag { name: name.into(), note: String::new() };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, tag::table, &tag).await)?;
        Ok(tag.into())
    }

    async fn insert_label(&mut self, article: i64, tag: &str) -> Result<Label> {
        let label = entity::Label { article_id: article, tag_name: tag.into(), weight: 1 };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, label::table, &label).await)?;
        Ok(label.into())
    }

    async fn insert_coarse(&mut self, id: i64, body: &str) -> Result<()> {
        let row = entity::Coarse { id, body: body.into(), changed_at: chrono::Utc::now().naive_utc() };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, coarse::table, &row).await)?;
        Ok(())
    }

    async fn insert_part(&mut self, id: i64, coarse: i64) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, part::table, entity::Part { id, coarse_id: coarse }).await)?;
        Ok(())
    }

    async fn edit_comment(&mut self, copy: &Comment, body: &str) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::body.eq(body)).await)?;
        Ok(())
    }

    async fn edit_comment_by_key(&mut self, id: i64, body: &str) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, comment::table.find(id), comment::body.eq(body)).await)?;
        Ok(())
    }

    async fn view_comment(&mut self, copy: &Comment, views: i32) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::views.eq(views)).await)?;
        Ok(())
    }

    async fn move_comment(&mut self, copy: &Comment, article: i64) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::article_id.eq(article)).await)?;
        Ok(())
    }

    async fn move_comments_up_to(&mut self, last: i64, article: i64) -> Result<u64> {
        let these = comment::table.filter(comment::id.le(last));
        Ok(count(on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, these, comment::article_id.eq(article)).await)?))
    }

    async fn retitle_article(&mut self, id: i64, title: &str) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, article::table.find(id), article::title.eq(title)).await)?;
        Ok(())
    }

    async fn retitle_articles(&mut self, title: &str) -> Result<u64> {
        Ok(count(on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, article::table, article::title.eq(title)).await)?))
    }

    async fn view_article(&mut self, copy: &Article, views: i32) -> Result<()> {
        let copy = entity::Article::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, article::views.eq(views)).await)?;
        Ok(())
    }

    async fn weigh_label(&mut self, copy: &Label, weight: i32) -> Result<Label> {
        let copy = entity::Label::from(copy);
        on!(self, |sweeper, conn| {
            sweeper.update_and_sweep(conn, &copy, label::weight.eq(weight)).await?;
            Ok(label::table.find((copy.article_id, &copy.tag_name)).first::<entity::Label>(conn).await?.into())
        })
    }

    async fn edit_coarse(&mut self, copy: &Coarse, body: &str) -> Result<()> {
        let copy = entity::Coarse::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, coarse::body.eq(body)).await)?;
        Ok(())
    }

    async fn delete_vote(&mut self, copy: &Vote) -> Result<()> {
        let copy = entity::Vote::from(copy);
        on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, &copy).await)?;
        Ok(())
    }

    async fn delete_vote_by_key(&mut self, id: i64) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, vote::table.find(id)).await)?;
        Ok(())
    }

    async fn delete_comments_of(&mut self, article: i64) -> Result<u64> {
        let these = comment::table.filter(comment::article_id.eq(article));
        Ok(count(on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, these).await)?))
    }
}
