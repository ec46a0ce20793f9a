//! Transactions as closures on a connection: ours inside of Diesel's and the other way round, test transactions, and
//! connections that are in another sweeper's transaction. What all ORMs have in common is in `behaviours`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{Sweeper, Watcher};
use cachesweeper_tests::orm::diesel::entity::schema::{comment, vote};
use cachesweeper_tests::orm::diesel::entity::{Comment, NewVote};
use cachesweeper_tests::site::quick;
use diesel::connection::Connection as _;
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::bench::{Bench, each_database, raw_article, raw_comment, version, wait_until};

fn vote(comment: i64, voter: &str) -> NewVote {
    NewVote { comment_id: comment, voter: voter.into() }
}

/// An application's own error.
#[derive(Debug, PartialEq)]
enum Refused {
    Database(String),
    ByTheUser(u8),
}

impl From<DieselError> for Refused {
    fn from(error: DieselError) -> Self {
        Self::Database(error.to_string())
    }
}

each_database! {
    fn a_closure_s_value_and_its_own_error_come_back(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let sweeper = &bench.sweeper;
        bench.fill(Comment::key(c));
        let value: Result<usize, Refused> =
            sweeper.transaction(conn, |conn| Ok(sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))? + 6));
        assert_eq!(value, Ok(7));
        bench.is_gone("the comment", Comment::key(c));
        let refused: Result<(), Refused> = sweeper.transaction(conn, |conn| {
            sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob"))?;
            Err(Refused::ByTheUser(3))
        });
        assert_eq!(refused, Err(Refused::ByTheUser(3)));
        let rolled_back: QueryResult<()> = sweeper.transaction(conn, |conn| {
            sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob"))?;
            Err(DieselError::RollbackTransaction)
        });
        assert_eq!(rolled_back, Err(DieselError::RollbackTransaction));
        bench.survives("the comment", Comment::key(c));
        assert_eq!((vote::table.count().get_result(conn), sweeper.stats().sweeps), (Ok(1_i64), 1));
    }

    fn a_transaction_without_writes_does_not_ask_the_store(bench, conn) {
        let trips = bench.sweeper.stats().round_trips;
        let count: QueryResult<i64> = bench.sweeper.transaction(conn, |conn| comment::table.count().get_result(conn));
        assert_eq!((count, bench.sweeper.stats().round_trips - trips, bench.sweeper.stats().sweeps), (Ok(0), 0, 0));
    }

    fn a_savepoint_of_diesel_inside_is_kept_with_the_rest(bench, conn) {
        let a = raw_article(conn, "a");
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        let sweeper = &bench.sweeper;
        bench.sweeps(&[Comment::key(one), Comment::key(two)], &[], || {
            let (trips, sweeps) = (sweeper.stats().round_trips, sweeper.stats().sweeps);
            let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
                conn.transaction(|conn| sweeper.insert_and_sweep(conn, vote::table, vote(one, "ada")))?;
                conn.transaction(|conn| sweeper.transaction(conn, |conn| sweeper.insert_and_sweep(conn, vote::table, vote(two, "ada"))))?;
                Ok(())
            });
            done.expect("committed");
            assert_eq!((sweeper.stats().round_trips - trips, sweeper.stats().sweeps - sweeps), (2, 1));
        });
        assert_eq!(sweeper.stats().plain_writes, 0);
    }

    fn a_savepoint_of_diesel_that_is_rolled_back_is_swept_all_the_same_without_a_watcher(bench, conn) {
        let a = raw_article(conn, "a");
        let (kept, dropped) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        // Nobody tells the sweeper of the rollback. Too much is always allowed.
        bench.sweeps(&[Comment::key(kept), Comment::key(dropped)], &[], || mixed_savepoints(bench, conn, kept, dropped));
    }

    fn a_savepoint_of_diesel_that_is_rolled_back_is_dropped_with_a_watcher(bench, conn) {
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let a = raw_article(conn, "a");
        let (kept, dropped) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        for round in 0..2 {
            bench.sweeps(&[Comment::key(kept)], &[Comment::key(dropped)], || mixed_savepoints(bench, conn, kept, dropped));
            assert_eq!(diesel::delete(vote::table).execute(conn), Ok(2), "round {round}");
        }
    }

    fn savepoints_of_both_kinds_in_each_other_with_a_watcher(bench, conn) {
        let a = raw_article(conn, "a");
        let ids: Vec<i64> = (0..5).map(|_| raw_comment(conn, a, "x")).collect();
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let key = |position: usize| Comment::key(ids[position]);
        let sweeper = &bench.sweeper;
        bench.sweeps(&[key(0), key(4)], &[key(1), key(2), key(3)], || {
            let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
                sweeper.insert_and_sweep(conn, vote::table, vote(ids[0], "kept"))?;
                // Diesel's, with ours inside, which is kept in it and dropped with it.
                let dropped: QueryResult<()> = conn.transaction(|conn| {
                    sweeper.transaction(conn, |conn| sweeper.insert_and_sweep(conn, vote::table, vote(ids[1], "dropped")))?;
                    sweeper.insert_and_sweep(conn, vote::table, vote(ids[2], "dropped"))?;
                    Err(DieselError::RollbackTransaction)
                });
                assert_eq!(dropped, Err(DieselError::RollbackTransaction));
                // Ours, with Diesel's inside.
                let dropped: QueryResult<()> = sweeper.transaction(conn, |conn| {
                    conn.transaction(|conn| sweeper.insert_and_sweep(conn, vote::table, vote(ids[3], "dropped")))?;
                    Err(DieselError::RollbackTransaction)
                });
                assert_eq!(dropped, Err(DieselError::RollbackTransaction));
                conn.transaction(|conn| sweeper.insert_and_sweep(conn, vote::table, vote(ids[4], "kept")))?;
                Ok(())
            });
            done.expect("committed");
        });
        assert_eq!(vote::table.select(vote::comment_id).order(vote::id).load::<i64>(conn), Ok(vec![ids[0], ids[4]]));
        assert_eq!(sweeper.stats().writes_unswept, 0);
    }

    fn a_panic_inside_of_a_savepoint_that_is_caught_drops_its_part(bench, conn) {
        let a = raw_article(conn, "a");
        let (kept, dropped) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        let sweeper = &bench.sweeper;
        bench.sweeps(&[Comment::key(kept)], &[Comment::key(dropped)], || {
            let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    sweeper.transaction(conn, |conn| -> QueryResult<()> {
                        sweeper.insert_and_sweep(conn, vote::table, vote(dropped, "ada"))?;
                        panic!("on purpose");
                    })
                }));
                assert!(panicked.is_err());
                sweeper.insert_and_sweep(conn, vote::table, vote(kept, "ada"))?;
                Ok(())
            });
            done.expect("committed");
        });
        assert_eq!(vote::table.count().get_result(conn), Ok(1_i64));
    }

    fn wrappers_in_a_transaction_of_diesel_mark_at_once(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let (sweeper, before) = (&bench.sweeper, version(conn, a));
        bench.fill(Comment::key(c));
        let done: QueryResult<()> = conn.transaction(|conn| {
            sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))?;
            assert_eq!(sweeper.stats().plain_writes, 1);
            assert_eq!(bench.look(Comment::key(c)), "bypass", "held at once");
            // Ours inside of it ends before it does, so it is no better.
            sweeper.transaction(conn, |conn| sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob")))?;
            assert_eq!(sweeper.stats().plain_writes, 2);
            Ok(())
        });
        done.expect("committed");
        assert_eq!(bench.look(Comment::key(c)), "bypass", "nobody releases it");
        assert!(version(conn, a) > before);
        wait_until("the hold ends", || bench.look(Comment::key(c)) == "hit");
        assert_eq!(sweeper.stats().sweeps, 0);
    }

    fn a_transaction_of_diesel_that_is_rolled_back_leaves_only_a_hold(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let before = version(conn, a);
        bench.fill(Comment::key(c));
        let done: QueryResult<()> = conn.transaction(|conn| {
            bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))?;
            Err(DieselError::RollbackTransaction)
        });
        assert_eq!(done, Err(DieselError::RollbackTransaction));
        assert_eq!(version(conn, a), before, "the touch was rolled back with it");
        wait_until("the hold ends", || bench.look(Comment::key(c)) == "hit");
    }

    fn inside_of_a_test_transaction_it_is_as_if_there_was_none(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let sweeper = &bench.sweeper;
        conn.begin_test_transaction().expect("begun");
        bench.sweeps(&[Comment::key(c)], &[], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| assert_eq!(sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")), Ok(1)));
        });
        bench.sweeps(&[Comment::key(c)], &[], || {
            let trips = sweeper.stats().round_trips;
            let done: QueryResult<usize> = sweeper.transaction(conn, |conn| {
                sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob"))?;
                sweeper.update_and_sweep(conn, comment::table.find(c), comment::body.eq("tested"))
            });
            assert_eq!((done, sweeper.stats().round_trips - trips), (Ok(1), 2));
        });
        bench.sweeps(&[], &[Comment::key(c)], || {
            let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
                sweeper.insert_and_sweep(conn, vote::table, vote(c, "cyn"))?;
                Err(DieselError::RollbackTransaction)
            });
            assert_eq!(done, Err(DieselError::RollbackTransaction));
        });
        bench.sweeps(&[Comment::key(c)], &[], || {
            sweeper.invalidate_with(conn, Comment::key(c)).expect("by hand, too");
        });
        assert_eq!((sweeper.stats().plain_writes, vote::table.count().get_result(conn)), (0, Ok(2_i64)));
    }

    fn a_test_transaction_as_a_closure_is_a_plain_one(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        bench.fill(Comment::key(c));
        // Diesel does not mark it as one for tests. It works all the same: what is written inside is not served from the cache.
        let value = conn.test_transaction::<_, DieselError, _>(|conn| {
            bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))?;
            assert_eq!(bench.look(Comment::key(c)), "bypass");
            bench.sweeper.transaction(conn, |conn| bench.sweeper.delete_and_sweep(conn, vote::table))
        });
        assert_eq!((value, bench.sweeper.stats().plain_writes), (1, 2));
        assert_eq!(vote::table.count().get_result(conn), Ok(0_i64));
        wait_until("the hold ends", || bench.look(Comment::key(c)) == "hit");
        // It is over: the connection is in no transaction any more.
        bench.sweeps(&[Comment::key(c)], &[], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| assert_eq!(sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")), Ok(1)));
        });
    }

    fn a_plain_transaction_inside_of_a_test_transaction_is_plain(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        conn.begin_test_transaction().expect("begun");
        let done: QueryResult<usize> = conn.transaction(|conn| bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")));
        assert_eq!((done, bench.sweeper.stats().plain_writes), (Ok(1), 1));
    }

    fn a_connection_in_another_sweeper_s_transaction_is_refused(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let other = quick(Sweeper::builder()).memory(1 << 20).build().expect("a sweeper");
        let done: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
            for refused in [
                other.insert_and_sweep(conn, vote::table, vote(c, "ada")).map(|_| ()),
                other.update_and_sweep(conn, comment::table.find(c), comment::body.eq("no")).map(|_| ()),
                other.delete_and_sweep(conn, comment::table.find(c)).map(|_| ()),
                other.transaction(conn, |conn| bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))).map(|_| ()),
            ] {
                let refused = refused.expect_err("refused").to_string();
                assert!(refused.contains("transaction of another sweeper") && refused.contains("Nothing was written"), "{refused}");
            }
            // The transaction is good for more.
            assert_eq!(comment::table.find(c).select(comment::body).first::<String>(conn).as_deref(), Ok("x"));
            bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob"))?;
            Ok(())
        });
        done.expect("committed");
        assert_eq!(vote::table.select(vote::voter).load::<String>(conn), Ok(vec!["bob".into()]));
        // Afterwards the connection is nobody's.
        assert_eq!(other.insert_and_sweep(conn, vote::table, vote(c, "cyn")), Ok(1));
    }

    fn lookups_of_this_thread_alone_bypass(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        bench.fill(Comment::key(c));
        let done: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
            bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))?;
            assert_eq!(bench.look(Comment::key(c)), "bypass");
            let elsewhere = std::thread::scope(|threads| threads.spawn(|| bench.look(Comment::key(c))).join());
            assert_eq!(elsewhere.expect("no panic"), "hit");
            Err(DieselError::RollbackTransaction)
        });
        assert_eq!(done, Err(DieselError::RollbackTransaction));
        bench.survives("the comment, after the rollback", Comment::key(c));
    }

    [postgres]
    fn an_error_that_is_swallowed_ends_the_transaction_all_the_same(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        diesel::insert_into(vote::table).values(vote(c, "ada")).execute(conn).expect("a vote");
        bench.fill(Comment::key(c));
        let done: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
            bench.sweeper.update_and_sweep(conn, comment::table.find(c), comment::body.eq("changed"))?;
            // PostgreSQL refuses everything after this.
            bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")).expect_err("a duplicate");
            Ok(())
        });
        assert!(matches!(done, Err(DieselError::DatabaseError(..))), "{done:?}");
        bench.survives("the comment", Comment::key(c));
        assert_eq!(comment::table.find(c).select(comment::body).first::<String>(conn).as_deref(), Ok("x"));
        bench.sweeps(&[Comment::key(c)], &[], || {
            assert_eq!(bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob")), Ok(1));
        });
    }

    [sqlite mysql]
    fn an_error_that_is_swallowed_leaves_the_rest_to_be_swept(bench, conn) {
        let a = raw_article(conn, "a");
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        diesel::insert_into(vote::table).values(vote(two, "ada")).execute(conn).expect("a vote");
        bench.sweeps(&[Comment::key(one)], &[], || {
            let done: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
                bench.sweeper.update_and_sweep(conn, comment::table.find(one), comment::body.eq("changed"))?;
                bench.sweeper.insert_and_sweep(conn, vote::table, vote(two, "ada")).expect_err("a duplicate");
                Ok(())
            });
            done.expect("committed");
        });
    }

    [postgres]
    fn a_serialization_failure_is_passed_on(bench, conn) {
        use diesel::result::DatabaseErrorKind::SerializationFailure;
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let sweeper = &bench.sweeper;
        let other = &mut bench.connect::<PgConnection>();
        bench.fill(Comment::key(c));
        let serializable = |conn: &mut PgConnection| {
            diesel::sql_query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").execute(conn)?;
            vote::table.count().get_result::<i64>(conn)
        };
        let failed: QueryResult<()> = sweeper.transaction(conn, |conn| {
            let seen = serializable(conn)?;
            // Another writes what this one has read past.
            sweeper.transaction(other, |other| {
                let seen = serializable(other)?;
                sweeper.insert_and_sweep(other, vote::table, vote(c, &format!("after {seen}")))
            })?;
            bench.is_gone("the comment, after the other's commit", Comment::key(c));
            sweeper.insert_and_sweep(conn, vote::table, vote(c, &format!("also after {seen}")))?;
            Ok(())
        });
        assert!(matches!(&failed, Err(DieselError::DatabaseError(SerializationFailure, _))), "{failed:?}");
        bench.survives("the comment: nothing was held or swept", Comment::key(c));
        let again: QueryResult<usize> = sweeper.transaction(conn, |conn| sweeper.insert_and_sweep(conn, vote::table, vote(c, "again")));
        assert_eq!((again, vote::table.count().get_result(conn)), (Ok(1), Ok(2_i64)));
        bench.is_gone("the comment", Comment::key(c));
        assert_eq!(sweeper.stats().commits_unknown, 0);
    }
}

