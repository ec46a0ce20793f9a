//! Nothing is said twice, in one attribute or in two.

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
#[sweep(using = "updated_at", collection)]
#[sweep(collection, using = "views")]
struct Note {
    id: i32,
    #[sweep(skip)]
    #[sweep(skip)]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
