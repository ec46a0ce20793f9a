//! What cannot be read at all.

use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

diesel::table! {
    notes (id) {
        id -> Integer,
        views -> Integer,
        updated_at -> Timestamp,
    }
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
#[sweep(using = )]
#[sweep(max_depth = 0)]
struct Note {
    id: i32,
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
