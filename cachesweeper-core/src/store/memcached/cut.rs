//! How a batch is cut: by node, and for each node into exchanges that fit, with every replace on its own.
//!
//! Both stores send what is cut here, and so does a simulation of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::Ttl;
use crate::store::{Action, Op, Reply, StoreError};

/// Request bytes of one exchange. The client writes an exchange whole before it reads; with Linux's defaults at least
/// 140 KiB fit between its send buffer (80 KiB and more) and the server's receive window (64 KiB), so that its write
/// cannot block on a server that is itself blocked on writing its answers.
pub(super) const EXCHANGE: usize = 96 << 10;

/// Whether an item is larger than the server takes: one answer "too large" would end the exchange, and with it the
/// operations behind it, so it is not even sent.
fn is_too_large(op: &Op, limit: usize) -> bool {
    /// The server's own header of an item, rounded up.
    const HEADER: usize = 128;
    match &op.action {
        Action::Add(value, _) | Action::Set(value, _) | Action::Replace(_, value, _) => op.key.len() + value.len() + HEADER > limit,
        Action::Append(..) | Action::Get | Action::GetForWrite | Action::Delete => false,
    }
}

/// About how many bytes an operation's request has.
fn request_len(op: &Op) -> usize {
    let value = match &op.action {
        Action::Add(value, _) | Action::Set(value, _) => value.len(),
        Action::Append(value, _) => op.key.len() + 20 + value.len(),
        Action::Get | Action::GetForWrite | Action::Delete | Action::Replace(..) => 0,
    };
    op.key.len() + 32 + value
}

/// One step of what a node is asked: an exchange, or a replace on a connection of its own.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Operations that are sent together, with their positions in the batch.
    Exchange(Vec<(usize, &'a Op)>),
    /// A compare-and-swap.
    Replace {
        /// Its position in the batch.
        position: usize,
        /// What to swap.
        replace: Replace,
    },
    /// Answered without asking.
    TooLarge {
        /// Its position in the batch.
        position: usize,
    },
}

/// Compare-and-swap by content. CAS ids restart with the server, so an id is good only on the connection it came from: it
/// is read and used on one connection that is opened for nothing else.
#[derive(Debug)]
pub struct Replace {
    /// The item's key.
    pub key: Arc<str>,
    /// The bytes that it must have.
    pub expected: Bytes,
    /// The bytes that it gets.
    pub value: Bytes,
    /// Its new TTL.
    pub ttl: Ttl,
}

impl Piece<'_> {
    /// The positions of its operations.
    pub(super) fn positions(&self) -> Vec<usize> {
        match self {
            Self::Exchange(ops) => ops.iter().map(|(position, _)| *position).collect(),
            Self::Replace { position, .. } | Self::TooLarge { position } => vec![*position],
        }
    }
}

/// Cuts a node's share of a batch into pieces that are run one after the other. `limit`: the largest item, in bytes.
pub fn cut(ops: Vec<(usize, &Op)>, limit: usize) -> Vec<Piece<'_>> {
    let (mut pieces, mut exchange, mut len) = (Vec::new(), Vec::new(), 0);
    fn close<'a>(exchange: &mut Vec<(usize, &'a Op)>, pieces: &mut Vec<Piece<'a>>) {
        if !exchange.is_empty() {
            pieces.push(Piece::Exchange(std::mem::take(exchange)));
        }
    }
    for (position, op) in ops {
        if is_too_large(op, limit) {
            pieces.push(Piece::TooLarge { position });
            continue;
        }
        let more = request_len(op);
        if len + more > EXCHANGE {
            close(&mut exchange, &mut pieces);
            len = 0;
        }
        len += more;
        if let Action::Replace(expected, value, ttl) = &op.action {
            close(&mut exchange, &mut pieces);
            let (key, expected, value, ttl) = (op.key.clone(), expected.clone(), value.clone(), *ttl);
            pieces.push(Piece::Replace { position, replace: Replace { key, expected, value, ttl } });
            len = 0;
            continue;
        }
        exchange.push((position, op));
    }
    close(&mut exchange, &mut pieces);
    pieces
}

/// Splits a batch by node, keeping each operation's position.
pub fn by_node(nodes: usize, batch: &[Op]) -> Vec<Vec<(usize, &Op)>> {
    let mut shares = vec![Vec::new(); nodes];
    for (position, op) in batch.iter().enumerate() {
        // A node that is not configured cannot be routed to; its operations stay unanswered and count as failed.
        if let Some(share) = shares.get_mut(op.node) {
            share.push((position, op));
        }
    }
    shares
}

/// Puts the nodes' answers back into the batch's order.
pub fn in_order(count: usize, answers: impl IntoIterator<Item = (usize, Reply)>) -> Vec<Reply> {
    let unanswered = Reply::Failed(StoreError::refused("memcached", "the operation was not sent to any server"));
    let mut replies = vec![unanswered; count];
    for (position, reply) in answers {
        replies[position] = reply;
    }
    replies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_cut_and_nothing_is_lost() {
        let get = |id: usize| Op::get(0, format!("blog/f/comment.html/comment:{id}"));
        let gets: Vec<Op> = (0..5_000).map(get).collect();
        let mut ops: Vec<(usize, &Op)> = gets.iter().enumerate().collect();
        let replace = Action::Replace(Bytes::from_static(b"a"), Bytes::from_static(b"b"), crate::Ttl::days(1));
        let replace = Op { node: 0, key: "k".into(), action: replace };
        ops.insert(2_500, (5_000, &replace));
        let mut positions = Vec::new();
        for piece in cut(ops, 1 << 20) {
            match piece {
                Piece::TooLarge { .. } => unreachable!("nothing is large"),
                Piece::Exchange(ops) => {
                    assert!(!ops.is_empty() && ops.len() < 2_500);
                    positions.extend(ops.iter().map(|(position, _)| *position));
                }
                Piece::Replace { position, .. } => positions.push(position),
            }
        }
        let mut expected: Vec<usize> = (0..5_000).collect();
        expected.insert(2_500, 5_000);
        assert_eq!(positions, expected);
    }
}
