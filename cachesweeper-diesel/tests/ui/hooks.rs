//! Diesel has no hooks.

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
#[sweep(hooks = "manual")]
struct Note {
    id: i32,
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
struct Other {
    id: i32,
    #[sweep(hooks)]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
