//! What only Diesel has: its forms of statements, transactions as closures on a connection, and what watches them.
#![allow(missing_docs, reason = "Diesel's macros write items without")]

mod bench;
mod broken;
mod commits;
mod costs;
mod deletes;
mod inserts;
mod interrupting;
mod keys;
#[path = "../../../cachesweeper-core/tests/support/logs.rs"]
mod logs;
mod multi;
mod names;
mod pages;
mod pool;
mod race;
mod transactions;
mod updated_at;
mod updates;
mod upserts;
mod versions;
mod watcher;
