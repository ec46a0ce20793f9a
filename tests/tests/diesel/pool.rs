//! Pooled connections, and several threads that write and read through them.

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{Sweeper, Watcher};
use cachesweeper_tests::orm::diesel::entity::schema::{comment, vote};
use cachesweeper_tests::orm::diesel::entity::{Comment, NewVote};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool, R2D2Connection};

use crate::bench::{each_database, raw_article, raw_comment, version};

/// Sets each connection of a pool up.
#[derive(Debug)]
struct SetUp {
    sweeper: Sweeper,
    sqlite: bool,
}

impl<C: R2D2Connection + SimpleConnection> CustomizeConnection<C, diesel::r2d2::Error> for SetUp {
    fn on_acquire(&self, conn: &mut C) -> Result<(), diesel::r2d2::Error> {
        if self.sqlite {
            conn.batch_execute("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF").map_err(diesel::r2d2::Error::QueryError)?;
        }
        conn.set_instrumentation(Watcher::new(&self.sweeper));
        Ok(())
    }
}

fn pool<C: R2D2Connection + SimpleConnection + 'static>(bench: &crate::bench::Bench, size: u32) -> Pool<ConnectionManager<C>> {
    let set_up = SetUp { sweeper: bench.sweeper.clone(), sqlite: bench.database.backend == cachesweeper_tests::Backend::Sqlite };
    let builder = Pool::builder().max_size(size).connection_customizer(Box::new(set_up));
    builder.build(ConnectionManager::new(bench.database.diesel_url())).expect("a pool")
}

fn vote(comment: i64, voter: String) -> NewVote {
    NewVote { comment_id: comment, voter }
}

each_database! {
    fn threads_that_write_and_read_never_see_old_fragments(bench, conn) {
        const WRITERS: usize = 4;
        const ROUNDS: usize = 25;
        let a = raw_article(conn, "a");
        let ids: Vec<i64> = (0..2).map(|_| raw_comment(conn, a, "x")).collect();
        let pool = pool::<Conn>(bench, 4);
        let sweeper = &bench.sweeper;
        let before = version(conn, a);
        std::thread::scope(|threads| {
            for number in 0..WRITERS {
                let (pool, ids) = (pool.clone(), &ids);
                threads.spawn(move || {
                    for round in 0..ROUNDS {
                        let c = ids[round % ids.len()];
                        let voter = |which: &str| vote(c, format!("{which} {number} {round}"));
                        let mut pooled = pool.get().expect("a connection");
                        let conn = &mut pooled;
                        if round % 5 == 0 {
                            let done: QueryResult<usize> = sweeper.transaction(conn, |conn| {
                                sweeper.insert_and_sweep(conn, vote::table, voter("in"))?;
                                // The connection inside of the pooled one is in the same transaction.
                                sweeper.update_and_sweep(&mut **conn, comment::table.find(c), comment::body.eq(format!("{number} {round}")))
                            });
                            assert_eq!(done, Ok(1));
                        } else {
                            assert_eq!(sweeper.insert_and_sweep(conn, vote::table, voter("out")), Ok(1));
                        }
                        // Not fewer votes than there were when the fragment was asked for.
                        let count =
                            |conn: &mut _| vote::table.filter(vote::comment_id.eq(c)).count().get_result::<i64>(conn).expect("a count");
                        let there = count(conn);
                        let shown = sweeper.fragment(Comment::key(c), "votes").get_or_render(|| QueryResult::Ok(count(conn).to_string()));
                        let shown: i64 = shown.expect("rendered").parse().expect("a number");
                        assert!(shown >= there, "{shown} shown, {there} there");
                    }
                });
            }
        });
        assert_eq!(vote::table.count().get_result(conn), Ok(i64::try_from(WRITERS * ROUNDS).expect("few")));
        assert!(version(conn, a) > before);
        let stats = sweeper.stats();
        assert_eq!((stats.plain_writes, stats.writes_unswept, stats.sweeps), (0, 0, (WRITERS * ROUNDS) as u64));
        bench.fill(Comment::key(ids[0]));
    }

    fn a_pooled_connection_is_good_for_more_after_errors_and_panics(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let pool = pool::<Conn>(bench, 1);
        let sweeper = &bench.sweeper;
        for round in 0..3 {
            let failed: QueryResult<()> = sweeper.transaction(&mut pool.get().expect("a connection"), |conn| {
                sweeper.insert_and_sweep(conn, vote::table, vote(c, format!("dropped {round}")))?;
                Err(diesel::result::Error::RollbackTransaction)
            });
            assert_eq!(failed, Err(diesel::result::Error::RollbackTransaction));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                sweeper.transaction(&mut pool.get().expect("a connection"), |conn| -> QueryResult<()> {
                    sweeper.insert_and_sweep(conn, vote::table, vote(c, format!("dropped {round}")))?;
                    panic!("on purpose");
                })
            }));
            assert!(panicked.is_err());
            bench.sweeps(&[Comment::key(c)], &[], || {
                // The pool has but one, so it is the same.
                let conn = &mut pool.get().expect("a connection");
                assert_eq!(sweeper.insert_and_sweep(conn, vote::table, vote(c, format!("kept {round}"))), Ok(1));
            });
        }
        assert_eq!((vote::table.count().get_result(conn), sweeper.stats().plain_writes), (Ok(3_i64), 0));
    }
}
