//! Enums of connections: one program for several databases.
#![allow(unreachable_pub, reason = "what Diesel's derive writes is public")]

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{SweepConn, Watcher};
use cachesweeper_tests::Backend;
use cachesweeper_tests::orm::diesel::Conn;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, vote};
use cachesweeper_tests::orm::diesel::entity::{Article, Comment, NewVote};
use diesel::connection::Connection as _;
use diesel::prelude::*;

use crate::bench::Bench;

#[derive(diesel::MultiConnection, SweepConn)]
pub enum Any {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MysqlConnection),
}

fn connect(bench: &Bench) -> Any {
    match Conn::open(&bench.database) {
        Conn::Sqlite(conn) => Any::Sqlite(conn),
        Conn::Postgres(conn) => Any::Postgres(conn),
        Conn::MySql(conn) => Any::MySql(conn),
    }
}

fn article(id: i64, title: &str) -> impl Insertable<article::table, Values = <NewArticle as Insertable<article::table>>::Values> + use<> {
    (article::id.eq(id), article::title.eq(title.to_owned()), article::views.eq(0), article::updated_at.eq(chrono::Utc::now().naive_utc()))
}

type NewArticle = (
    diesel::dsl::Eq<article::id, i64>,
    diesel::dsl::Eq<article::title, String>,
    diesel::dsl::Eq<article::views, i32>,
    diesel::dsl::Eq<article::updated_at, chrono::NaiveDateTime>,
);

fn on(backend: Backend) {
    let Some(bench) = Bench::new(backend) else { return };
    let (conn, sweeper) = (&mut connect(&bench), &bench.sweeper);
    conn.set_instrumentation(Watcher::new(sweeper));
    for (id, title) in [(1, "a"), (2, "b")] {
        assert_eq!(sweeper.insert_and_sweep(conn, article::table, article(id, title)), Ok(1));
    }
    let versions =
        |conn: &mut Any| article::table.order(article::id).select(article::updated_at).load::<chrono::NaiveDateTime>(conn).expect("both");
    // Runs a write and asserts which of the two articles it touches.
    let touches = |conn: &mut Any, touched: [bool; 2], write: &dyn Fn(&mut Any) -> QueryResult<usize>, rows: usize| {
        let before = versions(conn);
        assert_eq!(write(conn), Ok(rows));
        let after = versions(conn);
        for position in 0..2 {
            assert!(after[position] >= before[position]);
            assert_eq!(after[position] > before[position], touched[position], "article {}", position + 1);
        }
    };
    let below =
        |id: i64, article: i64| (comment::id.eq(id), comment::article_id.eq(article), comment::body.eq("first"), comment::views.eq(0));
    let key = Comment::key(10);
    bench.sweeps(std::slice::from_ref(&key), &[], || {
        touches(conn, [true, false], &|conn| sweeper.insert_and_sweep(conn, comment::table, below(10, 1)), 1);
    });
    // Diesel inserts one row at a time on such an enum, if SQLite is among its variants.
    for (id, article, touched) in [(11, 1, [true, false]), (12, 2, [false, true])] {
        touches(conn, touched, &|conn| sweeper.insert_and_sweep(conn, comment::table, below(id, article)), 1);
    }
    touches(
        conn,
        [true, false],
        &|conn| {
            sweeper.insert_and_sweep(
                conn,
                comment::table,
                (comment::article_id.eq(1), comment::body.eq("its key is made"), comment::views.eq(0)),
            )
        },
        1,
    );
    bench.sweeps(std::slice::from_ref(&key), &[Comment::key(11)], || {
        touches(conn, [true, false], &|conn| sweeper.update_and_sweep(conn, comment::table.find(10), comment::body.eq("it's ? $1")), 1);
    });
    touches(conn, [true, true], &|conn| sweeper.update_and_sweep(conn, comment::table.find(10), comment::article_id.eq(2)), 1);
    touches(conn, [false, false], &|conn| sweeper.update_and_sweep(conn, comment::table.find(10), comment::views.eq(5)), 1);
    touches(conn, [false, false], &|conn| sweeper.update_and_sweep(conn, comment::table.find(99), comment::body.eq("none")), 0);
    touches(conn, [true, false], &|conn| sweeper.update_and_sweep(conn, article::table.find(1), article::title.eq("t")), 1);
    let row: Comment = comment::table.find(10).first(conn).expect("the comment");
    assert_eq!(row.body, "it's ? $1");
    bench.sweeps(std::slice::from_ref(&key), &[Comment::key(11)], || {
        touches(conn, [false, true], &|conn| sweeper.update_and_sweep(conn, &row, comment::body.eq("by its record")), 1);
    });
    bench.sweeps(&[key.clone(), Comment::key(11)], &[Comment::key(12)], || {
        let sweeps = sweeper.stats().sweeps;
        let transaction = |conn: &mut Any| {
            sweeper.transaction(conn, |conn| {
                sweeper.insert_and_sweep(conn, vote::table, NewVote { comment_id: 10, voter: "ada".into() })?;
                let dropped: QueryResult<()> = sweeper.transaction(conn, |conn| {
                    sweeper.insert_and_sweep(conn, vote::table, NewVote { comment_id: 12, voter: "dropped".into() })?;
                    Err(diesel::result::Error::RollbackTransaction)
                });
                assert_eq!(dropped, Err(diesel::result::Error::RollbackTransaction));
                // Diesel's own savepoint, which the watcher sees.
                let dropped: QueryResult<()> = conn.transaction(|conn| {
                    sweeper.insert_and_sweep(conn, vote::table, NewVote { comment_id: 12, voter: "dropped".into() })?;
                    Err(diesel::result::Error::RollbackTransaction)
                });
                assert_eq!(dropped, Err(diesel::result::Error::RollbackTransaction));
                sweeper.insert_and_sweep(conn, vote::table, NewVote { comment_id: 11, voter: "ada".into() })
            })
        };
        touches(conn, [true, true], &transaction, 1);
        assert_eq!(sweeper.stats().sweeps - sweeps, 1);
    });
    bench.sweeps(&[key], &[Comment::key(11)], || {
        touches(conn, [false, true], &|conn| sweeper.delete_and_sweep(conn, comment::table.find(10)), 1);
    });
    bench.sweeps(&[Article::collection()], &[], || {
        touches(conn, [true, true], &|conn| sweeper.update_and_sweep(conn, article::table, article::title.eq("all")), 2);
    });
    let stats = sweeper.stats();
    assert_eq!((stats.plain_writes, stats.writes_unswept), (0, 0));
}

#[test]
fn sqlite() {
    on(Backend::Sqlite);
}

#[test]
fn postgres() {
    on(Backend::Postgres);
}

#[test]
fn mysql() {
    on(Backend::MySql);
}
