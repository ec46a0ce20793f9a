//! The same for diesel-async: its connections, on the async [`Sweeper`].
//!
//! ```no_run
//! use cachesweeper_diesel::asynchronous::{AsyncSweepConn, Sweeper, prelude::*};
//!
//! # async fn example<C: AsyncSweepConn + 'static>(sweeper: Sweeper, conn: &mut C) -> diesel::QueryResult<()> {
//! sweeper.transaction(conn, async |conn| {
//!     // sweeper.insert_and_sweep(conn, comments::table, &new_comment).await?;
//!     diesel::QueryResult::Ok(())
//! }).await
//! # }
//! ```
//!
//! A future that is dropped loses no sweep. Its transaction stays open on its connection, as with diesel-async itself: a pool
//! sees that and closes the connection, which rolls it back.

mod connection;
mod statement;
mod transaction;
mod wrappers;

pub use cachesweeper_core::{Fragment, Fragments, Page, Sweeper};
pub use connection::AsyncSweepConn;
pub use statement::{AsyncExecuteStatement, AsyncLoadStatement};
pub use transaction::Body;
pub use wrappers::{AsyncExecuteAndSweep, AsyncSaveAndLoad, AsyncSaveChangesAndSweep, AsyncSweepDsl};

/// Everything that has methods: `use cachesweeper_diesel::asynchronous::prelude::*;`. Not to be mixed with the blocking
/// [`prelude`](crate::prelude): the methods have the same names.
pub mod prelude {
    pub use super::{AsyncExecuteAndSweep, AsyncSaveChangesAndSweep, AsyncSweepDsl};
    pub use crate::CacheSweep;
}
