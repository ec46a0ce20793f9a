//! Every form of a DELETE.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, label, tag};
use cachesweeper_tests::orm::diesel::entity::{Comment, Label, Tag};
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment};

each_database! {
    fn by_find_filter_record_and_all(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let ids: Vec<i64> = (0..6).map(|_| raw_comment(conn, a, "x")).collect();
        let other = raw_comment(conn, b, "z");
        let row: Comment = comment::table.find(ids[1]).first(conn).expect("the comment");
        bench.sweeps(&[Comment::key(ids[0])], &[Comment::key(ids[1]), Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                assert_eq!(sweeper.delete_and_sweep(conn, comment::table.find(ids[0])), Ok(1));
            });
        });
        bench.sweeps(&[Comment::key(ids[1])], &[Comment::key(ids[2]), Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                assert_eq!(sweeper.delete_and_sweep(conn, &row), Ok(1));
            });
        });
        bench.sweeps(&[Comment::key(ids[2]), Comment::key(ids[3])], &[Comment::key(ids[4]), Comment::key(other)], || {
            bench.touches(conn, &[a], &[b], |sweeper, conn| {
                let these = comment::table.filter(comment::id.le(ids[3])).filter(comment::article_id.eq(a));
                assert_eq!(diesel::delete(these).execute_and_sweep(sweeper, conn), Ok(2));
            });
        });
        let boxed = diesel::delete(comment::table).into_boxed().filter(comment::id.eq(ids[4]));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            assert_eq!(boxed.execute_and_sweep(sweeper, conn), Ok(1));
        });
        bench.sweeps(&[Comment::key(ids[5]), Comment::key(other)], &[], || {
            bench.touches(conn, &[a, b], &[], |sweeper, conn| {
                assert_eq!(sweeper.delete_and_sweep(conn, comment::table), Ok(2));
            });
        });
        assert_eq!(comment::table.count().get_result(conn), Ok(0_i64));
    }

    fn that_matches_nothing(bench, conn) {
        let a = raw_article(conn, "a");
        bench.touches(conn, &[], &[a], |sweeper, conn| {
            assert_eq!(sweeper.delete_and_sweep(conn, comment::table.find(999)), Ok(0));
            assert_eq!(sweeper.delete_and_sweep(conn, comment::table), Ok(0));
        });
        assert_eq!((bench.sweeper.stats().sweeps, bench.sweeper.stats().records_swept), (0, 0));
    }

    fn of_a_timestamp_row_invalidates_its_collection(bench, conn) {
        use cachesweeper_tests::orm::diesel::entity::Article;
        let a = raw_article(conn, "a");
        let row: Article = article::table.find(a).first(conn).expect("the article");
        bench.fill(Article::collection());
        assert_eq!(bench.sweeper.delete_and_sweep(conn, &row), Ok(1));
        bench.is_gone("the collection", Article::collection());
    }

    fn of_rows_with_text_and_composite_keys(bench, conn) {
        let a = raw_article(conn, "a");
        for name in ["it's", "other"] {
            diesel::insert_into(tag::table).values((tag::name.eq(name), tag::note.eq(""))).execute(conn).expect("a tag");
            diesel::insert_into(label::table)
                .values((label::article_id.eq(a), label::tag_name.eq(name), label::weight.eq(1)))
                .execute(conn)
                .expect("a label");
        }
        let label = |name: &str| Label { article_id: a, tag_name: name.into(), weight: 1 };
        bench.sweeps(&[Tag::key("it's"), label("it's").record_key()], &[Tag::key("other"), label("other").record_key()], || {
            bench.touches(conn, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.delete_and_sweep(conn, &label("it's")), Ok(1));
            });
        });
        bench.sweeps(&[Tag::key("it's")], &[Tag::key("other")], || {
            assert_eq!(bench.sweeper.delete_and_sweep(conn, tag::table.find("it's")), Ok(1));
        });
    }

    [sqlite postgres]
    fn whose_rows_come_back(bench, conn) {
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let (one, two) = (raw_comment(conn, a, "x"), raw_comment(conn, a, "y"));
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let gone: Comment = diesel::delete(comment::table.find(one)).get_result_and_sweep(sweeper, conn).expect("deleted");
            assert_eq!((gone.id, gone.body.as_str()), (one, "x"));
        });
        bench.touches(conn, &[a], &[b], |sweeper, conn| {
            let statement = diesel::delete(comment::table.filter(comment::body.eq("y"))).returning((comment::body, comment::id));
            assert_eq!(statement.get_results_and_sweep(sweeper, conn), Ok(vec![("y".to_owned(), two)]));
        });
        let none: QueryResult<Comment> = diesel::delete(comment::table.find(one)).get_result_and_sweep(&bench.sweeper, conn);
        assert_eq!(none, Err(diesel::result::Error::NotFound));
    }
}
