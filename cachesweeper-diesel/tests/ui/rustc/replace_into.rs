//! `REPLACE` removes rows that nobody names.

use cachesweeper_diesel::prelude::*;
use diesel::prelude::*;

diesel::table! {
    notes (id) {
        id -> Integer,
        body -> Text,
    }
}

#[derive(Queryable, CacheSweep)]
struct Note {
    id: i32,
    body: String,
}

fn main() {
    let sweeper = cachesweeper_diesel::Sweeper::builder().memory(64 << 20).build().unwrap();
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    let _ = diesel::replace_into(notes::table).values(notes::id.eq(1)).execute_and_sweep(&sweeper, &mut conn);
}
