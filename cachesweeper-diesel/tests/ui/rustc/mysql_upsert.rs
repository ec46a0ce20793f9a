//! MySQL does not tell which rows an upsert changed.

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
    let mut conn = MysqlConnection::establish("mysql://localhost/notes").unwrap();
    let _ = diesel::insert_into(notes::table)
        .values(notes::id.eq(1))
        .on_conflict(diesel::dsl::DuplicatedKeys)
        .do_update()
        .set(notes::body.eq("b"))
        .execute_and_sweep(&sweeper, &mut conn);
}
