//! How many statements a write takes, without BEGIN and COMMIT. Written down here, so that a change of it is a decision.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::Backend;
use cachesweeper_tests::database::unique;
use cachesweeper_tests::orm::diesel::Counter;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, tag};
use cachesweeper_tests::orm::diesel::entity::{Comment, NewArticle, NewComment};
use diesel::connection::Connection as _;
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment};

/// The statements of a write itself, and of its commit.
type Cost = (usize, usize);

/// On SQLite, PostgreSQL and MySQL.
struct Costs([Cost; 3]);

impl Costs {
    fn on(&self, backend: Backend) -> Cost {
        self.0[match backend {
            Backend::Sqlite => 0,
            Backend::Postgres => 1,
            Backend::MySql => 2,
        }]
    }
}

/// A comment, below an article with a timestamp: the statement, and at the commit a touch of the article; SQLite reads the
/// article's version before it. MySQL returns nothing, so there the values of an insert are read, its parent is locked, and the new
/// row is read.
const INSERT: Costs = Costs([(1, 2), (1, 1), (4, 1)]);
/// MySQL reads the row before it changes it.
const UPDATE: Costs = Costs([(1, 2), (1, 1), (2, 1)]);
const DELETE: Costs = Costs([(1, 2), (1, 1), (2, 1)]);
/// Where the row was is read before; on MySQL the parents, old and new, are locked, and where it is now is read after.
const MOVE: Costs = Costs([(2, 2), (2, 1), (4, 1)]);
/// MySQL loads the record anew.
const SAVE_CHANGES: Costs = Costs([(1, 2), (1, 1), (3, 1)]);
/// As if it moved: the whole record sets its foreign keys too.
const SAVE_WHOLE: Costs = Costs([(2, 2), (2, 1), (5, 1)]);
/// Nothing is above a tag.
const INSERT_ALONE: Costs = Costs([(1, 0), (1, 0), (3, 0)]);
const UPDATE_SKIPPED: Costs = Costs([(1, 0), (1, 0), (1, 0)]);
/// A new row's version is the caller's; MySQL reads the row.
const INSERT_VERSIONED: Costs = Costs([(1, 0), (1, 0), (2, 0)]);
/// The version rises in the statement itself; SQLite reads it first, MySQL the key.
const UPDATE_VERSIONED: Costs = Costs([(2, 0), (1, 0), (2, 0)]);

#[derive(Clone, Copy, Debug, Identifiable, AsChangeset)]
#[diesel(table_name = comment)]
struct Edit {
    id: i64,
    body: &'static str,
}

