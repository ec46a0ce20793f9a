//! A row whose version is a column must be loaded.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        updated_at -> Timestamp,
    }
}

#[derive(CacheSweep)]
#[sweep(using = "updated_at")]
struct Note {
    id: i32,
    updated_at: chrono::NaiveDateTime,
}

fn main() {
    Note::key(1);
}
