//! Values of the wrong kind.

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
#[sweep(collection = true, max_depth = "32", using = updated_at)]
struct Note {
    id: i32,
    #[sweep(skip = true)]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
#[sweep(using, max_depth = 0)]
struct Other {
    id: i32,
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
