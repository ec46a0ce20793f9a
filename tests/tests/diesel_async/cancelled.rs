//! A future that is dropped in the middle leaves neither an open transaction nor a lost sweep.

use std::time::Duration;

use cachesweeper_diesel::asynchronous::{Sweeper, prelude::*};
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use cachesweeper_tests::orm::diesel::entity::{self, NewArticle};
use cachesweeper_tests::orm::diesel_async::AsyncSqlite;
use cachesweeper_tests::site::quick;
use cachesweeper_tests::{Backend, Database};
use diesel::prelude::*;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, deadpool};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};

/// Edits the comment again and again, giving up later each time, from 40 µs to 144 ms; whatever became of the edit, nothing older than
/// what the database has is served.
macro_rules! no_edit_is_lost {
    ($connection:ty, $database:expr, $inside:literal) => {{
        let manager = || AsyncDieselConnectionManager::<$connection>::new($database.diesel_url());
        let (writers, readers) = (deadpool::Pool::builder(manager()).max_size(1), deadpool::Pool::builder(manager()).max_size(1));
        let (writers, readers) = (writers.build().expect("a pool"), readers.build().expect("a pool"));
        let sweeper: Sweeper = quick(Sweeper::builder()).memory(1 << 20).build().expect("a sweeper");
        {
            let mut conn = writers.get().await.expect("a connection");
            sweeper.insert_and_sweep(&mut conn, article::table, NewArticle::now("cancelled")).await.expect("an article");
            let new = (comment::article_id.eq(1), comment::body.eq("0"), comment::views.eq(0));
            sweeper.insert_and_sweep(&mut conn, comment::table, new).await.expect("a comment");
        }
        let body = async || -> u64 {
            let mut conn = readers.get().await.expect("a connection");
            let row = comment::table.find(1).first::<entity::Comment>(&mut conn).await.expect("the comment");
            row.body.parse().expect("a number")
        };
        let (mut done, mut given_up) = (0, 0);
        for round in 1..=60_u64 {
            let editing = async {
                let mut conn = writers.get().await.expect("no connection comes back with an open transaction");
                let edit =
                    async |conn: &mut _| sweeper.update_and_sweep(conn, comment::table.find(1), comment::body.eq(round.to_string())).await;
                match $inside {
                    true => sweeper.transaction(&mut *conn, edit).await,
                    false => edit(&mut *conn).await,
                }
            };
            // Not while the connection is made: that takes longer than all the rest.
            drop(writers.get().await.expect("a connection"));
            match tokio::time::timeout(Duration::from_micros(40 * round * round), editing).await {
                Ok(edited) => {
                    assert_eq!(edited.expect("edited"), 1);
                    done += 1;
                }
                Err(_) => given_up += 1,
            }
            let least = body().await;
            let on = entity::Comment::key(1);
            let shown = sweeper.fragment(&on, "body").get_or_render(async || Ok::<_, std::convert::Infallible>(body().await.to_string()));
            let shown: u64 = shown.await.unwrap_or_else(|never| match never {}).parse().expect("a number");
            assert!(shown >= least, "{shown} is shown, the database has {least}");
        }
        assert!(done > 0 && given_up > 0, "{done} done, {given_up} given up: neither was tried");
        let mut conn = writers.get().await.expect("a connection");
        let edit = sweeper.update_and_sweep(&mut conn, comment::table.find(1), comment::body.eq("1000"));
        let edited = tokio::time::timeout(Duration::from_secs(20), edit).await.expect("no lock was left behind");
        assert_eq!(edited.expect("edited"), 1);
    }};
}

macro_rules! on_all {
    ($($name:ident, $backend:ident, $connection:ty, $inside:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(database) = Database::with_site(Backend::$backend) else { return };
            // As a task, which only a future that can move between threads can be.
            let task = async move { no_edit_is_lost!($connection, database, $inside) };
            tokio::spawn(task).await.expect("it does not panic");
        }
    )*};
}

on_all! {
    a_write_on_sqlite, Sqlite, AsyncSqlite, false;
    a_write_on_postgres, Postgres, AsyncPgConnection, false;
    a_write_on_mysql, MySql, AsyncMysqlConnection, false;
    a_transaction_on_sqlite, Sqlite, AsyncSqlite, true;
    a_transaction_on_postgres, Postgres, AsyncPgConnection, true;
    a_transaction_on_mysql, MySql, AsyncMysqlConnection, true;
}
