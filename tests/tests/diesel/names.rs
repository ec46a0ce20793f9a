//! Tables in other schemas, and columns with names that need quotes.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::Backend;
use diesel::prelude::*;

use crate::bench::each_database;

mod reserved {
    //! Reserved words, and quotes inside of names.

    diesel::table! {
        #[sql_name = "order"]
        orders (id) {
            id -> BigInt,
            #[sql_name = "group"]
            group_name -> Text,
            #[sql_name = "select"]
            selected -> Nullable<Text>,
        }
    }

    diesel::table! {
        #[sql_name = "li`ne \"WHERE\""]
        lines (id) {
            #[sql_name = "i`d \"x\" = 'y"]
            id -> BigInt,
            #[sql_name = "order, id"]
            order_id -> BigInt,
            #[sql_name = "a \"b\" `c` ' RETURNING"]
            text -> Text,
        }
    }
}

use reserved::{lines, orders};

#[derive(Clone, Debug, Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = orders)]
struct Order {
    id: i64,
    #[diesel(column_name = group_name)]
    group: String,
    selected: Option<String>,
}

#[derive(Clone, Debug, Queryable, Identifiable, Associations, AsChangeset, CacheSweep)]
#[diesel(table_name = lines, belongs_to(Order, foreign_key = order_id))]
struct Line {
    id: i64,
    order_id: i64,
    text: String,
}