each_database! {
    fn of_every_write(bench, conn) {
        let (backend, sweeper, counter) = (bench.database.backend, &bench.sweeper, Counter::default());
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let ids: Vec<i64> = (0..10).map(|_| raw_comment(conn, a, "x")).collect();
        conn.set_instrumentation(counter.clone());
        // The precision of a version's column is asked once.
        assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(ids[0]), comment::body.eq("first")), Ok(1));

        // A write outside of a transaction, and one like it inside.
        macro_rules! costs {
            ($what:literal, $expected:expr, |$conn:ident, $inside:ident| $write:expr) => {{
                let (expected, before) = ($expected.on(backend), counter.count());
                {
                    let ($conn, $inside) = (&mut *conn, false);
                    $write.expect($what);
                }
                assert_eq!(counter.count() - before, expected.0 + expected.1, "{}, outside", $what);
                let (before, mut at_commit) = (counter.count(), 0);
                let written = sweeper.transaction(&mut *conn, |$conn| {
                    let $inside = true;
                    $write?;
                    at_commit = counter.count();
                    QueryResult::Ok(())
                });
                written.expect($what);
                assert_eq!((at_commit - before, counter.count() - at_commit), expected, "{}, inside", $what);
            }};
        }
        let which = |inside: bool, outside: i64, other: i64| if inside { other } else { outside };
        costs!("insert", INSERT, |conn, inside| sweeper.insert_and_sweep(conn, comment::table, NewComment::below(Some(a), None)));
        costs!("update", UPDATE, |conn, inside| sweeper.update_and_sweep(conn, comment::table.find(ids[1]), comment::body.eq("u")));
        costs!("delete", DELETE, |conn, inside| sweeper.delete_and_sweep(conn, comment::table.find(which(inside, ids[2], ids[3]))));
        costs!("move to an article and back", MOVE, |conn, inside| {
            // So that in each case two articles are touched, by one statement.
            sweeper.update_and_sweep(conn, comment::table.find(ids[4]), comment::article_id.eq(which(inside, b, a)))
        });
        costs!("save_changes", SAVE_CHANGES, |conn, inside| {
            Edit { id: ids[5], body: "saved" }.save_changes_and_sweep::<_, Comment, _>(sweeper, conn)
        });
        let row: Comment = comment::table.find(ids[6]).first(conn).expect("a comment");
        costs!("save_changes of the whole", SAVE_WHOLE, |conn, inside| row.save_changes_and_sweep::<_, Comment, _>(sweeper, conn));
        costs!("insert of a row without parents", INSERT_ALONE, |conn, inside| {
            sweeper.insert_and_sweep(conn, tag::table, (tag::name.eq(unique("tag")), tag::note.eq("")))
        });
        costs!("update of a skipped column", UPDATE_SKIPPED, |conn, inside| {
            sweeper.update_and_sweep(conn, comment::table.find(ids[7]), comment::views.eq(3))
        });
        costs!("insert of a timestamp row", INSERT_VERSIONED, |conn, inside| {
            sweeper.insert_and_sweep(conn, article::table, NewArticle::now("n"))
        });
        costs!("update of a timestamp row", UPDATE_VERSIONED, |conn, inside| {
            sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("t"))
        });

        // Of a hundred rows no more than of one.
        let hundred = |body: &'static str| -> Vec<_> {
            (0..100).map(|_| (comment::article_id.eq(a), comment::body.eq(body), comment::views.eq(0))).collect()
        };
        costs!("insert of 100 rows", INSERT, |conn, inside| {
            sweeper.insert_and_sweep(conn, comment::table, hundred(if inside { "many" } else { "other" }))
        });
        let these = |body: &'static str| comment::table.filter(comment::body.eq(body));
        costs!("update of 100 rows", UPDATE, |conn, inside| {
            sweeper.update_and_sweep(conn, these("many"), (comment::body.eq("many"), comment::views.eq(comment::views + 1)))
        });
        costs!("move of 100 rows", MOVE, |conn, inside| {
            sweeper.update_and_sweep(conn, these("many"), comment::article_id.eq(which(inside, b, a)))
        });
        costs!("delete of 100 rows", DELETE, |conn, inside| sweeper.delete_and_sweep(conn, these(if inside { "many" } else { "other" })));
        assert_eq!(these("many").count().get_result(conn), Ok(0_i64));
    }

    fn of_many_votes_on_many_comments(bench, conn) {
        use cachesweeper_tests::orm::diesel::entity::schema::vote;
        let counter = Counter::default();
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let ids: Vec<i64> = (0..50).map(|position| raw_comment(conn, if position % 2 == 0 { a } else { b }, "x")).collect();
        conn.set_instrumentation(counter.clone());
        assert_eq!(bench.sweeper.update_and_sweep(conn, comment::table.find(ids[0]), comment::body.eq("first")), Ok(1));
        let mut at_commit = 0;
        let commits = |conn: &mut _, at_commit: &mut usize, ids: &[i64]| {
            let votes: Vec<_> = ids.iter().map(|id| (vote::comment_id.eq(*id), vote::voter.eq(unique("voter")))).collect();
            let written = bench.sweeper.transaction(conn, |conn| {
                bench.sweeper.insert_and_sweep(conn, vote::table, &votes)?;
                *at_commit = counter.count();
                QueryResult::Ok(())
            });
            written.expect("the votes");
            counter.count() - *at_commit
        };
        let (few, many) = (commits(conn, &mut at_commit, &ids[..2]), commits(conn, &mut at_commit, &ids));
        // The comments' articles are found, touched (SQLite reads their versions first), and found again.
        assert_eq!((few, many), if bench.database.backend == Backend::Sqlite { (4, 4) } else { (3, 3) });
    }
}
