//! Upserts: on PostgreSQL and SQLite. A row that an upsert moves has old parents too.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, vote};
use cachesweeper_tests::orm::diesel::entity::{Article, Comment, Vote};
use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl;
use diesel::upsert::excluded;

use crate::bench::{each_database, raw_article, raw_comment, version};

/// A comment with its key.
#[derive(Clone, Debug, Insertable, AsChangeset)]
#[diesel(table_name = comment)]
struct Row {
    id: i64,
    article_id: i64,
    body: String,
    views: i32,
}

fn row(id: i64, article_id: i64, body: &str) -> Row {
    Row { id, article_id, body: body.into(), views: 0 }
}

fn article(id: i64, title: &str) -> Article {
    Article { id, title: title.into(), views: 0, updated_at: chrono::DateTime::UNIX_EPOCH.naive_utc() }
}

/// An article as values.
macro_rules! values {
    ($article:expr) => {{
        let row = $article;
        (article::id.eq(row.id), article::title.eq(row.title), article::views.eq(row.views), article::updated_at.eq(row.updated_at))
    }};
}

each_database! {
    [sqlite postgres]
    fn that_do_nothing(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        bench.sweeps(&[], &[Comment::key(one)], || {
            bench.touches(conn, &[], &[a, b], |sweeper, conn| {
                let statement = diesel::insert_into(comment::table).values(row(one, b, "y")).on_conflict(comment::id).do_nothing();
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(0));
            });
        });
        bench.sweeps(&[Comment::key(one + 1)], &[Comment::key(one)], || {
            bench.touches(conn, &[b], &[a], |sweeper, conn| {
                let statement = diesel::insert_into(comment::table).values(row(one + 1, b, "y")).on_conflict_do_nothing();
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
        });
        assert_eq!(comment::table.order(comment::id).select(comment::article_id).load(conn), Ok(vec![Some(a), Some(b)]));
    }

    [postgres]
    fn that_do_nothing_with_some_rows(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            // Of several, one is there already.
            let rows = vec![
                (comment::id.eq(one), comment::article_id.eq(b), comment::body.eq("n"), comment::views.eq(0)),
                (comment::id.eq(one + 2), comment::article_id.eq(a), comment::body.eq("n"), comment::views.eq(0)),
            ];
            let statement = diesel::insert_into(comment::table).values(rows).on_conflict(comment::id).do_nothing();
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.touches(conn, &[b], &[a], |sweeper, conn| {
            let rows = vec![row(one, a, "n"), row(one + 1, b, "n")];
            let statement = diesel::insert_into(comment::table).values(&rows).on_conflict(comment::id).do_nothing();
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        assert_eq!(comment::table.count().get_result(conn), Ok(3_i64));
    }

    [sqlite postgres]
    fn that_update_and_leave_the_row_where_it_is(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        bench.sweeps(&[Comment::key(one)], &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let statement = diesel::insert_into(comment::table)
                    .values(row(one, b, "y"))
                    .on_conflict(comment::id)
                    .do_update()
                    .set(comment::body.eq(excluded(comment::body)));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
        });
        // The same statement inserts, if there is none.
        bench.sweeps(&[Comment::key(900)], &[Comment::key(one)], || {
            bench.touches(conn, &[b], &[a], |sweeper, conn| {
                let statement = diesel::insert_into(comment::table)
                    .values(row(900, b, "new"))
                    .on_conflict(comment::id)
                    .do_update()
                    .set(comment::body.eq(excluded(comment::body)));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
        });
        assert_eq!(comment::table.find(one).select((comment::body, comment::article_id)).first(conn), Ok(("y".to_owned(), Some(a))));
    }

    [sqlite postgres]
    fn that_move_the_row(bench, conn) {
        let (a, b, c) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"));
        let one = raw_comment(conn, a, "x");
        bench.sweeps(&[Comment::key(one)], &[], || {
            bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
                let statement = diesel::insert_into(comment::table)
                    .values(row(one, b, "y"))
                    .on_conflict(comment::id)
                    .do_update()
                    .set((comment::article_id.eq(excluded(comment::article_id)), comment::body.eq("moved")));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
        });
        bench.touches(conn, &[b, c], &[a], |sweeper, conn| {
            let moved = row(one, c, "whole");
            let statement = diesel::insert_into(comment::table).values(&moved).on_conflict(comment::id).do_update().set(&moved);
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.touches(conn, &[a, c], &[b], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table)
                .values(row(one, b, "not where it says"))
                .on_conflict(comment::id)
                .do_update()
                .set(comment::article_id.eq(a))
                .returning((comment::id, comment::article_id));
            assert_eq!(statement.get_result_and_sweep(sweeper, conn), Ok((one, Some(a))));
        });
        // New rows have no old parents.
        bench.touches(conn, &[b], &[a, c], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table)
                .values(row(950, b, "new"))
                .on_conflict(comment::id)
                .do_update()
                .set(comment::article_id.eq(c));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        assert_eq!(comment::table.find(one).select(comment::article_id).first(conn), Ok(Some(a)));
    }

    [postgres]
    fn of_several_rows_some_of_which_move(bench, conn) {
        let (a, b, c, d) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"), raw_article(conn, "d"));
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "y"));
        let keys = [Comment::key(one), Comment::key(two), Comment::key(700)];
        bench.sweeps(&keys, &[], || {
            bench.touches(conn, &[a, b, c], &[d], |sweeper, conn| {
                let tuple = |id: i64, article: i64| {
                    (comment::id.eq(id), comment::article_id.eq(article), comment::body.eq("batch"), comment::views.eq(0))
                };
                let statement = diesel::insert_into(comment::table)
                    .values(vec![tuple(one, c), tuple(two, c), tuple(700, c)])
                    .on_conflict(comment::id)
                    .do_update()
                    .set((comment::article_id.eq(excluded(comment::article_id)), comment::body.eq(excluded(comment::body))));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(3));
            });
        });
        assert_eq!(comment::table.select(comment::article_id).load(conn), Ok(vec![Some(c); 3]));
        bench.touches(conn, &[c, d], &[a, b], |sweeper, conn| {
            let rows = vec![row(one, d, "rows"), row(two, c, "rows")];
            let statement = diesel::insert_into(comment::table)
                .values(&rows)
                .on_conflict(comment::id)
                .do_update()
                .set((comment::article_id.eq(excluded(comment::article_id)), comment::body.eq(excluded(comment::body))));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(2), "rows that might leave columns out");
        });
    }

    [sqlite postgres]
    fn on_other_columns_than_the_key(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        diesel::insert_into(vote::table).values((vote::comment_id.eq(one), vote::voter.eq("ada"))).execute(conn).expect("a vote");
        let ada: Vote = vote::table.first(conn).expect("the vote");
        bench.sweeps(&[ada.record_key(), Comment::key(one)], &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let statement = diesel::insert_into(vote::table)
                    .values((vote::comment_id.eq(one), vote::voter.eq("ada")))
                    .on_conflict((vote::comment_id, vote::voter))
                    .do_update()
                    .set(vote::voter.eq("bob"));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
        });
        bench.sweeps(&[ada.record_key(), Comment::key(one), Comment::key(other)], &[], || {
            bench.touches(conn, &[a, b], &[], |sweeper, conn| {
                let statement = diesel::insert_into(vote::table)
                    .values((vote::comment_id.eq(one), vote::voter.eq("bob")))
                    .on_conflict((vote::comment_id, vote::voter))
                    .do_update()
                    .set(vote::comment_id.eq(other));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1), "it moves");
            });
        });
        assert_eq!(vote::table.select(vote::comment_id).load(conn), Ok(vec![other]));
    }

    [sqlite postgres]
    fn with_a_condition_of_their_own(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table)
                .values(row(one, b, "y"))
                .on_conflict(comment::id)
                .do_update()
                .set((comment::article_id.eq(excluded(comment::article_id)), comment::body.eq("' WHERE ")));
            let statement = FilterDsl::filter(statement, comment::body.eq("x"));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.touches(conn, &[], &[a, b], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table)
                .values((comment::id.eq(one), comment::article_id.eq(a), comment::body.eq("z"), comment::views.eq(0)))
                .on_conflict(comment::id)
                .do_update()
                .set(comment::body.eq("not this"));
            let statement = FilterDsl::filter(statement, comment::body.eq("another"));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(0), "the condition is not met");
        });
        assert_eq!(comment::table.find(one).select(comment::body).first::<String>(conn).as_deref(), Ok("' WHERE "));
    }

    [sqlite postgres]
    fn of_a_timestamp_row(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        for round in 0..3 {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let statement = diesel::insert_into(article::table)
                    .values(values!(article(a, "t")))
                    .on_conflict(article::id)
                    .do_update()
                    .set(article::title.eq(format!("{round}")));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
            });
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let statement = diesel::insert_into(article::table)
                    .values(values!(article(a, "t")))
                    .on_conflict(article::id)
                    .do_update()
                    .set((article::title.eq("t"), article::updated_at.eq(excluded(article::updated_at))));
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1), "the version it would set lies in the past");
            });
        }
        let began = chrono::Utc::now().naive_utc() - chrono::Duration::seconds(60);
        let statement = diesel::insert_into(article::table)
            .values(values!(article(800, "new")))
            .on_conflict(article::id)
            .do_update()
            .set(article::title.eq("there"));
        assert_eq!(statement.execute_and_sweep(&bench.sweeper, conn), Ok(1));
        assert!(version(conn, 800) > began);
        assert_eq!(article::table.find(800).select(article::title).first::<String>(conn).as_deref(), Ok("new"));
    }

    [sqlite postgres]
    fn of_skipped_columns(bench, conn) {
        let a = raw_article(conn, "a");
        let one = raw_comment(conn, a, "x");
        let statement = || {
            diesel::insert_into(comment::table)
                .values(row(one, a, "not taken"))
                .on_conflict(comment::id)
                .do_update()
                .set(comment::views.eq(comment::views + 1))
        };
        // It could also have been an insert. Too much is always allowed.
        assert_eq!(statement().execute_and_sweep(&bench.sweeper, conn), Ok(1));
        assert_eq!(comment::table.find(one).select((comment::body, comment::views)).first(conn), Ok(("x".to_owned(), 1)));
    }

    [sqlite]
    fn what_watches_moves_is_gone_afterwards(bench, conn) {
        use diesel::connection::SimpleConnection as _;
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        let moving = |target: i64| {
            let values = row(one, target, "y");
            diesel::insert_into(comment::table).values(values).on_conflict(comment::id).do_update().set(comment::article_id.eq(target))
        };
        bench.touches(conn, &[a, b], &[], |sweeper, conn| assert_eq!(moving(b).execute_and_sweep(sweeper, conn), Ok(1)));
        let left = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT count(*) FROM temp.sqlite_master WHERE type = 'trigger'");
        assert_eq!(left.get_result::<i64>(conn), Ok(0));
        // Also after one that fails.
        conn.batch_execute("CREATE TRIGGER no BEFORE UPDATE ON comment WHEN NEW.article_id = 0 BEGIN SELECT RAISE(ABORT, 'no'); END")
            .expect("a trigger");
        moving(0).execute_and_sweep(&bench.sweeper, conn).expect_err("refused by the trigger");
        let left = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT count(*) FROM temp.sqlite_master WHERE type = 'trigger'");
        assert_eq!(left.get_result::<i64>(conn), Ok(0));
        bench.touches(conn, &[a, b], &[], |sweeper, conn| assert_eq!(moving(a).execute_and_sweep(sweeper, conn), Ok(1)));
        bench
            .sweeper
            .transaction(conn, |conn| {
                moving(0).execute_and_sweep(&bench.sweeper, conn).expect_err("refused by the trigger");
                moving(b).execute_and_sweep(&bench.sweeper, conn)
            })
            .expect("committed");
        assert_eq!(comment::table.find(one).select(comment::article_id).first(conn), Ok(Some(b)));
    }

    [postgres]
    fn by_the_name_of_a_constraint(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        let pkey = diesel::upsert::on_constraint("comment_pkey");
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let statement =
                diesel::insert_into(comment::table).values(row(one, b, "y")).on_conflict(pkey).do_update().set(comment::body.eq("there"));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        // Which rows are in the way is not told by a constraint's name, so where they were is not either.
        let moving =
            diesel::insert_into(comment::table).values(row(one, b, "y")).on_conflict(pkey).do_update().set(comment::article_id.eq(b));
        let refused = moving.execute_and_sweep(&bench.sweeper, conn).expect_err("refused").to_string();
        assert!(refused.contains("Nothing was written") && refused.contains("name its conflict's columns"), "{refused}");
        assert_eq!(comment::table.find(one).select(comment::article_id).first(conn), Ok(Some(a)));
    }

    [postgres]
    fn of_a_row_that_another_made_in_the_same_moment(bench, conn) {
        // Two upserts that race: one may be refused and says so, but whatever was written was swept with both parents.
        let articles = [raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c")];
        for round in 0..20_i64 {
            let id = 1_000 + round;
            let before: Vec<_> = articles.iter().map(|&id| version(conn, id)).collect();
            let results: Vec<_> = std::thread::scope(|threads| {
                let racers: Vec<_> = (0..2)
                    .map(|racer| {
                        let article = articles[racer];
                        threads.spawn(move || {
                            let conn = &mut bench.connect::<PgConnection>();
                            let statement = diesel::insert_into(comment::table)
                                .values(row(id, article, "race"))
                                .on_conflict(comment::id)
                                .do_update()
                                .set(comment::article_id.eq(excluded(comment::article_id)));
                            statement.execute_and_sweep(&bench.sweeper, conn).map_err(|error| error.to_string())
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
            });
            for (racer, result) in results.iter().enumerate() {
                match result {
                    Ok(rows) => {
                        assert_eq!(*rows, 1);
                        assert!(version(conn, articles[racer]) > before[racer], "round {round}, racer {racer}");
                    }
                    Err(error) => assert!(error.contains("Try again"), "{error}"),
                }
            }
            assert!(results.iter().any(Result::is_ok), "{results:?}");
            assert_eq!(version(conn, articles[2]), before[2]);
        }
    }
}
