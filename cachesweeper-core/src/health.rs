//! Which store nodes can be used: a node that failed is left alone, gets our pending marks first, and is read again last.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::Micros;
use crate::store::{Op, Reply, StoreError};

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Up,
    /// It failed: nothing is sent to it before `probe`.
    Down {
        probe: Micros,
        error: StoreError,
    },
    /// It answers again, and gets first what it is owed: writes pass, reads wait.
    Draining,
    /// It has what we owed it. Writes pass; reads wait until `until`, so that what others owe it can arrive too.
    Returning {
        until: Micros,
    },
}

/// A sweep's record that must still be invalidated on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pending {
    /// The node.
    pub node: usize,
    /// The log's store key.
    pub key: Arc<str>,
}

/// How a [`Pending`] is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owed {
    /// The write may land until then: what is delivered before must be delivered again after.
    until: Micros,
    delivered: bool,
}

/// The nodes' health. Pure: times and replies come in from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Health {
    nodes: Vec<State>,
    pending: BTreeMap<Pending, Owed>,
    /// For each node, how many of them are not delivered.
    undelivered: Vec<usize>,
    /// The records of the sweeps that something is owed of. Their fragments may show, on another node, an old fragment of what
    /// is owed. One set for all sweeps, so that it stays as small as the records are many: when in doubt, invalidate more.
    sweeps: BTreeSet<Pending>,
    retry: Micros,
    late: Micros,
}

impl Health {
    /// All nodes are up, and nothing is owed. A node that has come back gets what others owe it within `retry` and `late`: their
    /// clocks may differ, and one of their attempts may still be waiting for its time-out when the node comes back.
    pub fn new(nodes: usize, retry: Micros, late: Micros) -> Self {
        Self { nodes: vec![State::Up; nodes], pending: BTreeMap::new(), undelivered: vec![0; nodes], sweeps: BTreeSet::new(), retry, late }
    }

    /// Whether all nodes are well: the common case, in which nothing has to be filtered.
    pub fn all_up(&self) -> bool {
        self.nodes.iter().all(|state| matches!(state, State::Up))
    }

    fn owes(&self, node: usize) -> bool {
        self.undelivered.get(node).is_some_and(|count| *count > 0)
    }

    /// Answers at once for nodes that are to be left alone: `None` means that the operation may be sent. When a node's time
    /// has come, one batch is let through as a probe; a node that is owed something is probed by writes only, so that reads
    /// do not take the turn of the delivery.
    pub fn admit(&mut self, ops: &[Op], now: Micros) -> Vec<Option<Reply>> {
        let mut probing = HashSet::new();
        let mut admitted = Vec::with_capacity(ops.len());
        for op in ops {
            let owed = self.owes(op.node);
            admitted.push(match self.nodes.get_mut(op.node) {
                Some(State::Down { probe, error }) if !probing.contains(&op.node) => {
                    if now < *probe || (owed && op.action.is_read()) {
                        Some(Reply::Failed(error.clone()))
                    } else {
                        *probe = now.plus(self.retry);
                        probing.insert(op.node);
                        None
                    }
                }
                _ => None,
            });
        }
        admitted
    }

    /// Learns from the replies, and takes back what must not be read yet.
    pub fn observe(&mut self, ops: &[Op], replies: &mut [Reply], now: Micros) {
        for (op, reply) in ops.iter().zip(replies.iter()) {
            let owed = self.owes(op.node);
            let returning = State::Returning { until: now.plus(self.retry).plus(self.late) };
            let Some(state) = self.nodes.get_mut(op.node) else { continue };
            match (reply, &*state) {
                (Reply::Failed(error), State::Down { .. }) if error.down => {}
                (Reply::Failed(error), _) if error.down => {
                    *state = State::Down { probe: now.plus(self.retry), error: error.clone() };
                }
                (Reply::Failed(_), _) => {}
                (_, State::Down { .. }) => *state = if owed { State::Draining } else { returning },
                (_, State::Draining) if !owed => *state = returning,
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
    /// `until` is when the write that it belongs to has landed for certain.
    pub fn owe(&mut self, pending: Pending, until: Micros) {
        let node = pending.node;
        let before = self.pending.get(&pending).copied();
        let until = before.map_or(until, |owed| owed.until.max(until));
        if before.is_none_or(|owed| owed.delivered)
            && let Some(count) = self.undelivered.get_mut(node)
        {
            *count += 1;
        }
        self.pending.insert(pending, Owed { until, delivered: false });
    }

    /// Remembers the sweeps of what is owed: when it is delivered, all of them is invalidated again.
    pub fn owe_sweep(&mut self, sweep: impl IntoIterator<Item = Pending>) {
        self.sweeps.extend(sweep);
    }

    /// What is to be invalidated again, after something was delivered.
    pub fn sweeps(&mut self) -> BTreeSet<Pending> {
        if self.pending.is_empty() { std::mem::take(&mut self.sweeps) } else { self.sweeps.clone() }
    }

    /// What is owed, for one attempt at delivering it.
    pub fn owed(&self) -> Vec<Pending> {
        self.pending.keys().cloned().collect()
    }

    /// Whether anything is owed.
    pub fn owes_any(&self) -> bool {
        !self.pending.is_empty()
    }

    /// It was delivered.
    pub fn deliver(&mut self, pending: &Pending, now: Micros) {
        let before = self.pending.get(pending).copied();
        match before {
            Some(owed) if owed.until >= now => drop(self.pending.insert(pending.clone(), Owed { delivered: true, ..owed })),
            _ => drop(self.pending.remove(pending)),
        }
        if before.is_some_and(|owed| !owed.delivered)
            && let Some(count) = self.undelivered.get_mut(pending.node)
        {
            *count -= 1;
        }
        if self.owes(pending.node) {
            return;
        }
        if let Some(state @ (State::Down { .. } | State::Draining)) = self.nodes.get_mut(pending.node) {
            *state = State::Returning { until: now.plus(self.retry).plus(self.late) };
        }
    }
}
