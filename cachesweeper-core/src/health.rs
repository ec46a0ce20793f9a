//! Which store nodes can be used: a node that failed is left alone, gets our pending marks first, and is read again last.

use std::collections::HashSet;

use crate::Micros;
use crate::store::{Op, Reply, StoreError};

/// How a node is.
#[derive(Clone, Debug)]
enum State {
    Up,
    /// It failed: nothing is sent to it before `probe`.
    Down {
        probe: Micros,
        error: StoreError,
    },
    /// It answers again. Writes pass; reads wait until `until`, so that what others owe it can arrive too.
    Returning {
        until: Micros,
    },
}

/// A sweep's record that must still be invalidated on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) node: usize,
    pub(crate) key: String,
}

/// The nodes' health. Pure: times and replies come in from outside.
#[derive(Debug)]
pub(crate) struct Health {
    nodes: Vec<State>,
    pending: HashSet<Pending>,
    retry: Micros,
    skew: Micros,
}

impl Health {
    pub(crate) fn new(nodes: usize, retry: Micros, skew: Micros) -> Self {
        Self { nodes: vec![State::Up; nodes], pending: HashSet::new(), retry, skew }
    }

    /// Whether all nodes are well: the common case, in which nothing has to be filtered.
    pub(crate) fn all_up(&self) -> bool {
        self.nodes.iter().all(|state| matches!(state, State::Up))
    }

    /// Answers at once for nodes that are to be left alone: `None` means that the operation may be sent. When a node's time
    /// has come, one batch is let through as a probe.
    pub(crate) fn admit(&mut self, ops: &[Op], now: Micros) -> Vec<Option<Reply>> {
        let mut probing = HashSet::new();
        let admitted = ops.iter().map(|op| match self.nodes.get_mut(op.node) {
            Some(State::Down { probe, error }) if !probing.contains(&op.node) => {
                if now < *probe {
                    return Some(Reply::Failed(error.clone()));
                }
                *probe = now.plus(self.retry);
                probing.insert(op.node);
                None
            }
            _ => None,
        });
        admitted.collect()
    }

    /// Learns from the replies, and takes back what must not be read yet.
    pub(crate) fn observe(&mut self, ops: &[Op], replies: &mut [Reply], now: Micros) {
        for (op, reply) in ops.iter().zip(replies.iter()) {
            let owed = self.pending.iter().any(|pending| pending.node == op.node);
            let Some(state) = self.nodes.get_mut(op.node) else { continue };
            match (reply, &*state) {
                (Reply::Failed(error), _) if error.down => {
                    *state = State::Down { probe: now.plus(self.retry), error: error.clone() };
                }
                (Reply::Failed(_), _) => {}
                (_, State::Down { .. }) if !owed => {
                    *state = State::Returning { until: now.plus(self.retry).plus(self.skew) };
                }
                (_, State::Returning { until }) if *until < now => *state = State::Up,
                _ => {}
            }
        }
        for (op, reply) in ops.iter().zip(replies) {
            if op.action.is_read() && !matches!(self.nodes.get(op.node), Some(State::Up)) && !matches!(reply, Reply::Failed(_)) {
                *reply = Reply::Failed(StoreError::refused("returning", "the node has just come back and is not read yet"));
            }
        }
    }

    /// Remembers a record that must be invalidated as soon as its node answers.
    pub(crate) fn owe(&mut self, pending: Pending) {
        self.pending.insert(pending);
    }

    /// What is owed, for one attempt at delivering it.
    pub(crate) fn owed(&self) -> Vec<Pending> {
        self.pending.iter().cloned().collect()
    }

    /// It was delivered.
    pub(crate) fn deliver(&mut self, pending: &Pending, now: Micros) {
        if self.pending.remove(pending) && !self.pending.iter().any(|other| other.node == pending.node) {
            if let Some(state @ State::Down { .. }) = self.nodes.get_mut(pending.node) {
                *state = State::Returning { until: now.plus(self.retry).plus(self.skew) };
            }
        }
    }
}
