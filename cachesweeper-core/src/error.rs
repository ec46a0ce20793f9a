//! What can go wrong, and what to do about it.

use crate::registry::GraphError;
use crate::store::StoreError;

/// A problem of the sweeper.
///
/// Store problems never reach a page: they are absorbed, counted in the statistics and logged. They reach a writer under
/// [`Policy::Abort`](crate::Policy::Abort) only.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The builder was given something that cannot work.
    #[error("cachesweeper is configured wrongly: {0}")]
    Config(String),
    /// The entities do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A write was refused because its records could not be marked (policy `Abort`).
    #[error(
        "the write was rolled back, because {record} could not be invalidated first ({cause}). Bring the store back, or choose Policy::Proceed"
    )]
    Refused {
        /// The first record that could not be marked.
        record: String,
        /// Why.
        cause: StoreError,
    },
    /// An entity's ancestors are found by a database query, and no connection is known.
    #[error(
        "the ancestors of `{record}` are found by a query, but this sweeper knows no database: with SeaORM make a SweepConnection with it \
         first, with Diesel call `sweeper.invalidate_with(conn, …)`"
    )]
    NoDatabase {
        /// The record.
        record: String,
    },
    /// A record was invalidated by hand while this task has a transaction with changes open.
    #[error(
        "`{record}` cannot be invalidated here: this task has a transaction with changes open, and finding the record's ancestors takes \
         another connection. Invalidate after its COMMIT"
    )]
    InTransaction {
        /// The record.
        record: String,
    },
    /// The database did not say which ancestors a record has.
    #[error("the ancestors of `{record}` could not be read from the database: {cause}")]
    Database {
        /// The record.
        record: String,
        /// What the database said.
        cause: String,
    },
}
