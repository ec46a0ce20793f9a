//! Connections of bb8's and deadpool's pools are swept like any other.

use std::convert::Infallible;

use cachesweeper_diesel::asynchronous::{AsyncSweepConn, Sweeper, prelude::*};
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use cachesweeper_tests::orm::diesel::entity::{self, NewArticle};
use cachesweeper_tests::orm::diesel_async::AsyncSqlite;
use cachesweeper_tests::{Backend, Database};
use diesel::prelude::*;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8, deadpool};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};

fn sweeper() -> Sweeper {
    Sweeper::builder().memory(1 << 20).build().expect("a sweeper")
}

async fn word(sweeper: &Sweeper, comment: i64) -> &'static str {
    let on = entity::Comment::key(comment);
    let rendered = sweeper.fragment(&on, "comment").get_or_render(async || Ok::<_, Infallible>("comment")).await;
    rendered.unwrap_or_else(|never| match never {}).outcome().word()
}

/// Writes on a pool's connection, and on what is inside of it.
macro_rules! swept_on {
    ($pool:expr) => {{
        let (sweeper, pool) = (sweeper(), $pool);
        let mut conn = pool.get().await.expect("a connection");
        sweeper.insert_and_sweep(&mut conn, article::table, NewArticle::now("pooled")).await.expect("an article");
        let new = (comment::article_id.eq(1), comment::body.eq("first"), comment::views.eq(0));
        sweeper.insert_and_sweep(&mut *conn, comment::table, new).await.expect("a comment");
        for round in 0..2 {
            word(&sweeper, 1).await;
            assert_eq!(word(&sweeper, 1).await, "hit");
            let body = format!("edited {round}");
            let edited = sweeper.transaction(&mut conn, async |conn| {
                // The connection inside is known as the same.
                sweeper.update_and_sweep(&mut **conn, comment::table.find(1), comment::body.eq(&body)).await
            });
            assert_eq!(edited.await.expect("committed"), 1);
            assert_eq!(word(&sweeper, 1).await, "miss");
        }
        assert_eq!((sweeper.stats().sweeps, sweeper.stats().plain_writes), (4, 0));
    }};
}

async fn bb8_of<C>(database: &Database) -> bb8::Pool<C>
where
    C: AsyncSweepConn + diesel_async::pooled_connection::PoolableConnection + 'static,
    AsyncDieselConnectionManager<C>: ::bb8::ManageConnection<Connection = C, Error = diesel_async::pooled_connection::PoolError>,
{
    bb8::Pool::builder().max_size(1).build(AsyncDieselConnectionManager::new(database.diesel_url())).await.expect("a pool")
}

#[tokio::test]
async fn bb8_on_sqlite() {
    let database = Database::with_site(Backend::Sqlite).expect("SQLite is always there");
    swept_on!(bb8_of::<AsyncSqlite>(&database).await);
}

#[tokio::test]
async fn bb8_on_postgres() {
    let Some(database) = Database::with_site(Backend::Postgres) else { return };
    swept_on!(bb8_of::<AsyncPgConnection>(&database).await);
}

#[tokio::test]
async fn bb8_on_mysql() {
    let Some(database) = Database::with_site(Backend::MySql) else { return };
    swept_on!(bb8_of::<AsyncMysqlConnection>(&database).await);
}

macro_rules! deadpool_of {
    ($connection:ty, $database:expr) => {{
        let manager = AsyncDieselConnectionManager::<$connection>::new($database.diesel_url());
        deadpool::Pool::builder(manager).max_size(1).build().expect("a pool")
    }};
}

#[tokio::test]
async fn deadpool_on_sqlite() {
    let database = Database::with_site(Backend::Sqlite).expect("SQLite is always there");
    swept_on!(deadpool_of!(AsyncSqlite, database));
}

#[tokio::test]
async fn deadpool_on_postgres() {
    let Some(database) = Database::with_site(Backend::Postgres) else { return };
    swept_on!(deadpool_of!(AsyncPgConnection, database));
}

#[tokio::test]
async fn deadpool_on_mysql() {
    let Some(database) = Database::with_site(Backend::MySql) else { return };
    swept_on!(deadpool_of!(AsyncMysqlConnection, database));
}
