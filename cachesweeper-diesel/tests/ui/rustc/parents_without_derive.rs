//! A parent that is listed derives `CacheSweep`.

use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

diesel::table! {
    articles (id) {
        id -> Integer,
    }
}

diesel::table! {
    comments (id) {
        id -> Integer,
        article_id -> Integer,
    }
}

#[derive(Identifiable)]
struct Article {
    id: i32,
}

#[derive(Identifiable, Associations, CacheSweep)]
#[diesel(belongs_to(Article))]
#[sweep(parents(Article))]
struct Comment {
    id: i32,
    article_id: i32,
}

fn main() {}
