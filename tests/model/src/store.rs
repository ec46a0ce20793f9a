//! The store as single operations on single items, and messages on their way to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::store::{Action, Op, Reply, StoreError};

/// What the nodes keep.
pub type Items = BTreeMap<(usize, Arc<str>), Bytes>;

/// Runs one operation, as memcached and the memory store do.
pub fn run(items: &mut Items, op: &Op) -> Reply {
    let key = (op.node, op.key.clone());
    let found = items.get(&key).cloned();
    match (&op.action, found) {
        (Action::Get | Action::GetForWrite, found) => found.map_or(Reply::No, Reply::Value),
        (Action::Add(value, _), None) | (Action::Set(value, _), _) => {
            items.insert(key, value.clone());
            Reply::Done
        }
        (Action::Append(more, _), Some(old)) => {
            items.insert(key, [old, more.clone()].concat().into());
            Reply::Done
        }
        (Action::Replace(expected, value, _), Some(old)) if old == *expected => {
            items.insert(key, value.clone());
            Reply::Done
        }
        (Action::Delete, Some(_)) => {
            items.remove(&key);
            Reply::Done
        }
        _ => Reply::No,
    }
}

/// Whether the operation may change an item.
pub fn is_write(op: &Op) -> bool {
    !matches!(op.action, Action::Get | Action::GetForWrite)
}

/// A batch on its way. Every operation is a message of its own; those to one node arrive in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The operations.
    pub ops: Vec<Op>,
    /// What has come back.
    pub replies: Vec<Option<Reply>>,
    /// In which order the operations are sent; the batch's own, but for a naive scheme.
    pub order: Vec<usize>,
    /// When it was sent, in the model's time.
    pub sent: u8,
}

impl Batch {
    /// The next operation that a node gets.
    pub fn next(&self, node: usize) -> Option<usize> {
        self.order.iter().copied().find(|&index| self.replies[index].is_none() && self.ops[index].node == node)
    }

    /// Takes in a reply. What was sent is forgotten: it does not matter any more.
    pub fn reply(&mut self, index: usize, reply: Reply) {
        self.replies[index] = Some(reply);
        let op = &mut self.ops[index];
        // Whether it was a read is still asked, by the nodes' health.
        let action = if matches!(op.action, Action::Get) { Action::Get } else { Action::GetForWrite };
        *op = Op { node: op.node, key: "".into(), action };
    }

    /// Whether everything has come back.
    pub fn is_complete(&self) -> bool {
        self.replies.iter().all(Option::is_some)
    }

    /// The replies of a complete batch.
    pub fn replies(&self) -> Vec<Reply> {
        self.replies.iter().flatten().cloned().collect()
    }

    /// The connection breaks: nothing more comes back from this node. What was sent to it may still land.
    pub fn cut(&mut self, node: usize) -> Vec<Op> {
        let mut rest = Vec::new();
        while let Some(index) = self.next(node) {
            rest.push(self.ops[index].clone());
            self.reply(index, Reply::Failed(StoreError::down("n", "cut")));
        }
        while rest.last().is_some_and(|op| !is_write(op)) {
            rest.pop();
        }
        rest
    }
}

/// Messages that nobody waits for any more. They land in order, until `by`, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Late {
    /// The last moment at which they may land, in the model's time.
    pub by: u8,
    /// What is left of them.
    pub ops: Vec<Message>,
}

/// An operation, in an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message(pub Op);

impl Message {
    fn key(&self) -> (usize, &str, String) {
        (self.0.node, &self.0.key, format!("{:?}", self.0.action))
    }
}

impl PartialOrd for Message {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Message {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
