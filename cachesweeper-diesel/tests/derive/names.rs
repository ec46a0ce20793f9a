//! Tables and columns with names of their own.

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{CacheSweep, SweepModel};
use diesel::prelude::*;

use crate::{look, start, with_node};

mod schema {
    diesel::table! {
        archive.named_pages (id) {
            id -> BigInt,
            book_id -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        #[sql_name = "named books"]
        named_books (number) {
            #[sql_name = "book no"]
            number -> BigInt,
            #[sql_name = "type"]
            type_ -> Text,
            r#match -> Text,
            #[sql_name = "changed at"]
            updated_at -> Timestamp,
        }
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = crate::names::schema::named_pages, belongs_to(self::Book, foreign_key = r#book_id))]
struct Page {
    id: i64,
    #[diesel(column_name = "book_id")]
    r#in: Option<i64>,
}

#[derive(CacheSweep)]
#[diesel(table_name = schema::named_books, primary_key(r#number))]
#[sweep(using = "changed")]
pub struct Book {
    #[diesel(column_name = number)]
    id: i64,
    #[diesel(column_name = type_)]
    r#type: String,
    r#match: String,
    #[diesel(column_name = updated_at)]
    changed: chrono::NaiveDateTime,
}

#[test]
fn the_names_are_the_database_s() {
    let book = Book { id: 7, r#type: "novel".into(), r#match: "none".into(), changed: chrono::NaiveDateTime::default() };
    assert_eq!(book.record_key().to_string(), "named%20books:7");
    assert_eq!(Book::PRIMARY_KEY, ["book no"]);
    let page = Page { id: 3, r#in: Some(7) };
    assert_eq!(page.record_key().to_string(), "archive.named_pages:3");
    assert_eq!(with_node("archive.named_pages", |node| node.parents.clone()), ["named books"]);
}

#[test]
fn columns_with_other_names_are_in_the_digest() {
    let book =
        |kind: &str, other: &str| Book { id: 7, r#type: kind.into(), r#match: other.into(), changed: chrono::NaiveDateTime::default() };
    assert_ne!(book("a", "b").row_digest(), book("a", "c").row_digest());
    assert_ne!(book("a", "b").row_digest(), book("c", "b").row_digest());
}

const TABLES: &str = r#"
    ATTACH DATABASE ':memory:' AS archive;
    CREATE TABLE archive.named_pages (id BIGINT PRIMARY KEY, book_id BIGINT);
    CREATE TABLE "named books" ("book no" BIGINT PRIMARY KEY, "type" TEXT NOT NULL, "match" TEXT NOT NULL, "changed at" TIMESTAMP NOT NULL);
    INSERT INTO "named books" VALUES (7, 'novel', 'none', '2001-01-01 12:00:00'), (8, 'poems', 'none', '2001-01-01 12:00:00');
"#;

#[test]
fn writes_find_renamed_columns() {
    use schema::{named_books, named_pages};
    let (sweeper, mut conn) = start(TABLES);
    let conn = &mut conn;
    let changed = |conn: &mut SqliteConnection, number: i64| {
        let row: (i64, String, String, chrono::NaiveDateTime) = named_books::table.find(number).first(conn).expect("selected");
        Book { id: row.0, r#type: row.1, r#match: row.2, changed: row.3 }.updated_at().expect("not NULL")
    };
    let [before, other] = [7, 8].map(|number| changed(conn, number));
    sweeper.insert_and_sweep(conn, named_pages::table, (named_pages::id.eq(3), named_pages::book_id.eq(7))).expect("inserted");
    let touched = changed(conn, 7);
    assert!(touched > before, "a page's book is touched");
    assert_eq!(changed(conn, 8), other, "another book is not");
    let page = Page::key(3);
    assert_eq!((look(&sweeper, &page), look(&sweeper, &page)), ("miss", "hit"));
    sweeper.update_and_sweep(conn, named_pages::table.find(3), named_pages::book_id.eq(8)).expect("updated");
    assert_eq!(look(&sweeper, &page), "miss");
    assert!(changed(conn, 7) > touched && changed(conn, 8) > other, "the old book and the new one");
}

/// Names that the derive's code uses itself.
mod sweep {
    diesel::table! {
        sweep (id) {
            id -> BigInt,
            row -> Text,
            out -> Text,
        }
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = sweep::sweep)]
struct Entity {
    id: i64,
    row: String,
    out: String,
}

#[test]
fn names_of_the_derive_s_code_are_not_in_the_way() {
    assert_eq!(Entity { id: 1, row: String::new(), out: String::new() }.record_key(), Entity::key(1));
    assert_eq!(Entity::entity().name(), "sweep");
}
