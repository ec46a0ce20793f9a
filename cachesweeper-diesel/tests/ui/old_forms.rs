//! What Diesel still reads outside of `#[diesel(…)]` is not missed.

use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

diesel::table! {
    articles (id) {
        id -> Integer,
    }
}

diesel::table! {
    notes (id) {
        id -> Integer,
        article_id -> Integer,
        above -> Nullable<Integer>,
        above_id -> Nullable<Integer>,
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = articles)]
struct Article {
    id: i32,
}

#[derive(Queryable, Associations, CacheSweep)]
#[diesel(table_name = notes, belongs_to(Article))]
#[belongs_to(Note, foreign_key = "above_id")]
#[table_name = "notes"]
struct Note {
    id: i32,
    article_id: i32,
    #[column_name = "above_id"]
    above: Option<i32>,
}

fn main() {}
