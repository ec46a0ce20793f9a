//! The watcher: writes that no wrapper made are reported once, and counted each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cachesweeper_diesel::Watcher;
use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, label, tag, vote};
use cachesweeper_tests::orm::diesel::entity::{Comment, NewComment, NewVote};
use diesel::connection::{Connection as _, InstrumentationEvent, SimpleConnection as _};
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment};
use crate::logs;

/// What is reported while `f` runs, on this thread.
fn reported(f: impl FnOnce()) -> Vec<String> {
    logs::capture(f).lines().filter(|line| line.contains("past the wrappers")).map(ToOwned::to_owned).collect()
}

diesel::table! {
    stranger (id) {
        id -> BigInt,
        note -> Text,
    }
}

each_database! {
    fn raw_writes_are_reported_once_per_statement_and_counted_each_time(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let lines = reported(|| {
            for round in 0..3 {
                // The same statement, with other values.
                diesel::update(comment::table.find(c)).set(comment::body.eq(format!("{round}"))).execute(conn).expect("updated");
            }
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        for part in ["comment", "update_and_sweep", "execute_and_sweep", "UPDATE"] {
            assert!(lines[0].contains(part), "{part} is not in: {}", lines[0]);
        }
        assert_eq!(bench.sweeper.stats().writes_unswept, 3);
        let lines = reported(|| {
            diesel::insert_into(comment::table).values(NewComment::below(Some(a), None)).execute(conn).expect("inserted");
            diesel::delete(comment::table.filter(comment::body.eq("first"))).execute(conn).expect("deleted");
            diesel::sql_query("UPDATE comment SET views = 1").execute(conn).expect("by hand");
            conn.batch_execute("update article set views = 2").expect("by hand");
        });
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].contains("insert_and_sweep") && lines[1].contains("delete_and_sweep"), "{lines:#?}");
        assert_eq!(bench.sweeper.stats().writes_unswept, 7);
    }

    fn all_connections_of_a_sweeper_report_a_statement_once(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let update = |conn: &mut Conn| diesel::update(comment::table.find(c)).set(comment::body.eq("y")).execute(conn).expect("updated");
        let other = &mut bench.connect_with::<Conn>(Watcher::new(&bench.sweeper));
        let lines = reported(|| {
            update(conn);
            update(other);
        });
        assert_eq!((lines.len(), bench.sweeper.stats().writes_unswept), (1, 2), "{lines:#?}");
    }

    fn wrappers_are_never_reported(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let c = raw_comment(conn, a, "x");
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let sweeper = &bench.sweeper;
        let lines = reported(|| {
            sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(a), None)).expect("one");
            let few: Vec<_> = (0..3).map(|_| NewComment::below(Some(a), None)).collect();
            sweeper.insert_and_sweep(conn, comment::table, &few).expect("several");
            // A statement so long that its end is not kept.
            let many: Vec<_> = (0..1_000).map(|_| (comment::article_id.eq(a), comment::body.eq("many"), comment::views.eq(0))).collect();
            sweeper.insert_and_sweep(conn, comment::table, &many).expect("many");
            sweeper.update_and_sweep(conn, comment::table, comment::body.eq("all")).expect("an update");
            sweeper.update_and_sweep(conn, comment::table.filter(comment::body.eq("all")), comment::article_id.eq(b)).expect("a move");
            sweeper.update_and_sweep(conn, comment::table.find(c), comment::views.eq(1)).expect("a skipped column");
            sweeper.update_and_sweep(conn, article::table, article::title.eq("all")).expect("a timestamp row");
            sweeper.insert_and_sweep(conn, vote::table, NewVote { comment_id: c, voter: "ada".into() }).expect("a vote");
            let row: Comment = comment::table.find(c).first(conn).expect("the comment");
            row.save_changes_and_sweep::<_, Comment, _>(sweeper, conn).expect("saved");
            sweeper
                .transaction(conn, |conn| {
                    sweeper.insert_and_sweep(conn, tag::table, (tag::name.eq("t"), tag::note.eq("")))?;
                    sweeper.insert_and_sweep(
                        conn,
                        label::table,
                        (label::article_id.eq(a), label::tag_name.eq("t"), label::weight.eq(1)),
                    )?;
                    conn.transaction(|conn| sweeper.update_and_sweep(conn, label::table, label::weight.eq(2)))
                })
                .expect("committed");
            sweeper.delete_and_sweep(conn, comment::table.filter(comment::id.ne(c))).expect("deleted");
            sweeper.invalidate_with(conn, &row).expect("by hand");
        });
        assert_eq!((lines, sweeper.stats().writes_unswept), (Vec::<String>::new(), 0));
    }

    [sqlite postgres]
    fn upserts_are_never_reported(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let c = raw_comment(conn, a, "x");
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let row = || (comment::id.eq(c), comment::article_id.eq(b), comment::body.eq("u"), comment::views.eq(0));
        let lines = reported(|| {
            let upsert =
                diesel::insert_into(comment::table).values(row()).on_conflict(comment::id).do_update().set(comment::article_id.eq(b));
            upsert.execute_and_sweep(&bench.sweeper, conn).expect("moved");
            diesel::insert_into(comment::table)
                .values(row())
                .on_conflict_do_nothing()
                .execute_and_sweep(&bench.sweeper, conn)
                .expect("nothing");
            let rows: Vec<Comment> =
                diesel::update(comment::table).set(comment::body.eq("r")).get_results_and_sweep(&bench.sweeper, conn).expect("rows");
            assert_eq!(rows.len(), 1);
            diesel::insert_into(comment::table)
                .values(NewComment::below(Some(a), None))
                .returning(comment::id)
                .get_result_and_sweep::<_, i64, _>(&bench.sweeper, conn)
                .expect("a row");
        });
        assert_eq!((lines, bench.sweeper.stats().writes_unswept), (Vec::<String>::new(), 0));
    }

    fn tables_that_are_not_registered_and_reads_are_not_reported(bench, conn) {
        bench.database.run("CREATE TABLE stranger (id BIGINT PRIMARY KEY, note VARCHAR(100) NOT NULL)");
        let a = raw_article(conn, "a");
        raw_comment(conn, a, "x");
        conn.set_instrumentation(Watcher::new(&bench.sweeper));
        let lines = reported(|| {
            diesel::insert_into(stranger::table)
                .values((stranger::id.eq(1), stranger::note.eq("UPDATE comment SET")))
                .execute(conn)
                .expect("inserted");
            diesel::update(stranger::table).set(stranger::note.eq("n")).execute(conn).expect("updated");
            diesel::delete(stranger::table).execute(conn).expect("deleted");
            comment::table.load::<Comment>(conn).expect("the comments");
            conn.transaction(|conn| comment::table.count().get_result::<i64>(conn)).expect("counted");
        });
        assert_eq!((lines, bench.sweeper.stats().writes_unswept), (Vec::<String>::new(), 0));
    }

    fn an_instrumentation_of_the_user_s_own_sees_every_event(bench, conn) {
        let a = raw_article(conn, "a");
        // The same work, watched by the user's alone, and by both.
        let events = |conn: &mut Conn, with_watcher: bool| {
            let events = Arc::new(AtomicUsize::new(0));
            let count = events.clone();
            let yours = move |event: InstrumentationEvent<'_>| {
                let _ = format!("{event:?}");
                count.fetch_add(1, Ordering::SeqCst);
            };
            set(conn, with_watcher.then_some(&bench.sweeper), yours);
            let done: QueryResult<()> = bench.sweeper.transaction(conn, |conn| {
                bench.sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(a), None))?;
                let dropped: QueryResult<()> = conn.transaction(|conn| {
                    diesel::update(comment::table).set(comment::body.eq("y")).execute(conn)?;
                    Err(diesel::result::Error::RollbackTransaction)
                });
                assert!(dropped.is_err());
                Ok(())
            });
            done.expect("committed");
            events.load(Ordering::SeqCst)
        };
        fn set<C: diesel::connection::Connection>(
            conn: &mut C,
            watched: Option<&cachesweeper_diesel::Sweeper>,
            yours: impl diesel::connection::Instrumentation,
        ) {
            match watched {
                Some(sweeper) => conn.set_instrumentation(Watcher::with(sweeper, yours)),
                None => conn.set_instrumentation(yours),
            }
        }
        // Once before, so that both find the statements prepared.
        events(conn, false);
        let alone = events(conn, false);
        assert!(alone > 10, "{alone} events");
        assert_eq!(events(conn, true), alone);
        assert_eq!(bench.sweeper.stats().writes_unswept, 1, "the raw update");
    }
}
