//! The tables' rows. An article keeps its version in its own column; comments and votes have counters in the store.

pub(crate) mod article;
pub(crate) mod comment;
pub(crate) mod vote;
