//! Which store nodes can be used: a node that failed is left alone, gets our pending marks first, and is read again last.

use std::collections::{BTreeMap, BTreeSet, HashSet};

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
    pub key: String,
}

/// How a [`Pending`] is owed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owed {
    /// The write may land until then: what is delivered before must be delivered again after.
    until: Micros,
    delivered: bool,
    /// The other records of its sweeps: their fragments may show an old one of its own, so they are invalidated again then.
    sweep: BTreeSet<Pending>,
}

/// The nodes' health. Pure: times and replies come in from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Health {
    nodes: Vec<State>,
    pending: BTreeMap<Pending, Owed>,
    retry: Micros,
    skew: Micros,
}

impl Health {
    /// All nodes are up, and nothing is owed.
    pub fn new(nodes: usize, retry: Micros, skew: Micros) -> Self {
        Self { nodes: vec![State::Up; nodes], pending: BTreeMap::new(), retry, skew }
    }

    /// Whether all nodes are well: the common case, in which nothing has to be filtered.
    pub fn all_up(&self) -> bool {
        self.nodes.iter().all(|state| matches!(state, State::Up))
    }

    fn owes(&self, node: usize) -> bool {
        self.pending.iter().any(|(pending, owed)| pending.node == node && !owed.delivered)
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
            let returning = State::Returning { until: now.plus(self.retry).plus(self.skew) };
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

    /// Remembers a record that must be invalidated as soon as its node answers, and the others of its sweep with it.
    /// `until` is when the write that it belongs to has landed for certain.
    pub fn owe(&mut self, pending: Pending, sweep: impl IntoIterator<Item = Pending>, until: Micros) {
        let owed = self.pending.entry(pending).or_insert(Owed { until, delivered: false, sweep: BTreeSet::new() });
        owed.until = owed.until.max(until);
        owed.delivered = false;
        owed.sweep.extend(sweep);
    }

    /// The sweeps that these records are owed for, to be invalidated as a whole when the records have been delivered.
    pub fn sweeps_of<'a>(&self, delivered: impl IntoIterator<Item = &'a Pending>) -> BTreeSet<Pending> {
        delivered.into_iter().filter_map(|pending| self.pending.get(pending)).flat_map(|owed| owed.sweep.iter().cloned()).collect()
    }

    /// What is owed, for one attempt at delivering it.
    pub fn owed(&self) -> Vec<Pending> {
        self.pending.keys().cloned().collect()
    }

    /// It was delivered.
    pub fn deliver(&mut self, pending: &Pending, now: Micros) {
        match self.pending.get_mut(pending) {
            Some(owed) if owed.until >= now => owed.delivered = true,
            _ => drop(self.pending.remove(pending)),
        }
        if self.owes(pending.node) {
            return;
        }
        if let Some(state @ (State::Down { .. } | State::Draining)) = self.nodes.get_mut(pending.node) {
            *state = State::Returning { until: now.plus(self.retry).plus(self.skew) };
        }
    }
}
