//! Every form of an INSERT.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, tag, vote};
use cachesweeper_tests::orm::diesel::entity::{Article, Comment, NewComment, NewVote, Tag};
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment, version};

/// A comment whose key may be left to the database.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = comment)]
struct KeyedComment {
    id: Option<i64>,
    article_id: Option<i64>,
    body: String,
    views: i32,
}

fn keyed(id: Option<i64>, article: i64) -> KeyedComment {
    KeyedComment { id, article_id: Some(article), body: "keyed".into(), views: 0 }
}

fn below(article: i64) -> NewComment {
    NewComment::below(Some(article), None)
}

fn tuple(article: i64) -> Tuple {
    (comment::article_id.eq(article), comment::body.eq("a tuple".to_owned()), comment::views.eq(0))
}

type Tuple = (diesel::dsl::Eq<comment::article_id, i64>, diesel::dsl::Eq<comment::body, String>, diesel::dsl::Eq<comment::views, i32>);

each_database! {
    fn one_row(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, below(a)), Ok(1));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let row = below(a);
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, &row), Ok(1));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, tuple(a)), Ok(1));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table).values(below(a));
            assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.touches(conn, &[], &[a, b], |sweeper, conn| {
            let none = (comment::body.eq("no parent"), comment::views.eq(0));
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, none), Ok(1));
        });
        assert_eq!(comment::table.count().get_result(conn), Ok(5_i64));
    }

    fn one_row_with_its_key(bench, conn) {
        let a = raw_article(conn, "a");
        let (before, key, other) = (version(conn, a), Comment::key(77), Comment::key(78));
        bench.sweeps(&[key], &[other], || {
            assert_eq!(bench.sweeper.insert_and_sweep(conn, comment::table, keyed(Some(77), a)), Ok(1));
        });
        assert!(version(conn, a) > before);
        assert_eq!(comment::table.find(77).select(comment::article_id).first(conn), Ok(Some(a)));
    }

    fn one_row_whose_key_is_none(bench, conn) {
        let a = raw_article(conn, "a");
        let next = raw_comment(conn, a, "last") + 1;
        bench.fill(Comment::key(next));
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, keyed(None, a)), Ok(1));
        });
        bench.is_gone("the cached absence", Comment::key(next));
    }

    [mysql]
    fn one_row_whose_key_is_zero_which_asks_for_one(bench, conn) {
        let a = raw_article(conn, "a");
        let next = raw_comment(conn, a, "last") + 1;
        bench.fill(Comment::key(next));
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, keyed(Some(0), a)), Ok(1));
        });
        bench.is_gone("the cached absence", Comment::key(next));
    }

    fn several_rows(bench, conn) {
        let (a, b, c) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"));
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, vec![below(a), below(b)]), Ok(2));
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            let rows = vec![below(a), below(b), below(a)];
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, &rows), Ok(3));
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            let rows = [below(a), below(b)];
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, &rows[..]), Ok(2));
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, [below(a), below(b)]), Ok(2));
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, vec![tuple(a), tuple(b)]), Ok(2));
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            assert_eq!(diesel::insert_into(comment::table).values(&[below(a), below(b)]).execute_and_sweep(sweeper, conn), Ok(2));
        });
        assert_eq!(comment::table.count().get_result(conn), Ok(13_i64));
    }

    fn several_rows_with_their_keys(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let keys = [Comment::key(50), Comment::key(70)];
        bench.sweeps(&keys, &[Comment::key(60)], || {
            bench.touches(conn, &[a, b], &[], |sweeper, conn| {
                let rows = vec![keyed(Some(50), a), keyed(Some(70), b)];
                assert_eq!(sweeper.insert_and_sweep(conn, comment::table, rows), Ok(2));
            });
        });
    }

    fn several_rows_of_which_some_have_a_key(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let next = raw_comment(conn, a, "last") + 1;
        bench.fill(Comment::key(500));
        // The other's key depends on the order, and on the database.
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let rows = vec![keyed(None, a), keyed(Some(500), b)];
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, rows), Ok(2));
        });
        bench.is_gone("the absence of the row with a key", Comment::key(500));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, vec![keyed(None, a), keyed(None, a)]), Ok(2));
        });
        assert!(comment::table.find(next).count().get_result::<i64>(conn).expect("a query") <= 1);
    }

    fn the_keys_that_the_database_makes_are_the_ones_that_are_swept(bench, conn) {
        let a = raw_article(conn, "a");
        let last = raw_comment(conn, a, "last");
        let keys: Vec<_> = (last + 1..=last + 100).map(Comment::key).collect();
        let rows: Vec<_> = (0..100).map(|_| below(a)).collect();
        bench.sweeps(&keys, &[Comment::key(last), Comment::key(last + 101)], || {
            assert_eq!(bench.sweeper.insert_and_sweep(conn, comment::table, &rows), Ok(100));
        });
    }

    fn no_row(bench, conn) {
        let a = raw_article(conn, "a");
        bench.touches(conn, &[], &[a], |sweeper, conn| {
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, Vec::<NewComment>::new()), Ok(0));
        });
        assert_eq!(bench.sweeper.stats().sweeps, 0);
    }

    fn values_that_are_expressions(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        raw_comment(conn, b, "b's");
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let id = diesel::dsl::sql::<diesel::sql_types::BigInt>(&format!("({a} + 0)"));
            let values = (comment::article_id.eq(id.nullable()), comment::body.eq("an expression"), comment::views.eq(0));
            assert_eq!(sweeper.insert_and_sweep(conn, comment::table, values), Ok(1));
        });
    }

    [sqlite postgres]
    fn a_version_that_lies_far_back_is_made_recent(bench, conn) {
        let old = Article { id: 900, title: "old".into(), views: 0, updated_at: chrono::DateTime::UNIX_EPOCH.naive_utc() };
        let values = (article::id.eq(old.id), article::title.eq(&old.title), article::views.eq(0), article::updated_at.eq(old.updated_at));
        let began = chrono::Utc::now().naive_utc() - chrono::Duration::seconds(60);
        assert_eq!(bench.sweeper.insert_and_sweep(conn, article::table, values), Ok(1));
        assert!(version(conn, 900) > began, "a page would take the row for settled");
    }

    [mysql]
    fn a_version_that_lies_far_back_is_made_recent_on_mysql(bench, conn) {
        let epoch = chrono::DateTime::UNIX_EPOCH.naive_utc();
        let values = (article::id.eq(900), article::title.eq("old"), article::views.eq(0), article::updated_at.eq(epoch));
        let began = chrono::Utc::now().naive_utc() - chrono::Duration::seconds(60);
        assert_eq!(bench.sweeper.insert_and_sweep(conn, article::table, values), Ok(1));
        assert!(version(conn, 900) > began, "a page would take the row for settled");
    }

    fn text_keys(bench, conn) {
        let name = "a:b,c*'\"`$1 ? WHERE é";
        let key = Tag::key(name);
        bench.sweeps(&[key], &[Tag::key("other")], || {
            let tag = Tag { name: name.into(), note: String::new() };
            assert_eq!(bench.sweeper.insert_and_sweep(conn, tag::table, &tag), Ok(1));
        });
    }

    [sqlite postgres]
    fn rows_come_back(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let made: Comment = diesel::insert_into(comment::table).values(below(a)).get_result_and_sweep(sweeper, conn).expect("inserted");
            assert_eq!(made.article_id, Some(a));
        });
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let made: Vec<Comment> = diesel::insert_into(comment::table)
                .values(vec![below(a), below(b)])
                .get_results_and_sweep(sweeper, conn)
                .expect("inserted");
            assert_eq!(made.iter().map(|row| row.article_id).collect::<Vec<_>>(), [Some(a), Some(b)]);
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let row = below(a);
            let statement = diesel::insert_into(comment::table).values(&row).returning((comment::body, comment::id));
            let (body, id): (String, i64) = statement.get_result_and_sweep(sweeper, conn).expect("inserted");
            assert_eq!((body.as_str(), comment::table.find(id).count().get_result(conn)), ("first", Ok(1_i64)));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table).values(keyed(Some(90), a)).returning(Comment::as_returning());
            assert_eq!(statement.get_result_and_sweep(sweeper, conn).expect("inserted").id, 90);
        });
        bench.touches(conn, &[b], &[a], |sweeper, conn| {
            let statement = diesel::insert_into(comment::table).values(vec![keyed(Some(91), b), keyed(Some(92), b)]).returning(comment::id);
            assert_eq!(statement.get_results_and_sweep::<_, i64, _>(sweeper, conn), Ok(vec![91, 92]));
        });
    }

    [sqlite mysql]
    fn rows_that_are_there_are_ignored(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "first");
        let vote = |voter: &str| NewVote { comment_id: c, voter: voter.into() };
        let ignore = |voter: &str| diesel::insert_or_ignore_into(vote::table).values(vote(voter));
        bench.touches(conn, &[a], &[], |sweeper, conn| assert_eq!(ignore("ada").execute_and_sweep(sweeper, conn), Ok(1)));
        bench.touches(conn, &[], &[], |sweeper, conn| assert_eq!(ignore("ada").execute_and_sweep(sweeper, conn), Ok(0)));
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            let some = vec![vote("ada"), vote("bob"), vote("cyn")];
            assert_eq!(diesel::insert_or_ignore_into(vote::table).values(&some).execute_and_sweep(sweeper, conn), Ok(2));
        });
        assert_eq!(vote::table.count().get_result(conn), Ok(3_i64));
    }

    [sqlite mysql]
    fn rows_that_are_there_are_ignored_among_rows_that_may_leave_columns_out(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let c = raw_comment(conn, a, "first");
        bench.fill(Comment::key(800));
        bench.touches(conn, &[b], &[], |sweeper, conn| {
            let some = vec![keyed(Some(c), a), keyed(Some(800), b)];
            assert_eq!(diesel::insert_or_ignore_into(comment::table).values(&some).execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.is_gone("the row that was inserted", Comment::key(800));
        assert_eq!(comment::table.count().get_result(conn), Ok(2_i64));
    }

    [sqlite]
    fn an_ignored_row_sweeps_nothing(bench, conn) {
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "first");
        bench.touches(conn, &[], &[a], |sweeper, conn| {
            let same = diesel::insert_or_ignore_into(comment::table).values(keyed(Some(c), a));
            assert_eq!(same.execute_and_sweep(sweeper, conn), Ok(0));
        });
        assert_eq!(bench.sweeper.stats().sweeps, 0);
    }

    [sqlite postgres]
    fn rows_from_a_select(bench, conn) {
        let (a, b, c) = (raw_article(conn, "a"), raw_article(conn, "b"), raw_article(conn, "c"));
        let last = [raw_comment(conn, a, "copied"), raw_comment(conn, b, "copied"), raw_comment(conn, c, "not")][2];
        let copies = || {
            let these = comment::table.filter(comment::body.eq("copied")).order(comment::id);
            these.select((comment::article_id, comment::body, comment::views))
        };
        let columns = (comment::article_id, comment::body, comment::views);
        bench.sweeps(&[Comment::key(last + 1), Comment::key(last + 2)], &[Comment::key(last)], || {
            bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
                let statement = copies().insert_into(comment::table).into_columns(columns);
                assert_eq!(statement.execute_and_sweep(sweeper, conn), Ok(2));
            });
        });
        bench.touches(conn, &[a, b], &[c], |sweeper, conn| {
            let statement =
                diesel::insert_into(comment::table).values(copies().limit(2)).into_columns(columns).returning(comment::article_id);
            let mut made = statement.get_results_and_sweep::<_, Option<i64>, _>(sweeper, conn).expect("inserted");
            made.sort_unstable();
            assert_eq!(made, [Some(a), Some(b)]);
        });
    }
}

