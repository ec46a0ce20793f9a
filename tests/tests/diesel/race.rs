//! Two connections that race on one parent with a timestamp: its versions rise strictly, nobody waits for ever, and nobody is
//! refused.
//!
//! The database itself writes down every version, by a trigger, so that none is missed between two reads.

use std::time::Instant;

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::Backend;
use cachesweeper_tests::orm::diesel::entity::NewComment;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment, version};

/// Rounds of each connection; `CACHESWEEPER_TEST_ROUNDS` for more of them.
const ROUNDS: usize = 500;

diesel::table! {
    stamp (id) {
        id -> BigInt,
        at -> Timestamp,
    }
}

fn trigger(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => {
            "CREATE TABLE stamp (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL);
             CREATE TRIGGER stamps AFTER UPDATE ON article BEGIN INSERT INTO stamp (at) VALUES (NEW.updated_at); END"
        }
        Backend::Postgres => {
            "CREATE TABLE stamp (id BIGSERIAL PRIMARY KEY, at TIMESTAMP NOT NULL);
             CREATE FUNCTION stamps() RETURNS trigger AS $$
             BEGIN INSERT INTO stamp (at) VALUES (NEW.updated_at); RETURN NEW; END $$ LANGUAGE plpgsql;
             CREATE TRIGGER stamps AFTER UPDATE ON article FOR EACH ROW EXECUTE FUNCTION stamps()"
        }
        Backend::MySql => {
            "CREATE TABLE stamp (id BIGINT AUTO_INCREMENT PRIMARY KEY, at DATETIME(6) NOT NULL);
             CREATE TRIGGER stamps AFTER UPDATE ON article FOR EACH ROW INSERT INTO stamp (at) VALUES (NEW.updated_at)"
        }
    }
}

each_database! {
    fn on_one_parent(bench, conn) {
        let rounds = std::env::var("CACHESWEEPER_TEST_ROUNDS").ok().map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
        bench.database.run(trigger(bench.database.backend));
        let a = raw_article(conn, "a");
        let ids = [raw_comment(conn, a, "x"), raw_comment(conn, a, "y")];
        let mut writers = [bench.connect::<Conn>(), bench.connect::<Conn>()];
        let (began, sweeper) = (Instant::now(), &bench.sweeper);
        std::thread::scope(|threads| {
            for (writer, own) in writers.iter_mut().enumerate() {
                threads.spawn(move || {
                    for round in 0..rounds {
                        let told = |written: QueryResult<usize>| {
                            let rows = written.unwrap_or_else(|error| panic!("writer {writer}, round {round}: {error:?}"));
                            assert_eq!(rows, 1, "writer {writer}, round {round}");
                        };
                        match round % 4 {
                            0 => told(sweeper.insert_and_sweep(own, comment::table, NewComment::below(Some(a), None))),
                            1 => {
                                told(sweeper.update_and_sweep(own, comment::table.find(ids[writer]), comment::body.eq(format!("{round}"))))
                            }
                            2 => {
                                told(sweeper.update_and_sweep(own, article::table.find(a), article::title.eq(format!("{writer} {round}"))))
                            }
                            _ => told(sweeper.transaction(own, |own| {
                                sweeper.insert_and_sweep(own, comment::table, NewComment::below(Some(a), None))?;
                                sweeper.update_and_sweep(own, comment::table.find(ids[writer]), comment::body.eq("in one"))
                            })),
                        }
                    }
                });
            }
        });
        let took = began.elapsed();
        let stamps: Vec<NaiveDateTime> = stamp::table.order(stamp::id).select(stamp::at).load(conn).expect("the versions");
        assert_eq!(stamps.len(), 2 * rounds, "one version per write");
        for (position, pair) in stamps.windows(2).enumerate() {
            assert!(pair[1] > pair[0], "version {position}: {} after {}", pair[1], pair[0]);
        }
        assert_eq!(stamps.last(), Some(&version(conn, a)));
        println!("{:?}: {} writes in {took:?}, no error, strictly rising", bench.database.backend, 2 * rounds);
    }

    fn that_move_rows_between_two_parents_in_opposite_directions(bench, conn) {
        let articles = [raw_article(conn, "a"), raw_article(conn, "b")];
        let ids = articles.map(|article| raw_comment(conn, article, "x"));
        let sweeper = &bench.sweeper;
        std::thread::scope(|threads| {
            for writer in 0..2 {
                threads.spawn(move || {
                    let own = &mut bench.connect::<Conn>();
                    for round in 0..100 {
                        let before = articles.map(|id| version(own, id));
                        let target = articles[(writer + round + 1) % 2];
                        let moved = sweeper.update_and_sweep(own, comment::table.find(ids[writer]), comment::article_id.eq(target));
                        assert_eq!(moved, Ok(1), "writer {writer}, round {round}");
                        for (id, before) in articles.into_iter().zip(before) {
                            assert!(version(own, id) > before, "writer {writer}, round {round}: article {id}");
                        }
                    }
                });
            }
        });
        assert_eq!(sweeper.stats().sweeps, 200);
    }
}
