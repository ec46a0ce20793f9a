//! The site's writes with Diesel: the wrappers, and `execute_and_sweep` on statements.

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{Dependencies, SweepConn, Sweeper};
use diesel::prelude::*;

use super::connection::{ConnRef, Pooled};
use super::entity::schema::{article, coarse, comment, label, part, tag, vote};
use super::entity::{self, NewArticle, NewComment, NewVote};
use super::{Diesel, block_on};
use crate::on_conn;
use crate::orm::{Article, Coarse, Comment, Label, Result, Tag, Vote, Writer};

enum Held<'w> {
    Pooled(Pooled<'w>),
    Inside(ConnRef<'w>),
}

/// The site's writes with Diesel.
pub struct DieselWriter<'w> {
    sweeper: &'w Sweeper,
    held: Held<'w>,
}

/// A connection of a type that is known.
pub trait Known: SweepConn {
    /// As one of an unknown type.
    fn unknown(&mut self) -> ConnRef<'_>;
}

macro_rules! known {
    ($($type:ty => $variant:ident;)*) => {$(
        impl Known for $type {
            fn unknown(&mut self) -> ConnRef<'_> {
                ConnRef::$variant(self)
            }
        }
    )*};
}

known! {
    SqliteConnection => Sqlite;
    PgConnection => Postgres;
    MysqlConnection => MySql;
}

impl<'w> DieselWriter<'w> {
    pub(super) fn pooled(sweeper: &'w Sweeper, conn: Pooled<'w>) -> Self {
        Self { sweeper, held: Held::Pooled(conn) }
    }

    pub(super) fn inside<C: Known>(sweeper: &'w Sweeper, conn: &'w mut C) -> Self {
        Self { sweeper, held: Held::Inside(conn.unknown()) }
    }

    fn conn(&mut self) -> (&'w Sweeper, ConnRef<'_>) {
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
        on_conn!(conn, |$conn| $body)
    }};
}

/// Inserts a row whose key the database makes, and returns it. MySQL tells the key, the others the row.
macro_rules! inserted {
    ($self:ident, $row:ty, $table:ident, $values:expr) => {{
        let values = $values;
        let (sweeper, conn) = $self.conn();
        let row: $row = match conn {
            ConnRef::Sqlite(conn) => diesel::insert_into($table::table).values(values).get_result_and_sweep(sweeper, conn)?,
            ConnRef::Postgres(conn) => diesel::insert_into($table::table).values(values).get_result_and_sweep(sweeper, conn)?,
            ConnRef::MySql(conn) => {
                sweeper.insert_and_sweep(conn, $table::table, values)?;
                let id = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>("LAST_INSERT_ID()")).get_result::<i64>(conn)?;
                $table::table.find(id).first(conn)?
            }
        };
        row
    }};
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).expect("a number of rows")
}

impl Writer for DieselWriter<'_> {
    type Orm = Diesel;

    async fn nested<T>(&mut self, work: impl AsyncFnOnce(&mut DieselWriter<'_>) -> Result<T>) -> Result<T> {
        on!(self, |sweeper, conn| sweeper.transaction(conn, |conn| block_on(work(&mut DieselWriter::inside(sweeper, conn)))))
    }

    async fn invalidate(&mut self, on: impl Dependencies) -> Result<()> {
        Ok(on!(self, |sweeper, conn| sweeper.invalidate_with(conn, on))?)
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
        on!(self, |sweeper, conn| {
            sweeper.insert_and_sweep(conn, comment::table, &comments)?;
            let made = comment::table.filter(comment::article_id.eq(article)).order(comment::id);
            Ok(made.load::<entity::Comment>(conn)?.into_iter().map(Into::into).collect())
        })
    }

    async fn insert_vote(&mut self, comment: i64, voter: &str) -> Result<Vote> {
        Ok(inserted!(self, entity::Vote, vote, NewVote { comment_id: comment, voter: voter.into() }).into())
    }

    async fn insert_tag(&mut self, name: &str) -> Result<Tag> {
        let tag = entity::Tag { name: name.into(), note: String::new() };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, tag::table, &tag))?;
        Ok(tag.into())
    }

    async fn insert_label(&mut self, article: i64, tag: &str) -> Result<Label> {
        let label = entity::Label { article_id: article, tag_name: tag.into(), weight: 1 };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, label::table, &label))?;
        Ok(label.into())
    }

    async fn insert_coarse(&mut self, id: i64, body: &str) -> Result<()> {
        let row = entity::Coarse { id, body: body.into(), changed_at: chrono::Utc::now().naive_utc() };
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, coarse::table, &row))?;
        Ok(())
    }

    async fn insert_part(&mut self, id: i64, coarse: i64) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.insert_and_sweep(conn, part::table, entity::Part { id, coarse_id: coarse }))?;
        Ok(())
    }

    async fn edit_comment(&mut self, copy: &Comment, body: &str) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::body.eq(body)))?;
        Ok(())
    }

    async fn edit_comment_by_key(&mut self, id: i64, body: &str) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, comment::table.find(id), comment::body.eq(body)))?;
        Ok(())
    }

    async fn view_comment(&mut self, copy: &Comment, views: i32) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::views.eq(views)))?;
        Ok(())
    }

    async fn move_comment(&mut self, copy: &Comment, article: i64) -> Result<()> {
        let copy = entity::Comment::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, comment::article_id.eq(article)))?;
        Ok(())
    }

    async fn move_comments_up_to(&mut self, last: i64, article: i64) -> Result<u64> {
        let these = comment::table.filter(comment::id.le(last));
        Ok(count(on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, these, comment::article_id.eq(article)))?))
    }

    async fn retitle_article(&mut self, id: i64, title: &str) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, article::table.find(id), article::title.eq(title)))?;
        Ok(())
    }

    async fn retitle_articles(&mut self, title: &str) -> Result<u64> {
        Ok(count(on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, article::table, article::title.eq(title)))?))
    }

    async fn view_article(&mut self, copy: &Article, views: i32) -> Result<()> {
        let copy = entity::Article::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, article::views.eq(views)))?;
        Ok(())
    }

    async fn weigh_label(&mut self, copy: &Label, weight: i32) -> Result<Label> {
        let copy = entity::Label::from(copy);
        on!(self, |sweeper, conn| {
            sweeper.update_and_sweep(conn, &copy, label::weight.eq(weight))?;
            Ok(label::table.find((copy.article_id, &copy.tag_name)).first::<entity::Label>(conn)?.into())
        })
    }

    async fn edit_coarse(&mut self, copy: &Coarse, body: &str) -> Result<()> {
        let copy = entity::Coarse::from(copy);
        on!(self, |sweeper, conn| sweeper.update_and_sweep(conn, &copy, coarse::body.eq(body)))?;
        Ok(())
    }

    async fn delete_vote(&mut self, copy: &Vote) -> Result<()> {
        let copy = entity::Vote::from(copy);
        on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, &copy))?;
        Ok(())
    }

    async fn delete_vote_by_key(&mut self, id: i64) -> Result<()> {
        on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, vote::table.find(id)))?;
        Ok(())
    }

    async fn delete_comments_of(&mut self, article: i64) -> Result<u64> {
        let these = comment::table.filter(comment::article_id.eq(article));
        Ok(count(on!(self, |sweeper, conn| sweeper.delete_and_sweep(conn, these))?))
    }
}
