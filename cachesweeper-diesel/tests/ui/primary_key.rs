//! A record is named by its primary key.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        views -> Integer,
        updated_at -> Timestamp,
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = notes)]
struct Note {
    views: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = notes, primary_key(id, view))]
struct Composite {
    #[diesel(embed)]
    id: i32,
    views: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = notes, primary_key())]
struct Nothing {
    id: i32,
}

fn main() {}
