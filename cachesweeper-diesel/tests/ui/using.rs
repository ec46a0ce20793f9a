//! `using` names a column of the struct.

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
#[sweep(using = "updated")]
struct Note {
    id: i32,
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
#[sweep(using = "counter")]
struct Counter {
    id: i32,
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = notes)]
#[sweep(using = "changed")]
struct Embedding {
    id: i32,
    #[diesel(embed)]
    changed: Changed,
}

#[derive(Clone, Debug, Queryable)]
struct Changed {
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
