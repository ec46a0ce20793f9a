//! Names that are not there, and attributes that say nothing.

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
#[sweep(touch)]
struct Note {
    id: i32,
    #[sweep]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
#[sweep]
struct Other {
    id: i32,
    #[sweep = "skip"]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
