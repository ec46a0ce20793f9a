//! Columns that the cache lives by cannot be skipped.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        views -> Integer,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    articles (id) {
        id -> Integer,
    }
}

diesel::table! {
    comments (id) {
        id -> Integer,
        article_id -> Integer,
        parent_id -> Nullable<Integer>,
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = articles)]
struct Article {
    #[sweep(skip)]
    id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Article), belongs_to(Comment, foreign_key = parent_id))]
#[sweep(parents(Article))]
struct Comment {
    id: i32,
    #[sweep(skip)]
    article_id: i32,
    // Its parent is not swept.
    #[sweep(skip)]
    parent_id: Option<i32>,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Comment, foreign_key = parent_id))]
struct Again {
    id: i32,
    #[sweep(skip)]
    #[diesel(column_name = parent_id)]
    above: Option<i32>,
}

#[derive(CacheSweep)]
#[diesel(table_name = notes)]
#[sweep(using = "updated_at")]
struct Note {
    id: i32,
    #[sweep(skip)]
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
