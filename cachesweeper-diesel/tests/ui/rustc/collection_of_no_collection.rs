//! Only `#[sweep(collection)]` keeps a version of the whole table.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        body -> Text,
    }
}

#[derive(CacheSweep)]
struct Note {
    id: i32,
    body: String,
}

fn main() {
    Note::collection();
}
