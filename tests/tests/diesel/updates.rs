//! Every form of an UPDATE.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, label, tag, vote};
use cachesweeper_tests::orm::diesel::entity::{Article, Comment, Label, Tag, Vote};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use crate::bench::{each_database, raw_article, raw_comment, version};

/// Changes that may leave columns as they are.
#[derive(AsChangeset)]
#[diesel(table_name = comment)]
struct Changes<'a> {
    body: Option<&'a str>,
    views: Option<i32>,
}

/// A record with changes, as `save_changes` wants it.
#[derive(Clone, Copy, Debug, Identifiable, AsChangeset)]
#[diesel(table_name = comment)]
struct Edit<'a> {
    id: i64,
    body: Option<&'a str>,
    article_id: Option<Option<i64>>,
}

each_database! {
    fn by_a_filter(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, two, other) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"), raw_comment(conn, b, "z"));
        bench.sweeps(&[Comment::key(one), Comment::key(two)], &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let these = comment::table.filter(comment::body.eq("x").or(comment::body.eq("y")));
                assert_eq!(sweeper.update_and_sweep(conn, these, comment::body.eq("w")), Ok(2));
            });
        });
        bench.sweeps(&[Comment::key(one)], &[Comment::key(two), Comment::key(other)], || {
            let statement = diesel::update(comment::table).filter(comment::id.eq(one)).filter(comment::body.ne("v"));
            assert_eq!(statement.set(comment::body.eq("v")).execute_and_sweep(&bench.sweeper, conn), Ok(1));
        });
    }

    fn by_find_and_by_a_record(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        bench.sweeps(&[Comment::key(one)], &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::body.eq("w")), Ok(1));
            });
        });
        let row: Comment = comment::table.find(one).first(conn).expect("the comment");
        bench.sweeps(&[Comment::key(one)], &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, &row, (comment::body.eq("v"), comment::views.eq(comment::views + 1))), Ok(1));
            });
        });
        assert_eq!(comment::table.find(one).select((comment::body, comment::views)).first(conn), Ok(("v".to_owned(), 1)));
    }

    fn boxed(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        for mine in [true, false] {
            let mut statement = diesel::update(comment::table).into_boxed();
            statement = if mine { statement.filter(comment::id.eq(one)) } else { statement.filter(comment::id.eq(other)) };
            let (touched, left) = if mine { (a, b) } else { (b, a) };
            bench.touches(conn, &[touched], &[left], |sweeper, conn| {
                assert_eq!(statement.set(comment::body.eq("boxed")).execute_and_sweep(sweeper, conn), Ok(1));
            });
        }
    }

    fn without_a_condition(bench, conn) {
        let (a, b, empty) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"));
        let keys = [Comment::key(raw_comment(conn, a, "x")), Comment::key(raw_comment(conn, b, "y"))];
        bench.sweeps(&keys, &[], || {
            bench.touches(conn, &[a, b], &[empty], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table, comment::body.eq("all")), Ok(2));
            });
        });
    }

    fn of_a_foreign_key(bench, conn) {
        let (a, b, c) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"));
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "y"));
        bench.touches(conn, &[a, c], &[b], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::article_id.eq(c)), Ok(1));
        });
        bench.touches(conn, &[c], &[a, b], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::article_id.eq(None::<i64>)), Ok(1));
        });
        bench.touches(conn, &[a], &[b, c], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::article_id.eq(a)), Ok(1));
        });
        // The condition is about the very column that changes.
        bench.touches(conn, &[b, c], &[a], |sweeper, conn| {
            let these = comment::table.filter(comment::article_id.eq(b));
            assert_eq!(sweeper.update_and_sweep(conn, these, (comment::article_id.eq(c), comment::body.eq("moved"))), Ok(1));
        });
        assert_eq!(comment::table.find(two).select(comment::article_id).first(conn), Ok(Some(c)));
        // The other parent is a comment.
        bench.sweeps(&[Comment::key(one), Comment::key(two)], &[], || {
            bench.touches(conn, &[a, c], &[b], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(two), comment::parent_id.eq(one)), Ok(1));
            });
        });
    }

    fn of_skipped_columns_alone(bench, conn) {
        let a = raw_article(conn, "a");
        let one = raw_comment(conn, a, "x");
        bench.sweeps(&[], &[Comment::key(one)], || {
            bench.touches(conn, &[], &[a], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::views.eq(7)), Ok(1));
                assert_eq!(sweeper.update_and_sweep(conn, article::table, article::views.eq(article::views + 1)), Ok(1));
            });
        });
        assert_eq!(bench.sweeper.stats().sweeps, 0);
        assert_eq!(comment::table.find(one).select(comment::views).first(conn), Ok(7));
        // With another column it is no longer alone.
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            let changes = (comment::views.eq(8), comment::body.eq("seen"));
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), changes), Ok(1));
        });
    }

    fn that_matches_nothing(bench, conn) {
        let a = raw_article(conn, "a");
        raw_comment(conn, a, "x");
        bench.touches(conn, &[], &[a], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(999), comment::body.eq("none")), Ok(0));
            assert_eq!(sweeper.update_and_sweep(conn, article::table.find(999), article::title.eq("none")), Ok(0));
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(999), comment::article_id.eq(a)), Ok(0));
        });
        assert_eq!((bench.sweeper.stats().sweeps, bench.sweeper.stats().records_swept), (0, 0));
    }

    fn by_changes_that_leave_columns_out(bench, conn) {
        let a = raw_article(conn, "a");
        let one = raw_comment(conn, a, "x");
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            let changes = Changes { body: Some("changed"), views: None };
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), changes), Ok(1));
        });
        bench.touches(conn, &[], &[a], |sweeper, conn| {
            let changes = Changes { body: None, views: Some(3) };
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), changes), Ok(1));
        });
        let nothing = Changes { body: None, views: None };
        let refused = bench.sweeper.update_and_sweep(conn, comment::table.find(one), nothing).expect_err("refused, as by Diesel");
        let diesel = diesel::update(comment::table.find(one)).set(Changes { body: None, views: None }).execute(conn).expect_err("refused");
        assert_eq!(refused.to_string(), diesel.to_string());
        assert_eq!(comment::table.find(one).select((comment::body, comment::views)).first(conn), Ok(("changed".to_owned(), 3)));
    }

    fn of_a_timestamp_row_itself(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let load = |conn: &mut _| article::table.find(a).first::<Article>(conn).expect("the article");
        let before = load(conn);
        bench.fill(&before);
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("other")), Ok(1));
            // There and back: only the version tells.
            assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("a")), Ok(1));
        });
        let after = load(conn);
        assert_eq!(after.title, before.title);
        bench.is_gone("the article", &after);
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, article::table, article::title.eq("both")), Ok(2));
        });
    }

    fn of_the_version_by_the_caller(bench, conn) {
        let a = raw_article(conn, "a");
        let past = chrono::DateTime::UNIX_EPOCH.naive_utc();
        for _ in 0..3 {
            // Not before now, whatever the caller says.
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(
                    sweeper.update_and_sweep(conn, article::table.find(a), (article::title.eq("t"), article::updated_at.eq(past))),
                    Ok(1)
                );
            });
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::updated_at.eq(diesel::dsl::now)), Ok(1));
            });
        }
        let future = chrono::Utc::now().naive_utc() + chrono::Duration::seconds(100);
        assert_eq!(bench.sweeper.update_and_sweep(conn, article::table.find(a), article::updated_at.eq(future)), Ok(1));
        assert!((version(conn, a) - future).num_milliseconds().abs() < 1, "a later one is taken");
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("behind")), Ok(1));
        });
    }

    fn with_values_that_look_like_sql(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        let odd = "it's \"quoted\" `so` $1 ? :a WHERE 1 RETURNING \\ SET -- FROM /* ) , é";
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::body.eq(odd)), Ok(1));
        });
        let stored = comment::table.find(one).select(comment::body).first::<String>(conn);
        assert_eq!(stored.as_deref(), Ok(odd));
        // The same in the condition, and in literals of the statement itself.
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let these = comment::table.filter(comment::body.eq(odd));
            let literal = sql::<Text>("'a WHERE b, (c = ''d'' RETURNING $1 ? FROM \"e\" SET `f` = 1'");
            assert_eq!(sweeper.update_and_sweep(conn, these, (comment::body.eq(literal), comment::views.eq(5))), Ok(1));
        });
        let stored = comment::table.find(one).select((comment::body, comment::views)).first::<(String, i32)>(conn).expect("the comment");
        assert_eq!(stored, ("a WHERE b, (c = 'd' RETURNING $1 ? FROM \"e\" SET `f` = 1".to_owned(), 5));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let these = comment::table
                .filter(sql::<Bool>("body = 'a WHERE b, (c = ''d'' RETURNING $1 ? FROM \"e\" SET `f` = 1' AND id > ").bind::<BigInt, _>(0));
            assert_eq!(sweeper.update_and_sweep(conn, these, comment::body.eq("plain")), Ok(1));
        });
        // A condition of the user's own with OR at its top.
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let these = comment::table.filter(sql::<Bool>("body = 'plain' OR body = ").bind::<Text, _>("nobody's"));
            assert_eq!(sweeper.update_and_sweep(conn, these, comment::body.eq("or")), Ok(1));
        });
        assert_eq!(comment::table.find(other).select(comment::body).first::<String>(conn).as_deref(), Ok("z"));
    }

    fn with_literals_that_hide_their_end(bench, conn) {
        let a = raw_article(conn, "a");
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "z"));
        // Each is one text to its database. To be told right, or refused; never to change another row.
        let literals = match bench.database.backend {
            cachesweeper_tests::Backend::Sqlite => ["'-- binds: [1]'", "'a' /* ' WHERE */", "'a' || \"body\"", "(SELECT 'x' WHERE TRUE)"],
            cachesweeper_tests::Backend::Postgres => [r"E'it\'s' || ''", "$$it's WHERE$$", "'a' /* ' WHERE */", "(SELECT 'x' WHERE TRUE)"],
            cachesweeper_tests::Backend::MySql => [r"'it\'s'", "'a' /* ' WHERE */", r"'\\'", "(SELECT 'x' WHERE TRUE)"],
        };
        for literal in literals {
            let before = version(conn, a);
            let expected: String = diesel::update(comment::table.find(one))
                .set(comment::body.eq(sql::<Text>(literal)))
                .execute(conn)
                .and_then(|_| comment::table.find(one).select(comment::body).first(conn))
                .unwrap_or_else(|error| panic!("{literal} is not understood by the database: {error}"));
            diesel::update(comment::table.find(one)).set(comment::body.eq("x")).execute(conn).expect("set back");
            let these = comment::table.find(one);
            let written = bench.sweeper.update_and_sweep(conn, these, comment::body.eq(sql::<Text>(literal)));
            let stored = comment::table.find(one).select(comment::body).first::<String>(conn).expect("the comment");
            match written {
                Ok(rows) => {
                    let expected = if literal.contains("\"body\"") { "ax".to_owned() } else { expected };
                    assert_eq!((rows, stored), (1, expected), "{literal}");
                    assert!(version(conn, a) > before, "{literal}");
                }
                Err(error) => assert_eq!(stored, "x", "{literal} was refused, and written all the same: {error}"),
            }
            assert_eq!(comment::table.find(other).select(comment::body).first::<String>(conn).as_deref(), Ok("z"), "{literal}");
            diesel::update(comment::table.find(one)).set(comment::body.eq("x")).execute(conn).expect("set back");
        }
    }

    fn with_subselects_and_cases(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, other) = (raw_comment(conn, a, "x"), raw_comment(conn, b, "z"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let title = article::table.filter(article::id.eq(b)).select(article::title).single_value();
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::body.eq(title.assume_not_null())), Ok(1));
        });
        assert_eq!(comment::table.find(one).select(comment::body).first::<String>(conn).as_deref(), Ok("b"));
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let cases = diesel::dsl::case_when::<_, _, Text>(comment::id.eq(one), "first")
                .when(comment::body.eq("z WHERE"), "?")
                .otherwise("other");
            assert_eq!(sweeper.update_and_sweep(conn, comment::table, comment::body.eq(cases)), Ok(2));
        });
        assert_eq!(comment::table.order(comment::id).select(comment::body).load::<String>(conn), Ok(vec!["first".into(), "other".into()]));
        bench.touches(conn, &[b], &[a], |sweeper, conn| {
            let these = comment::table
                .filter(comment::article_id.eq_any(article::table.filter(article::title.eq("b")).select(article::id.nullable())));
            assert_eq!(sweeper.update_and_sweep(conn, these, comment::body.eq("by a subselect")), Ok(1));
        });
        // Where it moves, too: the values of the SET clause come before those of the condition.
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let target = article::table.filter(article::title.eq("a")).select(article::id).single_value();
            let these = comment::table.filter(comment::body.eq("by a subselect"));
            assert_eq!(sweeper.update_and_sweep(conn, these, (comment::article_id.eq(target), comment::body.eq("moved"))), Ok(1));
        });
        assert_eq!(comment::table.find(other).select(comment::article_id).first(conn), Ok(Some(a)));
    }

    fn of_a_record_by_save_changes(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let edit = Edit { id: one, body: Some("saved"), article_id: None };
            let saved: Comment = edit.save_changes_and_sweep(sweeper, conn).expect("saved");
            assert_eq!((saved.id, saved.body.as_str(), saved.article_id), (one, "saved", Some(a)));
        });
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let edit = Edit { id: one, body: None, article_id: Some(Some(b)) };
            let saved: Comment = edit.save_changes_and_sweep(sweeper, conn).expect("saved");
            assert_eq!((saved.body.as_str(), saved.article_id), ("saved", Some(b)));
        });
        let row: Comment = comment::table.find(one).first(conn).expect("the comment");
        bench.touches(conn, &[b], &[a], |sweeper, conn| {
            let changed = Comment { body: "whole".into(), ..row.clone() };
            let saved: Comment = changed.save_changes_and_sweep(sweeper, conn).expect("saved");
            assert_eq!(saved, changed);
        });
        let missing = Edit { id: 999, body: Some("nobody"), article_id: None };
        let refused: QueryResult<Comment> = missing.save_changes_and_sweep(&bench.sweeper, conn);
        assert_eq!(refused, Err(diesel::result::Error::NotFound));
    }

    fn of_twelve_thousand_rows(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let comments: Vec<_> = (1..=12_000_i64)
            .map(|id| (comment::id.eq(id), comment::article_id.eq(a), comment::body.eq("many"), comment::views.eq(0)))
            .collect();
        for comments in comments.chunks(4_000) {
            diesel::insert_into(comment::table).values(comments).execute(conn).expect("many comments");
        }
        let other = 20_000;
        diesel::insert_into(comment::table)
            .values((comment::id.eq(other), comment::article_id.eq(b), comment::body.eq("one"), comment::views.eq(0)))
            .execute(conn)
            .expect("a comment");
        let some = [1, 4_999, 5_000, 5_001, 11_999, 12_000].map(Comment::key);
        bench.sweeps(&some, &[Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let these = comment::table.filter(comment::body.eq("many"));
                assert_eq!(sweeper.update_and_sweep(conn, these, comment::body.eq("changed")), Ok(12_000));
            });
        });
        bench.sweeps(&some, &[Comment::key(other)], || {
            bench.touches(conn, &[a, b], &[], |sweeper, conn| {
                let these = comment::table.filter(comment::body.eq("changed"));
                assert_eq!(sweeper.update_and_sweep(conn, these, comment::article_id.eq(b)), Ok(12_000), "they move");
            });
        });
        bench.sweeps(&some, &[Comment::key(other)], || {
            bench.touches(conn, &[b], &[a], |sweeper, conn| {
                assert_eq!(sweeper.delete_and_sweep(conn, comment::table.filter(comment::body.eq("changed"))), Ok(12_000));
            });
        });
        assert_eq!(comment::table.count().get_result(conn), Ok(1_i64));
    }

    fn of_rows_with_text_and_composite_keys(bench, conn) {
        let a = raw_article(conn, "a");
        let names = ["plain", "a:b,c*'\"`$1 ? WHERE é"];
        for name in names {
            diesel::insert_into(tag::table).values((tag::name.eq(name), tag::note.eq(""))).execute(conn).expect("a tag");
            diesel::insert_into(label::table)
                .values((label::article_id.eq(a), label::tag_name.eq(name), label::weight.eq(1)))
                .execute(conn)
                .expect("a label");
        }
        let label = |name: &str| Label { article_id: a, tag_name: name.into(), weight: 1 }.record_key();
        bench.sweeps(&[Tag::key(names[1])], &[Tag::key(names[0])], || {
            assert_eq!(bench.sweeper.update_and_sweep(conn, tag::table.find(names[1]), tag::note.eq("n")), Ok(1));
        });
        bench.sweeps(&[Tag::key(names[1]), label(names[1])], &[Tag::key(names[0]), label(names[0])], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, label::table.find((a, names[1])), label::weight.eq(2)), Ok(1));
            });
        });
        bench.sweeps(&[Tag::key(names[0]), Tag::key(names[1]), label(names[0]), label(names[1])], &[], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, label::table, label::weight.eq(3)), Ok(2));
            });
        });
    }

    [sqlite postgres]
    fn of_a_primary_key(bench, conn) {
        let a = raw_article(conn, "a");
        let names = ["old", "new"];
        diesel::insert_into(tag::table).values((tag::name.eq("old"), tag::note.eq(""))).execute(conn).expect("a tag");
        bench.sweeps(&[Tag::key("old"), Tag::key("new")], &[], || {
            assert_eq!(bench.sweeper.update_and_sweep(conn, tag::table.find("old"), tag::name.eq("new")), Ok(1));
        });
        // A label's key is its parents too.
        for name in names {
            diesel::insert_into(tag::table)
                .values((tag::name.eq(name), tag::note.eq("")))
                .on_conflict_do_nothing()
                .execute(conn)
                .expect("a tag");
        }
        diesel::insert_into(label::table)
            .values((label::article_id.eq(a), label::tag_name.eq("old"), label::weight.eq(1)))
            .execute(conn)
            .expect("a label");
        let label = |name: &str| Label { article_id: a, tag_name: name.into(), weight: 1 }.record_key();
        bench.sweeps(&[Tag::key("old"), Tag::key("new"), label("old"), label("new")], &[], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, label::table.find((a, "old")), label::tag_name.eq("new")), Ok(1));
            });
        });
    }

    [mysql]
    fn of_a_primary_key_cannot_be_told(bench, conn) {
        diesel::insert_into(tag::table).values((tag::name.eq("old"), tag::note.eq(""))).execute(conn).expect("a tag");
        let refused = bench.sweeper.update_and_sweep(conn, tag::table.find("old"), tag::name.eq("new")).expect_err("refused").to_string();
        assert!(refused.contains("Nothing was written") && refused.contains("insert it anew"), "{refused}");
        assert_eq!(tag::table.select(tag::name).load::<String>(conn), Ok(vec!["old".into()]));
    }

    [sqlite postgres]
    fn whose_rows_come_back(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let rows: Vec<Comment> =
                diesel::update(comment::table).set(comment::body.eq("all")).get_results_and_sweep(sweeper, conn).expect("updated");
            assert_eq!(rows.iter().map(|row| row.body.as_str()).collect::<Vec<_>>(), ["all", "all"]);
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let row: Comment =
                diesel::update(comment::table.find(one)).set(comment::body.eq("one")).get_result_and_sweep(sweeper, conn).expect("updated");
            assert_eq!((row.id, row.body.as_str()), (one, "one"));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let statement = diesel::update(comment::table.find(two)).set(comment::body.eq("two")).returning((comment::body, comment::id));
            assert_eq!(statement.get_results_and_sweep(sweeper, conn), Ok(vec![("two".to_owned(), two)]));
        });
        // What is returned has values and words of its own.
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let word = sql::<Text>("' RETURNING ' || ").bind::<Text, _>("bound");
            let statement = diesel::update(comment::table.find(two)).set(comment::body.eq("2")).returning((word, comment::id + 1_000));
            assert_eq!(statement.get_result_and_sweep(sweeper, conn), Ok((" RETURNING bound".to_owned(), two + 1_000)));
        });
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let word = sql::<Integer>("(1 + ").bind::<Integer, _>(1).sql(")");
            let statement = diesel::update(comment::table.find(two)).set(comment::article_id.eq(b)).returning((comment::article_id, word));
            assert_eq!(statement.get_result_and_sweep(sweeper, conn), Ok((Some(b), 2)), "it moves");
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let title = diesel::update(article::table.find(a)).set(article::title.eq("t")).returning((article::title, article::updated_at));
            let (title, version): (String, chrono::NaiveDateTime) = title.get_result_and_sweep(sweeper, conn).expect("updated");
            assert_eq!((title.as_str(), version), ("t", self::version(conn, a)), "the version it has now");
        });
        let none: QueryResult<Comment> =
            diesel::update(comment::table.find(999)).set(comment::body.eq("n")).get_result_and_sweep(&bench.sweeper, conn);
        assert_eq!(none, Err(diesel::result::Error::NotFound));
        let skipped: Vec<i32> = diesel::update(comment::table)
            .set(comment::views.eq(9))
            .returning(comment::views)
            .get_results_and_sweep(&bench.sweeper, conn)
            .expect("updated");
        assert_eq!(skipped, [9, 9]);
    }

    [postgres]
    fn with_operators_that_have_words_in_them(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let one = raw_comment(conn, a, "x");
        raw_comment(conn, b, "y");
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let these = comment::table.filter(comment::body.is_not_distinct_from("x"));
            let changed = comment::body.eq(sql::<Text>("substring(body FROM 1 FOR 1) || ").bind::<Text, _>("!"));
            assert_eq!(sweeper.update_and_sweep(conn, these, changed), Ok(1));
        });
        assert_eq!(comment::table.find(one).select(comment::body).first::<String>(conn).as_deref(), Ok("x!"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let none = sql::<Nullable<BigInt>>("NULLIF((SELECT max(id) FROM vote WHERE voter IS DISTINCT FROM ")
                .bind::<Text, _>("ada")
                .sql("), 0)");
            assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(one), comment::parent_id.eq(none)), Ok(1));
        });
    }
}

#[test]
fn an_update_of_votes_climbs_two_levels() {
    // On SQLite alone: the climb is the same on all, and tested with every ORM elsewhere.
    let bench = crate::bench::Bench::new(cachesweeper_tests::Backend::Sqlite).expect("SQLite is always there");
    let conn = &mut bench.connect::<SqliteConnection>();
    let a = raw_article(conn, "a");
    let c = raw_comment(conn, a, "x");
    diesel::insert_into(vote::table).values((vote::comment_id.eq(c), vote::voter.eq("ada"))).execute(conn).expect("a vote");
    let ada: Vote = vote::table.first(conn).expect("the vote");
    bench.sweeps(&[Comment::key(c), ada.record_key()], &[], || {
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            assert_eq!(sweeper.update_and_sweep(conn, &ada, vote::voter.eq("bob")), Ok(1));
        });
    });
}
