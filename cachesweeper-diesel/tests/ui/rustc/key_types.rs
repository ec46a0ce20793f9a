//! Keys are numbers, text, booleans, bytes or UUIDs: their Rust types and their SQL types.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    articles (id) {
        id -> Integer,
    }
}

#[derive(CacheSweep)]
struct Article {
    id: ArticleId,
}

#[derive(Debug)]
struct ArticleId(i32);

diesel::table! {
    comments (id) {
        id -> Double,
        article_id -> Double,
        user_id -> Double,
    }
}

// The user is not swept, so its key does not matter.
#[derive(CacheSweep)]
#[diesel(belongs_to(Article), belongs_to(User))]
struct Comment {
    id: i32,
    article_id: f64,
    user_id: f64,
}

#[derive(CacheSweep)]
#[diesel(table_name = comments, primary_key(user_id), belongs_to(Article))]
#[sweep(parents(Article))]
struct Listed {
    article_id: f64,
    user_id: f64,
}

struct User;

fn main() {}
