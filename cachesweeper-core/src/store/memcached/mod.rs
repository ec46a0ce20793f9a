//! The memcached store: per node a client of the `memcache` crate (meta protocol), which writes, and connections that read.
//!
//! Connecting late means that a name which does not resolve, or a server which is down, is never a reason not to start. The
//! blocking and the async store differ in how they wait; what they say to a server is in this file.

mod blocking;
#[doc(hidden)]
pub mod cut;
mod multiget;
#[cfg(feature = "tokio")]
mod tokio_store;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memcache::exp::{
    Delete, Error, Get, GetOptions, GetStatus, MetaCommand, MetaCommandResult, MutationStatus, Op as WireOp, OpResult, ReturnCode, Set,
    SetOptions, build_get, build_set,
};

pub use blocking::MemcachedStore;
#[cfg(feature = "tokio")]
pub use tokio_store::AsyncMemcachedStore;

use super::{Action, Op, Reply, StoreError, StoreInfo};
use cut::Replace;

/// Connections to a node that async code reads on, and as many that it writes on.
/// memcached takes 1,024 by default, from all processes together, and turns the next one away.
const CONNECTIONS: usize = 32;

/// The oldest server whose meta commands are as this store needs them (Debian 12's).
const OLDEST: (u32, u32, u32) = (1, 6, 18);

/// How the stores talk to their servers.
#[derive(Clone, Debug)]
pub struct MemcachedOptions {
    /// The servers, as `host:port`. The names are what records are routed by.
    pub servers: Vec<String>,
    /// How long one exchange may take.
    pub timeout: Duration,
}

impl MemcachedOptions {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            kind: "memcached",
            nodes: self.servers.iter().map(|server| Arc::from(server.as_str())).collect(),
            keeps_holds: false,
            shared: true,
            max_item: DEFAULT_ITEM_SIZE,
        }
    }

    fn connect_timeout(&self) -> Duration {
        self.timeout.min(Duration::from_millis(250))
    }

    fn client(&self) -> memcache::exp::MetaClientBuilder {
        memcache::exp::MetaClient::builder()
            .max_idle(CONNECTIONS)
            .connect_timeout(Some(self.connect_timeout()))
            .io_timeout(Some(self.timeout))
    }
}

/// How often an exchange is asked at most that this process itself has disturbed. Who is interrupted again and again has a profiler at
/// work, not a node that is down; but there must be an end.
const ATTEMPTS: usize = 10;

/// Whether this process stood still since: it was stopped, or its machine was. Then a time-out ran out on an answer that may long be there,
/// or on a question that was not even sent, and says nothing of the node.
fn stood_still(began: Instant, timeout: Duration) -> bool {
    // No exchange takes that long, with the connecting before it, if only the node is slow.
    began.elapsed() > timeout * 2
}

/// Whether it was this process that disturbed an exchange of the crate's: then it is asked again, but for what may land only once.
fn is_our_own(error: &Error, began: Instant, timeout: Duration) -> bool {
    match error {
        Error::Ambiguous { source, .. } => is_our_own(source, began, timeout),
        Error::Io(error) if error.kind() == io::ErrorKind::Interrupted => true,
        Error::Io(_) | Error::Timeout { .. } => stood_still(began, timeout),
        _ => false,
    }
}

/// What the crate says of a batch.
type Results = Result<Vec<Result<OpResult, Error>>, Error>;

/// The first thing that went wrong in it.
fn error_in(results: &Results) -> Option<&Error> {
    match results {
        Ok(results) => results.iter().find_map(|result| result.as_ref().err()),
        Err(error) => Some(error),
    }
}

/// Whether an operation may be sent again that may have landed. A log's head may not: if the log was evicted twice meanwhile, the same
/// head would bring back a version that it had before. What is appended to another head, or replaces bytes that are gone, does not.
fn may_repeat(op: &Op) -> bool {
    !matches!(op.action, Action::Add(..))
}

