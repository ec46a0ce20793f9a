//! The table's module must be there, and have the columns.

use cachesweeper_diesel::CacheSweep;

#[derive(CacheSweep)]
struct Note {
    id: i32,
}

diesel::table! {
    pages (id) {
        id -> Integer,
    }
}

#[derive(CacheSweep)]
struct Page {
    id: i32,
    title: String,
}

fn main() {}
