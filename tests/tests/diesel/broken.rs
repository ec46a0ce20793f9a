//! Connections that break in the middle of a transaction, and at its COMMIT. SQLite has none that could break.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cachesweeper_diesel::Sweeper;
use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::vote;
use cachesweeper_tests::orm::diesel::entity::{Comment, NewVote};
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::bench::{Bench, Open, raw_article, raw_comment, version, wait_until};
use crate::interrupting::Interrupting;

/// A connection that others can end.
trait Breakable: Open + 'static {
    /// What it is called by the server.
    fn number(&mut self) -> i64;
    /// Ends another.
    fn end(&mut self, other: i64);
}

impl Breakable for PgConnection {
    fn number(&mut self) -> i64 {
        diesel::select(diesel::dsl::sql::<BigInt>("pg_backend_pid()::bigint")).get_result(self).expect("a number")
    }

    fn end(&mut self, other: i64) {
        diesel::sql_query(format!("SELECT pg_terminate_backend({other})")).execute(self).expect("ended");
        wait_until("the backend is gone", || {
            let left = diesel::dsl::sql::<BigInt>(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {other}"));
            left.get_result::<i64>(self).expect("a count") == 0
        });
    }
}

impl Breakable for MysqlConnection {
    fn number(&mut self) -> i64 {
        diesel::select(diesel::dsl::sql::<BigInt>("CONNECTION_ID()")).get_result(self).expect("a number")
    }

    fn end(&mut self, other: i64) {
        diesel::sql_query(format!("KILL CONNECTION {other}")).execute(self).expect("ended");
        wait_until("the connection is gone", || {
            let left = diesel::dsl::sql::<BigInt>(&format!("SELECT count(*) FROM information_schema.processlist WHERE id = {other}"));
            left.get_result::<i64>(self).expect("a count") == 0
        });
    }
}

fn vote(comment: i64, voter: &str) -> NewVote {
    NewVote { comment_id: comment, voter: voter.into() }
}

fn in_the_middle<C: Breakable + Votes>() {
    let Some(bench) = Bench::new(C::BACKEND) else { return };
    let (conn, admin) = (&mut bench.connect::<C>(), &mut bench.connect::<C>());
    let a = raw_article(conn, "a");
    let c = raw_comment(conn, a, "x");
    let before = version(conn, a);
    bench.fill(Comment::key(c));
    let number = conn.number();
    for nested in [false, true] {
        let failed: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
            conn.vote(&bench.sweeper, c, "ada")?;
            if !nested {
                admin.end(number);
            }
            bench.sweeper.transaction(conn, |conn| conn.vote(&bench.sweeper, c, "bob"))?;
            Ok(())
        });
        // The second time it is broken from the beginning.
        failed.expect_err("the connection is gone");
    }
    bench.survives("the comment: nothing was held or swept", Comment::key(c));
    assert_eq!((bench.sweeper.stats().sweeps, bench.sweeper.stats().commits_unknown), (0, 0));
    let fresh = &mut bench.connect::<C>();
    assert_eq!((fresh.votes(), version(fresh, a)), (0, before));
    let done: QueryResult<usize> = bench.sweeper.transaction(fresh, |conn| conn.vote(&bench.sweeper, c, "ada"));
    assert_eq!(done, Ok(1));
    bench.is_gone("the comment", Comment::key(c));
}

fn before_the_commit<C: Breakable + Votes>() {
    let limit = Duration::from_millis(2_500);
    let store = Interrupting::new();
    let settings = |builder: cachesweeper_diesel::Builder<Sweeper>| builder.store(store.clone()).unknown_commit_limit(limit);
    let Some(bench) = Bench::with(C::BACKEND, settings) else { return };
    let (conn, admin) = (&mut bench.connect::<C>(), Mutex::new(bench.connect::<C>()));
    let a = raw_article(conn, "a");
    let c = raw_comment(conn, a, "x");
    bench.fill(Comment::key(c));
    let number = conn.number();
    store.at_the_next_mark(move || admin.lock().expect("no panic").end(number));

    let began = Instant::now();
    let failed: QueryResult<usize> = bench.sweeper.transaction(conn, |conn| conn.vote(&bench.sweeper, c, "ada"));
    failed.expect_err("the connection is gone");
    assert_eq!(bench.sweeper.stats().commits_unknown, 1, "whether it was committed nobody knows");

    // As long as it may still land, its records are held: beyond the hold, by renewals.
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(bench.look(Comment::key(c)), "bypass", "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(bench.sweeper.stats().renewals > 0);
    // Meanwhile others write to the same rows, on connections of their own.
    let fresh = &mut bench.connect::<C>();
    assert_eq!(fresh.votes(), 0);
    bench.touches(fresh, &[a], &[], |sweeper, conn| {
        let done: QueryResult<usize> = sweeper.transaction(conn, |conn| conn.vote(sweeper, c, "bob"));
        assert_eq!(done, Ok(1));
    });
    wait_until("the hold ends", || bench.look(Comment::key(c)) == "hit");
    assert!(began.elapsed() > limit, "ended after {:?}", began.elapsed());
    bench.sweeps(&[Comment::key(c)], &[], || assert_eq!(fresh.vote(&bench.sweeper, c, "cyn"), Ok(1)));

    // The broken one stays broken, without a panic, also when it is dropped.
    let again: QueryResult<usize> = bench.sweeper.transaction(conn, |conn| conn.vote(&bench.sweeper, c, "dan"));
    again.expect_err("the connection is gone");
    conn.vote(&bench.sweeper, c, "dan").expect_err("the connection is gone");
    bench.survives("the comment", Comment::key(c));
}

/// Connections that can vote.
trait Votes: cachesweeper_diesel::SweepConn {
    fn vote(&mut self, sweeper: &Sweeper, comment: i64, voter: &str) -> QueryResult<usize>;
    fn votes(&mut self) -> i64;
}

macro_rules! broken {
    ($($database:ident $type:ty;)*) => {$(
        impl Votes for $type {
            fn vote(&mut self, sweeper: &Sweeper, comment: i64, voter: &str) -> QueryResult<usize> {
                sweeper.insert_and_sweep(self, vote::table, vote(comment, voter))
            }

            fn votes(&mut self) -> i64 {
                vote::table.count().get_result(self).expect("a count")
            }
        }

        mod $database {
            use super::*;

            #[test]
            fn in_the_middle_of_a_transaction_nothing_is_swept() {
                in_the_middle::<$type>();
            }

            #[test]
            fn before_its_commit_the_outcome_is_unknown_and_held() {
                before_the_commit::<$type>();
            }
        }
    )*};
}

broken! {
    postgres PgConnection;
    mysql MysqlConnection;
}
