//! What is said of the model goes on the model, what is said of a field on the field.

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
#[sweep(skip)]
struct Note {
    id: i32,
    #[sweep(using = "updated_at")]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {}
