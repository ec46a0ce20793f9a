//! Stores: where version logs and fragments live.
//!
//! A store has one method, [`Store::run`] (or [`AsyncStore::run`]): run this batch of operations, return one reply each.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Micros, Ttl};

#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
pub mod router;

/// One operation on one item of one store node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// The node, an index into [`StoreInfo::nodes`].
    pub node: usize,
    /// The item's key: printable ASCII without spaces, at most 250 bytes.
    pub key: Arc<str>,
    /// What to do with the item.
    pub action: Action,
}

impl Op {
    /// Reads the item under `key`.
    pub fn get(node: usize, key: impl Into<Arc<str>>) -> Self {
        Self { node, key: key.into(), action: Action::Get }
    }
}

/// What to do with an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read it: [`Reply::Value`] or [`Reply::No`].
    Get,
    /// The same, on behalf of a write: also from a node that is not read from yet because it has just come back.
    GetForWrite,
    /// Store it if the key has no item: [`Reply::Done`] or [`Reply::No`].
    Add(Bytes, Ttl),
    /// Add to its end and give it a new TTL if it is there: [`Reply::Done`] or [`Reply::No`].
    Append(Bytes, Ttl),
    /// Store it, whatever was there: [`Reply::Done`].
    Set(Bytes, Ttl),
    /// Store the second value if the item's bytes are the first: [`Reply::Done`] or [`Reply::No`].
    Replace(Bytes, Bytes, Ttl),
    /// Delete it: [`Reply::Done`], or [`Reply::No`] if there was none.
    Delete,
}

impl Action {
    /// Whether the operation only reads.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Get)
    }
}

/// A store's answer to one [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The item's value.
    Value(Bytes),
    /// It was done.
    Done,
    /// It was not done: no such item, it exists already, or it has changed.
    No,
    /// The item would be larger than the store takes.
    TooLarge,
    /// The node could not be reached, or answered with an error. Whether a write landed is unknown.
    Failed(StoreError),
}

impl Reply {
    /// The value, if this is one.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

/// Why a store node did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("store node {node}: {cause}")]
pub struct StoreError {
    /// The node's name as configured (`cache1:11211`).
    pub node: Arc<str>,
    /// What went wrong, and what to do.
    pub cause: Arc<str>,
    /// Whether the node is to be left alone for one retry interval. `false` if only this operation was refused.
    pub down: bool,
}

impl StoreError {
    /// The node cannot be used now.
    pub fn down(node: &str, cause: impl fmt::Display) -> Self {
        Self { node: node.into(), cause: one_line(&cause.to_string()).into(), down: true }
    }

    /// This operation was refused; the node is well.
    pub fn refused(node: &str, cause: impl fmt::Display) -> Self {
        Self { node: node.into(), cause: one_line(&cause.to_string()).into(), down: false }
    }
}

/// A cause as one short line: a part of it may be a server's own words, which must not forge lines of a log, nor fill it.
fn one_line(cause: &str) -> String {
    const MOST: usize = 300;
    let mut line = String::with_capacity(cause.len().min(MOST));
    for letter in cause.chars() {
        if line.len() >= MOST {
            line.push('…');
            break;
        }
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

/// What a store is and keeps: the protocol asks for more care where a store promises less.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    /// The store's kind, for messages and statistics: `memory`, `memcached`.
    pub kind: &'static str,
    /// The nodes' names, as configured. At least one.
    pub nodes: Vec<Arc<str>>,
    /// Whether a version log with an open hold is never dropped, so that no marker is needed.
    pub keeps_holds: bool,
    /// Whether other processes use the store too, so that clocks differ, messages travel and leases make sense.
    pub shared: bool,
    /// The largest item, in bytes.
    pub max_item: usize,
}

/// A boxed future, as [`AsyncStore::run`] returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store for blocking code.
///
/// Operations on one node are run in the order of the batch; different nodes' in any order.
pub trait Store: Send + Sync + fmt::Debug {
    /// What the store is and keeps.
    fn info(&self) -> &StoreInfo;

    /// Runs the batch and returns one reply for each operation, in order. Problems are replies; this never panics.
    fn run(&self, batch: &[Op]) -> Vec<Reply>;
}

/// A store for async code. See [`Store`].
pub trait AsyncStore: Send + Sync + fmt::Debug {
    /// What the store is and keeps.
    fn info(&self) -> &StoreInfo;

    /// Runs the batch and returns one reply for each operation, in order. Problems are replies; this never panics.
    fn run<'a>(&'a self, batch: &'a [Op]) -> BoxFuture<'a, Vec<Reply>>;
}

/// How the protocol's times are measured against a store; see [`crate::protocol::Rules`].
impl StoreInfo {
    /// How late a message may land: not at all inside the process, else `longest_hold`.
    pub fn landing(&self, longest_hold: Micros) -> Micros {
        if self.shared { longest_hold } else { Micros(0) }
    }
}