/// As the database in question quotes a name.
fn quoted(backend: Backend, name: &str) -> String {
    match backend {
        Backend::MySql => format!("`{}`", name.replace('`', "``")),
        Backend::Sqlite | Backend::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn tables(backend: Backend) -> String {
    let (id, text) = match backend {
        Backend::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT"),
        Backend::Postgres => ("BIGSERIAL PRIMARY KEY", "TEXT"),
        Backend::MySql => ("BIGINT AUTO_INCREMENT PRIMARY KEY", "VARCHAR(100)"),
    };
    let name = |name: &str| quoted(backend, name);
    format!(
        "CREATE TABLE {} (id {id}, {} {text} NOT NULL, {} {text}); CREATE TABLE {} ({} {id}, {} BIGINT NOT NULL, {} {text} NOT NULL)",
        name("order"),
        name("group"),
        name("select"),
        name("li`ne \"WHERE\""),
        name("i`d \"x\" = 'y"),
        name("order, id"),
        name("a \"b\" `c` ' RETURNING"),
    )
}

each_database! {
    fn names_that_need_quotes(bench, conn) {
        bench.database.run(&tables(bench.database.backend));
        let sweeper = &bench.sweeper;
        bench.sweeps(&[Order::key(1)], &[Order::key(2)], || {
            let order = (orders::group_name.eq("first"), orders::selected.eq("s"));
            assert_eq!(sweeper.insert_and_sweep(conn, orders::table, order), Ok(1));
        });
        assert_eq!(sweeper.insert_and_sweep(conn, orders::table, orders::group_name.eq("second")), Ok(1));
        let line = |order: i64| (lines::order_id.eq(order), lines::text.eq("a `text` \"with\" 'quotes'"));
        bench.sweeps(&[Order::key(1), Line { id: 1, order_id: 1, text: String::new() }.record_key()], &[Order::key(2)], || {
            assert_eq!(sweeper.insert_and_sweep(conn, lines::table, line(1)), Ok(1));
        });
        bench.sweeps(&[Order::key(1), Order::key(2)], &[], || {
            assert_eq!(sweeper.insert_and_sweep(conn, lines::table, vec![line(1), line(2)]), Ok(2));
        });
        bench.sweeps(&[Order::key(2)], &[Order::key(1)], || {
            let these = lines::table.filter(lines::order_id.eq(2));
            assert_eq!(sweeper.update_and_sweep(conn, these, lines::text.eq("changed")), Ok(1));
        });
        bench.sweeps(&[Order::key(1), Order::key(2)], &[], || {
            let these = lines::table.filter(lines::text.eq("changed"));
            assert_eq!(sweeper.update_and_sweep(conn, these, lines::order_id.eq(1)), Ok(1), "it moves");
        });
        bench.sweeps(&[Order::key(1)], &[Order::key(2)], || {
            assert_eq!(
                sweeper.update_and_sweep(conn, orders::table.find(1), (orders::group_name.eq("g"), orders::selected.eq(None::<String>))),
                Ok(1)
            );
        });
        let row: Line = lines::table.order(lines::id).first(conn).expect("a line");
        bench.sweeps(&[Order::key(1)], &[Order::key(2)], || {
            let saved: Line = Line { text: "saved".into(), ..row.clone() }.save_changes_and_sweep(sweeper, conn).expect("saved");
            assert_eq!(saved.text, "saved");
        });
        bench.sweeps(&[Order::key(1), row.record_key()], &[Order::key(2)], || {
            assert_eq!(sweeper.delete_and_sweep(conn, &row), Ok(1));
        });
        assert_eq!(lines::table.count().get_result(conn), Ok(2_i64));
    }

    [sqlite postgres]
    fn names_that_need_quotes_in_upserts(bench, conn) {
        bench.database.run(&tables(bench.database.backend));
        let sweeper = &bench.sweeper;
        for group in ["first", "second"] {
            assert_eq!(sweeper.insert_and_sweep(conn, orders::table, orders::group_name.eq(group)), Ok(1));
        }
        let upsert = |order: i64| {
            diesel::insert_into(lines::table)
                .values((lines::id.eq(7), lines::order_id.eq(order), lines::text.eq("t")))
                .on_conflict(lines::id)
                .do_update()
                .set((lines::order_id.eq(diesel::upsert::excluded(lines::order_id)), lines::text.eq("there")))
        };
        bench.sweeps(&[Order::key(1)], &[Order::key(2)], || assert_eq!(upsert(1).execute_and_sweep(sweeper, conn), Ok(1)));
        bench.sweeps(&[Order::key(1), Order::key(2)], &[], || assert_eq!(upsert(2).execute_and_sweep(sweeper, conn), Ok(1)));
    }
}

mod schemas {
    //! Tables of another schema. On SQLite it is a database that was attached.

    use super::*;

    mod elsewhere {
        diesel::table! {
            cachesweeper_elsewhere.shelf (id) {
                id -> BigInt,
                name -> Text,
                updated_at -> Timestamp,
            }
        }

        diesel::table! {
            cachesweeper_elsewhere.book (id) {
                id -> BigInt,
                shelf_id -> BigInt,
                title -> Text,
            }
        }
    }

    use elsewhere::{book, shelf};

    #[derive(Clone, Debug, Queryable, Identifiable, CacheSweep)]
    #[diesel(table_name = shelf)]
    #[sweep(using = "updated_at")]
    struct Shelf {
        id: i64,
        name: String,
        updated_at: chrono::NaiveDateTime,
    }

    #[derive(Clone, Debug, Queryable, Identifiable, Associations, CacheSweep)]
    #[diesel(table_name = book, belongs_to(Shelf))]
    struct Book {
        id: i64,
        shelf_id: i64,
        title: String,
    }

    fn make(conn: &mut impl diesel::connection::SimpleConnection, before: &str, time: &str, id: &str) {
        conn.batch_execute(&format!(
            "{before}
             CREATE TABLE IF NOT EXISTS cachesweeper_elsewhere.shelf (id BIGINT PRIMARY KEY, name TEXT NOT NULL, updated_at {time} NOT NULL);
             CREATE TABLE IF NOT EXISTS cachesweeper_elsewhere.book (id {id} PRIMARY KEY, shelf_id BIGINT NOT NULL, title TEXT NOT NULL)"
        ))
        .expect("the tables");
    }

    each_database! {
        [sqlite postgres]
        fn of_another_schema(bench, conn) {
            match bench.database.backend {
                Backend::Sqlite => make(conn, "ATTACH DATABASE ':memory:' AS cachesweeper_elsewhere;", "TEXT", "INTEGER"),
                // The schema is the server's, not this test's. Runs take turns: CREATE … IF NOT EXISTS fails if two do it at once.
                _ => make(
                    conn,
                    "SELECT pg_advisory_lock(4711); CREATE SCHEMA IF NOT EXISTS cachesweeper_elsewhere;",
                    "TIMESTAMP",
                    "BIGSERIAL",
                ),
            }
            let sweeper = &bench.sweeper;
            let (one, two) = (i64::from(std::process::id()) * 2, i64::from(std::process::id()) * 2 + 1);
            let now = chrono::Utc::now().naive_utc();
            for id in [one, two] {
                diesel::delete(shelf::table.find(id)).execute(conn).expect("a run before this one");
                let row = (shelf::id.eq(id), shelf::name.eq("shelf"), shelf::updated_at.eq(now));
                assert_eq!(sweeper.insert_and_sweep(conn, shelf::table, row), Ok(1));
            }
            let version = |conn: &mut _, id: i64| {
                shelf::table.find(id).select(shelf::updated_at).first::<chrono::NaiveDateTime>(conn).expect("a shelf")
            };
            let row: Shelf = shelf::table.find(one).first(conn).expect("the shelf");
            assert_eq!(row.record_key().to_string(), format!("cachesweeper_elsewhere.shelf:{one}"));

            let mut before = version(conn, one);
            let other = version(conn, two);
            let mut rises = |conn: &mut _, what: &str| {
                let now = version(conn, one);
                assert!(now > before, "{what}");
                before = now;
            };
            assert_eq!(sweeper.insert_and_sweep(conn, book::table, (book::shelf_id.eq(one), book::title.eq("book"))), Ok(1));
            rises(conn, "an insert");
            let mine = || book::table.filter(book::shelf_id.eq(one));
            assert_eq!(sweeper.update_and_sweep(conn, mine(), book::title.eq("other")), Ok(1));
            rises(conn, "an update");
            let id: i64 = mine().select(book::id).first(conn).expect("the book");
            let upsert = diesel::insert_into(book::table)
                .values((book::id.eq(id), book::shelf_id.eq(one), book::title.eq("t")))
                .on_conflict(book::id)
                .do_update()
                .set((book::title.eq("u"), book::shelf_id.eq(one)));
            assert_eq!(upsert.execute_and_sweep(sweeper, conn), Ok(1));
            rises(conn, "an upsert");
            assert_eq!(sweeper.update_and_sweep(conn, shelf::table.find(one), shelf::name.eq("renamed")), Ok(1));
            rises(conn, "an update of the shelf itself");
            let upsert = diesel::insert_into(shelf::table)
                .values((shelf::id.eq(one), shelf::name.eq("s"), shelf::updated_at.eq(now)))
                .on_conflict(shelf::id)
                .do_update()
                .set(shelf::name.eq("upserted"));
            assert_eq!(upsert.execute_and_sweep(sweeper, conn), Ok(1));
            rises(conn, "an upsert of the shelf itself");
            bench.sweeps(&[Book::key(id)], &[], || assert_eq!(sweeper.delete_and_sweep(conn, mine()), Ok(1)));
            rises(conn, "a delete");
            assert_eq!(version(conn, two), other);
            assert_eq!(sweeper.delete_and_sweep(conn, shelf::table.filter(shelf::id.eq_any([one, two]))), Ok(2));
        }
    }
}
