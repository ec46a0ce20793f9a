//! Reading many items by one classic `get`.
//!
//! A server answers one `get` of many keys almost twice as fast as as many `mg` commands, and does not let other connections
//! go first every twenty commands (its `-R`). Whoever asks reads most of the time, so what only reads goes this way, on
//! connections of its own; what writes goes through the `memcache` crate. What is said and understood is in this file; the
//! two stores bring the waiting.
//!
//! The reply names each key, and comes in the order of the request without those that are missing. A value under a key that
//! was not asked for, or in another order, is an error, and the connection is not used again.

use std::ops::Range;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::cut::EXCHANGE;
use crate::store::{Op, Reply, StoreError};

/// The longest line of a reply: `VALUE`, a key of 250 bytes, and three numbers; or an error.
const LINE: usize = 1024;

/// Room for a reply when nothing is known of its length.
const ROOM: usize = 16 << 10;

/// A connection keeps no larger buffer than this, and makes no more room at a time: one huge page must not cost all others.
const KEPT: usize = 1 << 20;

/// The positions in a batch that one node is asked for by one `get`.
pub(super) type Exchange = Vec<usize>;

/// For each node the exchanges that a batch of reads needs. `replies` has [`Reply::No`] for each operation; those for a node
/// that is not configured are answered.
pub(super) fn exchanges(nodes: usize, batch: &[Op], replies: &mut [Reply]) -> Vec<Vec<Exchange>> {
    let mut shares: Vec<Vec<Exchange>> = vec![Vec::new(); nodes];
    let mut lengths = vec![0; nodes];
    for (position, op) in batch.iter().enumerate() {
        let Some((share, length)) = shares.get_mut(op.node).zip(lengths.get_mut(op.node)) else {
            replies[position] = Reply::Failed(StoreError::refused("memcached", "there is no such node"));
            continue;
        };
        *length += op.key.len() + 1;
        if share.is_empty() || *length > EXCHANGE {
            share.push(Vec::with_capacity(if nodes == 1 { batch.len() - position } else { 16 }));
            *length = op.key.len() + 1;
        }
        if let Some(exchange) = share.last_mut() {
            exchange.push(position);
        }
    }
    shares
}

/// The request, in place of what `out` has.
pub(super) fn request(batch: &[Op], exchange: &Exchange, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"get");
    for &position in exchange {
        out.push(b' ');
        out.extend_from_slice(batch[position].key.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Why a reply cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    /// The server said so.
    Refused(String),
    /// It is not what a memcached says.
    Unexpected(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(line) => write!(f, "it answers `get` with {line:?}"),
            Self::Unexpected(what) => write!(f, "its answer to `get` cannot be understood: {what}"),
        }
    }
}

