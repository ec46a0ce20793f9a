//! Why the cache was bypassed, in words.

use std::fmt;

/// Why a fragment was rendered without the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A write on a record it shows is about to commit.
    Held,
    /// The store node lost its memory not long ago (a restart, a flush), or was never used before.
    Quarantine,
    /// In strict mode: its version log is new, and may have replaced one with open holds that was evicted.
    Adopted,
    /// The store node cannot be reached.
    NodeDown,
    /// The store drops version logs as fast as they are made: it is far too small.
    Evicted,
    /// It depends on nothing, so nothing could ever invalidate it.
    NoDependency,
    /// It was asked for by the key of a record whose version is a column of its row: load the row and pass it.
    KeyOfTimestampRecord,
    /// The task has a transaction open that has changed something.
    InTransaction,
    /// Its TTL cannot be kept.
    InvalidTtl,
    /// It is inside of a render that verifies, which must not use the cache.
    Verifying,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "a write on a record it shows is about to commit",
            Self::Quarantine => "the store node has lost its memory not long ago, or is new",
            Self::Adopted => "its version log is new, and strict mode waits until no hold can be open that an evicted log had",
            Self::NodeDown => "the store node cannot be reached",
            Self::Evicted => "the store drops version logs as fast as they are made: give it more memory",
            Self::NoDependency => "it depends on no record, so nothing could invalidate it: pass the rows that it shows",
            Self::KeyOfTimestampRecord => {
                "it was asked for by the key of a record whose version is a column of its row (`using = …`): load the row and pass it, or use the counter strategy"
            }
            Self::InTransaction => "this task has a transaction with changes open",
            Self::Verifying => "a fragment around it is rendered again to be verified",
            Self::InvalidTtl => "its TTL cannot be kept: give between 1 second and 3650 days",
        })
    }
}
