//! What is written to a table without a model cannot be swept.

use cachesweeper_diesel::prelude::*;
use diesel::prelude::*;

diesel::table! {
    notes (id) {
        id -> Integer,
        body -> Text,
    }
}

fn main() {
    let sweeper = cachesweeper_diesel::Sweeper::builder().memory(64 << 20).build().unwrap();
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    let _ = diesel::delete(notes::table).execute_and_sweep(&sweeper, &mut conn);
    let _ = sweeper.delete_and_sweep(&mut conn, notes::table);
}
