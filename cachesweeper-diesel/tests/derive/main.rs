//! What the derive writes, at run time.
//!
//! All entities of this program share one registry, so every one has its own table.

// What Diesel's macros write is public, and not all of it is used here.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![cfg(all(feature = "chrono", feature = "time", feature = "uuid", feature = "sqlite"))]

mod connections;
mod digests;
mod keys;
mod names;
mod parents;
mod strict;
mod versions;

use cachesweeper_core::face::Face as _;
use cachesweeper_diesel::registry::Node;
use cachesweeper_diesel::{Dependencies, Sweeper};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

/// A sweeper with a store of its own, and a database of its own with these tables.
fn start(tables: &str) -> (Sweeper, SqliteConnection) {
    let mut conn = SqliteConnection::establish(":memory:").expect("SQLite is embedded");
    conn.batch_execute(tables).expect("the tables can be made");
    (sweeper(), conn)
}

fn sweeper() -> Sweeper {
    Sweeper::builder().memory(1 << 20).build().expect("the entities fit together")
}

/// Looks a fragment of `on` up, and fills it.
fn look<D: Dependencies>(sweeper: &Sweeper, on: D) -> &'static str {
    let fragment = sweeper.fragment(on, "test.html").get_or_render(|| Ok::<_, std::convert::Infallible>("…"));
    fragment.expect("rendering cannot fail").outcome().word()
}

/// A table's node in the graph of this program.
fn with_node<T>(table: &str, read: impl FnOnce(&Node) -> T) -> T {
    read(sweeper().graph().table(table).expect("registered"))
}
