//! `parents` is a list of names.

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
#[sweep(parents = "Article")]
struct Comment {
    id: i32,
    article_id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Article))]
#[sweep(parents(crate::Article))]
struct Other {
    id: i32,
    article_id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, belongs_to(Article))]
#[sweep(parents(Article, Article))]
struct Third {
    id: i32,
    article_id: i32,
}

fn main() {}
