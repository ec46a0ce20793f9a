//! PostgreSQL's trigger of `diesel setup`, `diesel_manage_updated_at`: it and the sweeper write the same column.

use std::collections::HashSet;

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use cachesweeper_tests::orm::diesel::entity::{Article, NewArticle, NewComment};
use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment, version};

/// What `diesel setup` puts into a project's first migration.
const SETUP: &str = "
    CREATE OR REPLACE FUNCTION diesel_manage_updated_at(_tbl regclass) RETURNS VOID AS $$
    BEGIN
        EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON %s
                        FOR EACH ROW EXECUTE PROCEDURE diesel_set_updated_at()', _tbl);
    END;
    $$ LANGUAGE plpgsql;

    CREATE OR REPLACE FUNCTION diesel_set_updated_at() RETURNS trigger AS $$
    BEGIN
        IF (
            NEW IS DISTINCT FROM OLD AND
            NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at
        ) THEN
            NEW.updated_at := current_timestamp;
        END IF;
        RETURN NEW;
    END;
    $$ LANGUAGE plpgsql;

    SELECT diesel_manage_updated_at('article');
";

each_database! {
    [postgres]
    fn wrappers_and_touches_rise_strictly_beside_it(bench, conn) {
        bench.database.run(SETUP);
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let sweeper = &bench.sweeper;
        let mut seen: HashSet<NaiveDateTime> = HashSet::from([version(conn, a)]);
        for round in 0..20 {
            for kind in 0..4 {
                bench.touches(conn, &[a], &[], |sweeper, conn| {
                    let written = match kind {
                        0 => sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(a), None)),
                        1 => sweeper.update_and_sweep(conn, comment::table.find(c), comment::body.eq(format!("{round}"))),
                        2 => sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq(format!("{round}"))),
                        _ => sweeper.transaction(conn, |conn| {
                            sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("in a transaction"))?;
                            sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(a), None))
                        }),
                    };
                    assert_eq!(written, Ok(1));
                });
                assert!(seen.insert(version(conn, a)), "round {round}, {kind}: a version came again");
            }
        }
        // An upsert, too.
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            let new = NewArticle::now("t");
            let statement = diesel::insert_into(article::table)
                .values((article::id.eq(a), article::title.eq(new.title), article::views.eq(0), article::updated_at.eq(new.updated_at)))
                .on_conflict(article::id)
                .do_update()
                .set(article::title.eq("upserted"));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        assert_eq!(sweeper.stats().plain_writes, 0);
    }

    [postgres]
    fn a_transaction_that_began_long_ago_does_not_set_a_version_back(bench, conn) {
        // The trigger writes the time at which its transaction began. What is written through the sweeper must rise above all
        // that was seen, whichever way the column went in between.
        bench.database.run(SETUP);
        let a = raw_article(conn, "a");
        let other = &mut bench.connect::<PgConnection>();
        let sweeper = &bench.sweeper;
        let mut seen = HashSet::from([version(conn, a)]);
        for round in 0..10 {
            let done: QueryResult<()> = sweeper.transaction(conn, |conn| {
                // Its time is taken now.
                diesel::select(diesel::dsl::now).execute(conn)?;
                bench.touches(other, &[a], &[], |sweeper, other| {
                    assert_eq!(sweeper.insert_and_sweep(other, comment::table, NewComment::below(Some(a), None)), Ok(1));
                });
                let touched = version(other, a);
                assert!(seen.insert(touched), "round {round}");
                // A skipped column alone: the trigger raises the version, or sets it back.
                assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::views.eq(round)), Ok(1));
                let title = format!("{round}");
                assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq(title)), Ok(1));
                assert!(version(conn, a) > touched, "round {round}: above what others have seen");
                Ok(())
            });
            done.expect("committed");
            assert!(seen.insert(version(conn, a)), "round {round}: a version came again");
        }
    }

    [postgres]
    fn the_trigger_itself_makes_raw_updates_visible(bench, conn) {
        bench.database.run(SETUP);
        let a = raw_article(conn, "a");
        let before: Article = article::table.find(a).first(conn).expect("the article");
        bench.fill(&before);
        diesel::update(article::table.find(a)).set(article::title.eq("raw")).execute(conn).expect("past the sweeper");
        let after: Article = article::table.find(a).first(conn).expect("the article");
        assert!(after.updated_at > before.updated_at);
        assert_eq!(bench.look(&after), "miss");
    }
}
