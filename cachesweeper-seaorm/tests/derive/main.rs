//! What the derive writes, at run time: on an embedded SQLite database and the memory store.
//!
//! All entities of this program share one registry, so every one has its own table.

// What SeaORM's macros write is public, and not all of it is used here.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![cfg(all(feature = "chrono", feature = "time", feature = "uuid", feature = "sqlx-sqlite"))]

mod digests;
mod formats;
mod keys;
mod names;
mod parents;
mod versions;

use cachesweeper_seaorm::{Dependencies, SweepConnection, Sweeper};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbErr, EntityTrait, Schema};

/// A sweeper with a store of its own, and a connection to a database of its own.
async fn start() -> (Sweeper, SweepConnection) {
    let sweeper = Sweeper::builder().memory(64 << 20).build().expect("the entities fit together");
    let mut options = ConnectOptions::new("sqlite::memory:");
    // An embedded database is its connection's own.
    options.max_connections(1);
    let db = Database::connect(options).await.expect("SQLite is embedded");
    (sweeper.clone(), SweepConnection::new(db, sweeper))
}

async fn create<E: EntityTrait>(db: &SweepConnection, entity: E) {
    let table = Schema::new(db.get_database_backend()).create_table_from_entity(entity);
    db.execute(&table).await.expect("the table can be made");
}

/// Looks a fragment of `on` up, and fills it.
async fn look<D: Dependencies>(sweeper: &Sweeper, on: D) -> &'static str {
    let fragment = sweeper.fragment(on, "test.html").get_or_render(async || Ok::<_, DbErr>("…")).await;
    fragment.expect("rendering cannot fail").outcome().word()
}
