//! Statement forms, and records that are saved.

use cachesweeper_diesel::asynchronous::{Sweeper, prelude::*};
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use cachesweeper_tests::orm::diesel::entity::{self, NewArticle, NewComment};
use cachesweeper_tests::orm::diesel_async::AsyncConn;
use cachesweeper_tests::{Backend, Database, on_async_conn};
use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// A site with one article and one comment.
async fn site(backend: Backend) -> Option<(Sweeper, AsyncConn)> {
    let database = Database::with_site(backend)?;
    let (sweeper, mut conn) = (Sweeper::builder().memory(1 << 20).build().expect("a sweeper"), AsyncConn::open(&database).await);
    on_async_conn!((&mut conn).into(), |conn| {
        sweeper.insert_and_sweep(conn, article::table, NewArticle::now("statements")).await.expect("an article");
        sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(1), None)).await.expect("a comment");
    });
    Some((sweeper, conn))
}

async fn version(conn: &mut AsyncConn) -> NaiveDateTime {
    let article = on_async_conn!(conn.into(), |conn| article::table.find(1).first::<entity::Article>(conn).await.expect("the article"));
    article.updated_at
}

async fn saved(backend: Backend) {
    let Some((sweeper, mut conn)) = site(backend).await else { return };
    let before = version(&mut conn).await;
    on_async_conn!((&mut conn).into(), |conn| {
        let mut comment: entity::Comment = comment::table.find(1).first(conn).await.expect("the comment");
        comment.body = "saved".into();
        let saved: entity::Comment = comment.save_changes_and_sweep(&sweeper, conn).await.expect("saved");
        assert_eq!(saved, comment);
        let gone = entity::Comment { id: 77, ..comment };
        let missing: QueryResult<entity::Comment> = gone.save_changes_and_sweep(&sweeper, conn).await;
        assert_eq!(missing, Err(diesel::result::Error::NotFound));
    });
    assert!(version(&mut conn).await > before);
}

#[tokio::test]
async fn records_are_saved_on_sqlite() {
    saved(Backend::Sqlite).await;
}

#[tokio::test]
async fn records_are_saved_on_postgres() {
    saved(Backend::Postgres).await;
}

#[tokio::test]
async fn records_are_saved_on_mysql() {
    saved(Backend::MySql).await;
}

macro_rules! returned {
    ($sweeper:expr, $conn:expr) => {{
        let (sweeper, conn) = ($sweeper, $conn);
        let insert = diesel::insert_into(comment::table).values(NewComment::below(Some(1), Some(1)));
        let made: entity::Comment = insert.get_result_and_sweep(sweeper, conn).await.expect("a comment");
        let edit = diesel::update(comment::table.filter(comment::article_id.eq(1))).set(comment::body.eq("edited"));
        let bodies: Vec<String> = edit.returning(comment::body).get_results_and_sweep(sweeper, conn).await.expect("edited");
        assert_eq!(bodies, ["edited", "edited"]);
        let moved = diesel::insert_into(comment::table)
            .values((comment::id.eq(made.id), comment::body.eq("upserted"), comment::views.eq(0)))
            .on_conflict(comment::id)
            .do_update()
            .set((comment::article_id.eq(None::<i64>), comment::body.eq("upserted")));
        assert_eq!(moved.execute_and_sweep(sweeper, conn).await.expect("upserted"), 1);
        let gone: Vec<i64> =
            diesel::delete(comment::table).returning(comment::id).get_results_and_sweep(sweeper, conn).await.expect("deleted");
        assert_eq!(gone.len(), 2);
    }};
}

#[tokio::test]
async fn rows_are_returned_and_swept_on_sqlite_and_postgres() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some((sweeper, mut conn)) = site(backend).await else { continue };
        let (before, sweeps) = (version(&mut conn).await, sweeper.stats().sweeps);
        match &mut conn {
            AsyncConn::Sqlite(conn) => returned!(&sweeper, conn),
            AsyncConn::Postgres(conn) => returned!(&sweeper, conn),
            AsyncConn::MySql(_) => {}
        }
        assert_eq!(sweeper.stats().sweeps - sweeps, 4);
        assert!(version(&mut conn).await > before);
    }
}
