//! A misspelt name is read as if it was right, so that nothing else is reported as well.

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
#[sweep(usin = "updated_at", parent(), colection)]
struct Note {
    id: i32,
    #[sweep(skp)]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