mod defaults {
    //! A row of defaults alone.

    use super::*;

    diesel::table! {
        draft (id) {
            id -> BigInt,
            article_id -> BigInt,
            body -> Text,
        }
    }

    #[derive(Queryable, Identifiable, Associations, CacheSweep)]
    #[diesel(table_name = draft, belongs_to(Article))]
    struct Draft {
        id: i64,
        article_id: i64,
        body: String,
    }

    each_database! {
        fn a_row_of_defaults(bench, conn) {
            let a = raw_article(conn, "a");
            let (id, text) = match bench.database.backend {
                cachesweeper_tests::Backend::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT"),
                cachesweeper_tests::Backend::Postgres => ("BIGSERIAL PRIMARY KEY", "TEXT"),
                cachesweeper_tests::Backend::MySql => ("BIGINT AUTO_INCREMENT PRIMARY KEY", "VARCHAR(100)"),
            };
            let columns = format!("id {id}, article_id BIGINT NOT NULL DEFAULT {a}, body {text} NOT NULL DEFAULT ''");
            bench.database.run(&format!("CREATE TABLE draft ({columns})"));
            bench.sweeps(&[Draft::key(1)], &[Draft::key(2)], || {
                bench.touches(conn, &[a], &[], |sweeper, conn| {
                    assert_eq!(diesel::insert_into(draft::table).default_values().execute_and_sweep(sweeper, conn), Ok(1));
                });
            });
            // The foreign key is left to its default.
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.insert_and_sweep(conn, draft::table, draft::body.eq("text")), Ok(1));
            });
            assert_eq!(draft::table.count().get_result(conn), Ok(2_i64));
        }
    }
}
