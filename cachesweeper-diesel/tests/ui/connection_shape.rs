//! An enum of connections has one in each variant.

use cachesweeper_diesel::SweepConn;

#[derive(SweepConn)]
struct One(diesel::SqliteConnection);

#[derive(SweepConn)]
enum None {}

#[derive(SweepConn)]
enum Several {
    Lite(diesel::SqliteConnection),
    Unit,
    Two(diesel::SqliteConnection, u8),
    Named { conn: diesel::SqliteConnection },
}

fn main() {}
