//! A model is a struct with named fields, of one table.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        views -> Integer,
        updated_at -> Timestamp,
    }
}

#[derive(CacheSweep)]
enum Enum {
    One,
}

#[derive(CacheSweep)]
struct Tuple(#[diesel(column_name = id)] i32);

#[derive(CacheSweep)]
struct Unit;

#[derive(CacheSweep)]
#[diesel(table_name = notes)]
struct Generic<T> {
    id: T,
}

fn main() {
    // Uses are not reported as well.
    let _ = (Enum::One.record_key(), Tuple(1).record_key(), Unit.row_digest(), Generic { id: 1 }.record_key());
}
