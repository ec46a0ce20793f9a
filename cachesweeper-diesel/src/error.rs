//! What can go wrong in a wrapper, and what to do about it.

/// A problem of a wrapper. Wrappers return Diesel's error, in which it is the cause of a `QueryBuilderError`; nothing was written
/// then.
///
/// ```
/// use cachesweeper_diesel::Error;
/// use diesel::result::Error as DieselError;
///
/// fn cause(error: &DieselError) -> Option<&Error> {
///     match error {
///         DieselError::QueryBuilderError(cause) => cause.downcast_ref(),
///         _ => None,
///     }
/// }
/// # let error = DieselError::from(Error::OtherSweeper { what: "the transaction".into() });
/// # assert!(cause(&error).is_some());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sweeper refused it, or could not do its part.
    #[error(transparent)]
    Sweeper(#[from] cachesweeper_core::Error),
    /// The transaction was begun by another sweeper.
    #[error(
        "{what} is inside a transaction of another sweeper, whose commit would not tell this one. Nothing was written. Use the sweeper whose \
         transaction it is"
    )]
    OtherSweeper {
        /// "the write to `comment`", or "the transaction".
        what: String,
    },
    /// A record was to be invalidated by hand inside of a transaction.
    #[error(
        "`{record}` cannot be invalidated here: a transaction is open, and who reads before its COMMIT would cache again what is there so far. \
         Nothing was invalidated. Invalidate after its COMMIT"
    )]
    BeforeCommit {
        /// The record.
        record: String,
    },
    /// The statement does not tell which rows it changes.
    #[error("the rows that this statement changes cannot be told from it: {statement}. Nothing was written. {advice}")]
    Untold {
        /// Its SQL.
        statement: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// Another transaction came in between.
    #[error(
        "an upsert found rows of `{table}` that other transactions were making in the same moment, again and again, so that their old parents \
         are not known. Nothing was written. Try again"
    )]
    Interrupted {
        /// The table.
        table: String,
    },
    /// A timestamp that cannot be written.
    #[error("{table}.{column} cannot hold the time {micros} µs after 1970. On SQLite the feature `chrono` or `time` is needed")]
    Stamp {
        /// The table.
        table: String,
        /// The column.
        column: &'static str,
        /// The time, in microseconds since 1970.
        micros: u64,
    },
    /// The model was registered by another ORM only.
    #[error(
        "`{table}` was not registered by Diesel's derive. Derive `cachesweeper_diesel::CacheSweep` on the struct that its rows are loaded as"
    )]
    NotRegistered {
        /// The table.
        table: String,
    },
}

impl From<Error> for diesel::result::Error {
    fn from(error: Error) -> Self {
        Self::QueryBuilderError(Box::new(error))
    }
}