impl Problem {
    pub(super) fn on(&self, node: &str) -> StoreError {
        match self {
            Self::Refused(_) => StoreError::refused(node, self),
            Self::Unexpected(_) => StoreError::down(node, self),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Problem(Problem),
}

impl Failure {
    /// Whether it is the connection that failed, as one does that the server, or the caller's own runtime, has closed while it
    /// was idle: a new one may do.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() != io::ErrorKind::TimedOut)
    }

    /// Whether the time-out ran out on it.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    pub(super) fn on(&self, node: &str) -> StoreError {
        match self {
            Self::Io(error) => StoreError::down(node, error),
            Self::Problem(problem) => problem.on(node),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A reply as it comes in.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    batch: &'a [Op],
    exchange: &'a Exchange,
    /// The largest value that the server may send, in bytes.
    limit: usize,
    /// How many of the exchange's keys were answered, or passed over.
    next: usize,
    /// How far the buffer was understood.
    at: usize,
    values: Vec<(usize, Range<usize>)>,
    /// Bytes that are missing for certain.
    missing: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn new(batch: &'a [Op], exchange: &'a Exchange, limit: usize) -> Self {
        Self { batch, exchange, limit, next: 0, at: 0, values: Vec::with_capacity(exchange.len()), missing: 0 }
    }

    /// How many bytes to make room for, behind the `filled` ones; `last` is how long the connection's last reply was.
    pub(super) fn room(&self, filled: usize, last: usize) -> usize {
        self.missing.max(last.saturating_sub(filled)).clamp(ROOM, KEPT)
    }

    /// Understands what the buffer has by now; `true` if that is the whole reply.
    pub(super) fn advance(&mut self, buffer: &[u8]) -> Result<bool, Problem> {
        let unexpected = |what: &str| Problem::Unexpected(what.to_owned());
        loop {
            let rest = &buffer[self.at..];
            let Some(length) = memchr(b'\n', &rest[..rest.len().min(LINE)]) else {
                self.missing = 0;
                return if rest.len() < LINE { Ok(false) } else { Err(unexpected("a line without an end")) };
            };
            let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
            if line == b"END" {
                return if rest.len() == length + 1 { Ok(true) } else { Err(unexpected("more than was asked for")) };
            }
            let Some((key, size)) = line.strip_prefix(b"VALUE ").and_then(value) else {
                let shown: String = String::from_utf8_lossy(line).chars().take(100).collect();
                return Err(if shown.starts_with("SERVER_ERROR") {
                    Problem::Refused(shown)
                } else {
                    Problem::Unexpected(format!("{shown:?}"))
                });
            };
            if size > self.limit {
                return Err(Problem::Unexpected(format!("a value of {size} bytes, of a server that takes {}", self.limit)));
            }
            let begin = self.at + length + 1;
            let Some(end) = buffer.get(begin + size..begin + size + 2) else {
                self.missing = begin + size + 2 - buffer.len();
                return Ok(false);
            };
            if end != b"\r\n" {
                return Err(unexpected("a value without its end"));
            }
            let asked = &self.exchange[self.next..];
            let Some(passed) = asked.iter().position(|&position| self.batch[position].key.as_bytes() == key) else {
                return Err(unexpected("a key that was not asked for"));
            };
            self.values.push((asked[passed], begin..begin + size));
            self.next += passed + 1;
            self.at = begin + size + 2;
        }
    }

    /// Hands out the values. They share the reply's memory.
    pub(super) fn finish(self, buffer: &mut BytesMut, replies: &mut [Reply]) {
        let all: Bytes = buffer.split().freeze();
        for (position, range) in self.values {
            replies[position] = Reply::Value(all.slice(range));
        }
        // What is left of the buffer would keep all of its memory.
        if all.len() > KEPT {
            *buffer = BytesMut::new();
        }
    }
}

/// The key and the size of a `VALUE` line: `key flags bytes`, and maybe a CAS id.
fn value(line: &[u8]) -> Option<(&[u8], usize)> {
    let mut words = line.split(|&byte| byte == b' ');
    let (key, _flags, size) = (words.next()?, words.next()?, words.next()?);
    if size.is_empty() || size.len() > 10 {
        return None;
    }
    let digit = |size: usize, &byte: &u8| byte.is_ascii_digit().then(|| size * 10 + usize::from(byte - b'0'));
    Some((key, size.iter().try_fold(0, digit)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ops(keys: &[&str]) -> Vec<Op> {
        keys.iter().map(|key| Op::get(0, *key)).collect()
    }

    /// The replies to a `get` of these keys, if the server's answer arrives in pieces of `piece` bytes.
    fn read(keys: &[&str], answer: &[u8], piece: usize) -> Result<Vec<Reply>, Option<Problem>> {
        let (batch, mut replies) = (ops(keys), vec![Reply::No; keys.len()]);
        let exchange = (0..keys.len()).collect();
        let (mut reading, mut buffer) = (Reading::new(&batch, &exchange, 100), BytesMut::new());
        for piece in answer.chunks(piece) {
            buffer.extend_from_slice(piece);
            if reading.advance(&buffer).map_err(Some)? {
                reading.finish(&mut buffer, &mut replies);
                return Ok(replies);
            }
        }
        Err(None)
    }

    fn value(text: &'static str) -> Reply {
        Reply::Value(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn values_come_in_any_pieces_and_some_are_missing() {
        let answer = b"VALUE b 0 3\r\nx\r\n\r\nVALUE d 5 0 77\r\n\r\nEND\r\n";
        for piece in 1..=answer.len() {
            let replies = read(&["a", "b", "c", "d"], answer, piece).expect("it is sound");
            assert_eq!(replies, [Reply::No, value("x\r\n"), Reply::No, value("")], "in pieces of {piece}");
        }
        assert_eq!(read(&["a"], b"END\r\n", 1).expect("it is sound"), [Reply::No]);
        // The same key twice, as two fragments of one name with different rows in hand have.
        let twice = b"VALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n2\r\nEND\r\n";
        assert_eq!(read(&["a", "a"], twice, 7).expect("it is sound"), [value("1"), value("2")]);
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let bad: [&[u8]; 12] = [
            b"VALUE z 0 1\r\nx\r\nEND\r\n",
            b"VALUE b 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
            b"VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
            b"VALUE a 0 1\r\nxxx\r\nEND\r\n",
            b"VALUE a 0 101\r\n",
            b"VALUE a 0 99999999999999999999\r\n",
            b"VALUE a 0 -1\r\n",
            b"VALUE a 0\r\n",
            b"END\r\nEND\r\n",
            b"ERROR\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            &[b'x'; LINE],
        ];
        for answer in bad {
            let problem = read(&["a", "b"], answer, answer.len()).expect_err("it is not").expect("it is complete");
            assert!(problem.on("n").down, "{problem}");
        }
        let refused = read(&["a"], b"SERVER_ERROR out of memory\r\n", 100).expect_err("it is none").expect("it is complete");
        assert!(!refused.on("n").down && refused.to_string().contains("out of memory"), "{refused}");
    }

    #[test]
    fn requests_are_cut_and_nothing_is_lost() {
        let mut batch: Vec<Op> = (0..9_000).map(|id| Op::get(id % 2, format!("blog/f/comment.html/comment:{id}"))).collect();
        batch.push(Op::get(7, "elsewhere"));
        let mut replies = vec![Reply::No; batch.len()];
        let shares = exchanges(2, &batch, &mut replies);
        let mut all: Vec<usize> = Vec::new();
        for exchange in shares.iter().flatten() {
            let mut out = Vec::new();
            request(&batch, exchange, &mut out);
            assert!(out.len() <= EXCHANGE + 5 && out.starts_with(b"get blog/f/") && out.ends_with(b"\r\n"));
            all.extend(exchange);
        }
        assert!(shares[0].len() > 1);
        all.sort_unstable();
        assert_eq!(all, (0..9_000).collect::<Vec<_>>());
        assert!(matches!(replies[9_000], Reply::Failed(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(answer in any::<Vec<u8>>(), piece in 1_usize..50) {
            let _ = read(&["a", "b"], &answer, piece);
        }

        #[test]
        fn nearly_sound_answers_do_no_harm(words in proptest::collection::vec("VALUE |a |b |0 |1 |3\r\n|x\r\n|END\r\n|\r\n", 0..12), piece in 1_usize..50) {
            let _ = read(&["a", "b"], words.concat().as_bytes(), piece);
        }
    }
}