/// The answers to what was not sent again: an add behind an append that found its item has nothing to do; of another the outcome is not known.
fn unrepeated(node: &str, ops: &[(usize, &Op)], replies: &[(usize, Reply)]) -> Vec<(usize, Reply)> {
    let replies: HashMap<usize, &Reply> = replies.iter().map(|(position, reply)| (*position, reply)).collect();
    let appended = |(position, op): &&(usize, &Op)| matches!(op.action, Action::Append(..)) && replies.get(position) == Some(&&Reply::Done);
    let appended: HashSet<&str> = ops.iter().filter(appended).map(|(_, op)| &*op.key).collect();
    let unknown = || Reply::Failed(StoreError::refused(node, "this process stood still, or was interrupted, and its answer was lost"));
    let unsent = ops.iter().filter(|(position, _)| !replies.contains_key(position));
    unsent.map(|(position, op)| (*position, if appended.contains(&*op.key) { Reply::No } else { unknown() })).collect()
}

/// Checks the answer to `version`.
fn check_version(node: &str, line: &str) -> Result<(), StoreError> {
    let Some(version) = line.trim_end().strip_prefix("VERSION ") else {
        let shown: String = line.chars().take(60).collect();
        let cause = format!("it is no memcached: it answers `version` with {shown:?}. Check the address");
        return Err(StoreError::down(node, cause));
    };
    let mut parts = version.split(['.', '-', '_']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let found = (next(), next(), next());
    if found < OLDEST {
        let (major, minor, patch) = OLDEST;
        let cause = format!("memcached {version} is too old: {major}.{minor}.{patch} or newer is needed (it lacks meta commands)");
        return Err(StoreError::down(node, cause));
    }
    Ok(())
}

/// Asks for the version, and for the size that items may have.
const GREETING: &[u8] = b"version\r\nstats settings\r\n";

/// Bytes that are read of the answer, at most.
const GREETING_ANSWER: u64 = 64 << 10;

/// memcached's default of `-I`, for servers that do not tell.
const DEFAULT_ITEM_SIZE: usize = 1 << 20;

/// The largest item, from a line of `stats settings`.
fn item_size(line: &str) -> Option<usize> {
    line.trim_end().strip_prefix("STAT item_size_max ")?.parse().ok()
}

/// What one [`Op`] becomes on the wire. The last operation's result is the answer.
fn to_wire(op: &Op, wire: &mut Vec<WireOp>) {
    let ttl = |ttl: &crate::Ttl| ttl.for_memcached(unix_now());
    match &op.action {
        Action::Get | Action::GetForWrite => wire.push(Get::new(&*op.key).into()),
        Action::Add(value, until) => wire.push(Set::new(&*op.key, value).ttl_raw(ttl(until)).add().into()),
        Action::Append(value, until) => {
            // An append keeps the item's TTL, so it is touched first.
            wire.push(Get::new(&*op.key).without_value().touch_raw(ttl(until)).into());
            wire.push(Set::new(&*op.key, value).append().into());
        }
        Action::Set(value, until) => wire.push(Set::new(&*op.key, value).ttl_raw(ttl(until)).into()),
        Action::Delete => wire.push(Delete::new(&*op.key).into()),
        // Not a batch operation: see `Replace`.
        Action::Replace(..) => {}
    }
}

fn from_wire(node: &str, result: Result<OpResult, Error>) -> Reply {
    match result {
        Ok(OpResult::Get(result)) if result.status == GetStatus::Hit => {
            result.value.map_or(Reply::Done, |value| Reply::Value(Bytes::from(value)))
        }
        Ok(OpResult::Get(_)) => Reply::No,
        Ok(OpResult::Mutation(result)) if result.status == MutationStatus::Applied => Reply::Done,
        Ok(_) => Reply::No,
        Err(error) => from_error(node, &error),
    }
}

fn from_error(node: &str, error: &Error) -> Reply {
    match error {
        // An answer that is an error ends the exchange, and so is told as an unknown outcome; the cause is what counts.
        Error::Ambiguous { source, .. } => from_error(node, source),
        Error::Server(message) if message.contains("too large") => Reply::TooLarge,
        Error::Server(_) | Error::Rejected(_) | Error::Usage(_) => Reply::Failed(StoreError::refused(node, error)),
        _ => Reply::Failed(StoreError::down(node, error)),
    }
}

/// Why the node is down, if these replies say so.
fn failed(replies: &[(usize, Reply)]) -> Option<StoreError> {
    replies.iter().find_map(|(_, reply)| match reply {
        Reply::Failed(error) if error.down => Some(error.clone()),
        _ => None,
    })
}

/// An exchange as the client sends it, and for each operation its position and the place of its answer.
fn wire(ops: &[(usize, &Op)]) -> (Vec<WireOp>, Vec<(usize, usize)>) {
    let mut wire = Vec::with_capacity(ops.len());
    let mut places = Vec::with_capacity(ops.len());
    for (position, op) in ops {
        to_wire(op, &mut wire);
        places.push((*position, wire.len() - 1));
    }
    (wire, places)
}

/// Takes each operation's answer out of an exchange's results.
fn answers(node: &str, positions: Vec<(usize, usize)>, results: Results) -> Vec<(usize, Reply)> {
    match results {
        Ok(results) => {
            let mut results: Vec<_> = results.into_iter().map(Some).collect();
            let mut answer = |wire: usize| match results.get_mut(wire).and_then(Option::take) {
                Some(result) => from_wire(node, result),
                None => Reply::Failed(StoreError::down(node, "it left an operation unanswered")),
            };
            positions.into_iter().map(|(position, wire)| (position, answer(wire))).collect()
        }
        Err(error) => positions.into_iter().map(|(position, _)| (position, from_error(node, &error))).collect(),
    }
}

impl Replace {
    fn read(&self) -> Result<MetaCommand, Error> {
        let mut options = GetOptions::default();
        (options.value, options.return_cas) = (true, true);
        build_get(&*self.key, &options)
    }

    /// The swap, if the item is as expected.
    fn swap(&self, found: &MetaCommandResult) -> Option<Result<MetaCommand, Error>> {
        let cas = found.cas.filter(|_| found.value.as_deref() == Some(&self.expected[..]))?;
        let mut options = SetOptions::default();
        (options.ttl, options.compare_cas) = (Some(self.ttl.for_memcached(unix_now())), Some(cas));
        Some(build_set(&*self.key, &self.value[..], &options))
    }

    fn swapped(result: &MetaCommandResult) -> Reply {
        if result.rc == ReturnCode::Hd { Reply::Done } else { Reply::No }
    }
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["VERSION 1.6.18\r\n", "VERSION 1.6.40", "VERSION 1.10.0", "VERSION 2.0.0-rc1"] {
            assert!(check_version("cache1:11211", good).is_ok(), "{good}");
        }
        let old = check_version("cache1:11211", "VERSION 1.5.22\r\n").expect_err("too old").to_string();
        assert!(old.contains("cache1:11211") && old.contains("1.5.22") && old.contains("1.6.18"), "{old}");
        let other = check_version("cache1:80", "HTTP/1.1 400 Bad Request").expect_err("not memcached").to_string();
        assert!(other.contains("no memcached") && other.contains("HTTP/1.1"), "{other}");
    }

    /// A head that landed before, was evicted with all that came after it, and lands again would be a version that the log had already.
    #[test]
    fn a_log_s_head_is_not_sent_twice() {
        let op = |key: &str, action| Op { node: 0, key: key.into(), action };
        let ttl = crate::Ttl::days(1);
        let bytes = || Bytes::from_static(b"+");
        let batch = [
            op("there", Action::Append(bytes(), ttl)),
            op("there", Action::Add(bytes(), ttl)),
            op("missing", Action::Append(bytes(), ttl)),
            op("missing", Action::Add(bytes(), ttl)),
            op("f", Action::Get),
        ];
        let ops: Vec<(usize, &Op)> = batch.iter().enumerate().collect();
        let sent: Vec<usize> = ops.iter().filter(|(_, op)| may_repeat(op)).map(|(position, _)| *position).collect();
        assert_eq!(sent, [0, 2, 4]);
        let replies = [(0, Reply::Done), (2, Reply::No), (4, Reply::No)];
        let rest = unrepeated("cache1:11211", &ops, &replies);
        // The node is well, so it is not left alone; but the write is owed, and sent as a new one.
        assert!(matches!(&rest[..], [(1, Reply::No), (3, Reply::Failed(error))] if !error.down), "{rest:?}");
    }
}
