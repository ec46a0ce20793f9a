//! A parent is named by its foreign key.

use cachesweeper_diesel::CacheSweep;

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
    id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Article))]
struct Comment {
    id: i32,
    #[diesel(column_name = parent_id)]
    article_id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(crate::Article, foreign_key = articleid))]
struct Misspelt {
    id: i32,
    article_id: i32,
}

// It is not swept.
#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Article))]
#[sweep(parents())]
struct Narrowed {
    id: i32,
}

fn main() {}