/// A vote in a savepoint that is kept, and one in a savepoint that is rolled back; both savepoints are Diesel's.
fn mixed_savepoints<C>(bench: &Bench, conn: &mut C, kept: i64, dropped: i64)
where
    C: Votes,
{
    let sweeper = &bench.sweeper;
    let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
        conn.transaction(|conn| conn.vote(sweeper, kept, "ada"))?;
        let rolled_back: QueryResult<()> = conn.transaction(|conn| {
            conn.vote(sweeper, dropped, "ada")?;
            Err(DieselError::RollbackTransaction)
        });
        assert_eq!(rolled_back, Err(DieselError::RollbackTransaction));
        conn.transaction(|conn| conn.vote(sweeper, kept, "bob"))?;
        Ok(())
    });
    done.expect("committed");
}

/// Connections that can vote.
trait Votes: cachesweeper_diesel::SweepConn {
    fn vote(&mut self, sweeper: &Sweeper, comment: i64, voter: &str) -> QueryResult<usize>;
}

macro_rules! votes {
    ($($type:ty),*) => {$(
        impl Votes for $type {
            fn vote(&mut self, sweeper: &Sweeper, comment: i64, voter: &str) -> QueryResult<usize> {
                sweeper.insert_and_sweep(self, vote::table, vote(comment, voter))
            }
        }
    )*};
}

votes!(SqliteConnection, PgConnection, MysqlConnection);
