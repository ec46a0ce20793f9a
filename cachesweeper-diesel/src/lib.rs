//! Fragment caching that is never stale, for Diesel.
//!
//! Derive [`CacheSweep`](macro@CacheSweep) on your row structs, and write through thin wrappers of Diesel's own functions: every
//! cached fragment that shows a row, or a parent of the row, is gone the moment the write commits.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use cachesweeper_diesel::{Sweeper, prelude::*};
//! use diesel::{connection::SimpleConnection, prelude::*};
//!
//! diesel::table! { articles (id) { id -> Integer, title -> Text, } }
//! diesel::table! { comments (id) { id -> Integer, article_id -> Integer, text -> Text, } }
//!
//! #[derive(Queryable, Identifiable, CacheSweep)]
//! #[diesel(table_name = articles)]
//! struct Article { id: i32, title: String }
//!
//! #[derive(Queryable, Identifiable, Associations, CacheSweep)]
//! #[diesel(table_name = comments, belongs_to(Article))]
//! struct Comment { id: i32, article_id: i32, text: String }
//!
//! let mut conn = SqliteConnection::establish(":memory:")?;
//! conn.batch_execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
//!                     CREATE TABLE comments (id INTEGER PRIMARY KEY, article_id INTEGER NOT NULL, text TEXT NOT NULL)")?;
//! let conn = &mut conn;
//! let sweeper = Sweeper::builder().memory(64 << 20).build()?;
//!
//! sweeper.insert_and_sweep(conn, articles::table, articles::title.eq("Caches"))?;
//! let article: Article = articles::table.first(conn)?;
//! let page = |conn: &mut SqliteConnection| {
//!     let mut count = || comments::table.filter(comments::article_id.eq(article.id)).count().get_result::<i64>(conn);
//!     sweeper.fragment(&article, "article.html").get_or_render(|| Ok::<_, diesel::result::Error>(format!("{} comments", count()?)))
//! };
//! assert_eq!(page(conn)?, "0 comments");                                 // rendered, and stored
//! assert_eq!(page(conn)?.outcome().word(), "hit");
//!
//! sweeper.transaction(conn, |conn| {                                     // swept, at its commit
//!     sweeper.insert_and_sweep(conn, comments::table, (comments::article_id.eq(article.id), comments::text.eq("First!")))?;
//!     sweeper.update_and_sweep(conn, articles::table.find(article.id), articles::title.eq("Caches, and how to sweep them"))?;
//!     QueryResult::Ok(())
//! })?;
//! assert_eq!(page(conn)?, "1 comments");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Diesel has no hooks, so a write that goes past the wrappers is not seen. The [`Watcher`] reports such writes in development.

mod anatomy;
#[cfg(feature = "diesel-async")]
pub mod asynchronous;
mod commit;
mod connection;
mod db;
mod describe;
mod error;
mod frames;
mod rewrite;
mod runnable;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite_insert;
mod statement;
mod touch;
mod transaction;
mod value;
mod watcher;
mod wrappers;
mod write;

pub use cachesweeper_core::blocking::{Fragment, Fragments, Page, Sweeper};
#[cfg(feature = "minijinja")]
pub use cachesweeper_core::template;
pub use cachesweeper_core::{
    Builder, CacheSweep, Collection, Config, Dependencies, Dependency, InvalidTtl, KeyLookup, Outcome, Policy, Prefetch, Reason, RecordKey,
    Rendered, Stats, Strategy, registry, store,
};
/// Makes a row struct usable in fragments, and writes to its table invalidate them.
///
/// Derive it beside `Identifiable` (and `Associations`); it reads `#[diesel(table_name = …, primary_key(…), belongs_to(…))]`
/// and `#[diesel(column_name = …)]`.
///
/// On the struct, `#[sweep(…)]` takes:
///
/// * `using = "updated_at"`: the version is this timestamp column of the row itself (chrono's or time's types). Without it, a
///   counter in the store.
/// * `parents(Article, …)`: only these `belongs_to` parents are swept; `parents()`: none. Without it, every one that derives
///   `CacheSweep` too.
/// * `collection`: a version of the whole table is kept, for fragments that list it: `Comment::collection()`.
/// * `max_depth = 32`: how many levels a tree of this entity may have (64 without it).
///
/// On a field, `#[sweep(skip)]` leaves the column out: a write of skipped columns alone sweeps nothing, and a fragment that shows
/// them goes stale by design.
pub use cachesweeper_derive::DieselCacheSweep as CacheSweep;
/// Makes an enum of connections that derives Diesel's `MultiConnection` usable with the wrappers.
pub use cachesweeper_derive::SweepConn;
pub use connection::SweepConn;
pub use describe::{SweepModel, SweepTable};
pub use error::Error;
pub use sql::{Dialect, SweepBackend};
pub use statement::{ExecuteStatement, LoadStatement};
pub use value::KeyColumn;
pub use watcher::Watcher;
pub use wrappers::{ExecuteAndSweep, SaveChangesAndSweep, SweepDsl};

/// Everything that has methods: `use cachesweeper_diesel::prelude::*;`.
pub mod prelude {
    pub use crate::{CacheSweep, ExecuteAndSweep, SaveChangesAndSweep, SweepDsl};
}

/// What the derives' code names. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use cachesweeper_core::digest::{RowDigest, TimestampColumn};
    pub use cachesweeper_core::registry::{Entity, Registered, inventory};
    pub use cachesweeper_core::{CacheSweep, Collection, Dependencies, Dependency, KeyLookup, Micros, RecordKey, Row};
    pub use diesel;

    pub use crate::connection::SweepConn;
    pub use crate::describe::{
        Declaration, Declared, NoParent, SweepColumn, SweepModel, SweepTable, SweptParent, Target, column_name, describe, key_kind,
        listed_parent, zoned,
    };
    pub use crate::rewrite::Renderer;
    pub use crate::sql::Dialect;
    pub use crate::statement::inserts;
    pub use crate::value::{Column, DigestByColumn, DigestByDebug, ReadKey, ReadNothing, ReadVersion, Value};
}
