//! A store node: memcached's semantics, as far as the store uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::Ttl;
use cachesweeper_core::version::VersionLog;
use cachesweeper_core::{Micros, store::Op};

/// One command on the wire.
#[derive(Clone, Debug)]
pub enum Command {
    /// `mg key v`
    Get(Arc<str>),
    /// `mg key T…`
    Touch(Arc<str>, Ttl),
    /// `ms key ME`
    Add(Arc<str>, Bytes, Ttl),
    /// `ms key MA`
    Append(Arc<str>, Bytes),
    /// `ms key`
    Set(Arc<str>, Bytes, Ttl),
    /// `md key`
    Delete(Arc<str>),
    /// `mg key v c`
    Gets(Arc<str>),
    /// `ms key C…`
    Swap(Arc<str>, u64, Bytes, Ttl),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `VA`, with the CAS id
    Value(Bytes, u64),
    /// `HD`
    Done,
    /// `NS`, `EX`, `NF`, `EN`
    No,
}

#[derive(Clone, Debug)]
struct Item {
    value: Bytes,
    /// In microseconds since the begin of the simulation.
    expires: u64,
    cas: u64,
    used: u64,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    items: BTreeMap<Arc<str>, Item>,
    max_item: usize,
    /// Bytes that it may hold.
    pub memory: usize,
    bytes: usize,
    next_cas: u64,
    uses: u64,
    /// Counts its restarts.
    pub incarnation: u64,
    /// Whether it answers.
    pub up: bool,
    /// Items dropped for want of memory.
    pub evictions: u64,
}

/// Bytes of an item beside its key and value.
const OVERHEAD: usize = 56;

impl Node {
    /// An empty node.
    pub fn new(max_item: usize, memory: usize) -> Self {
        let items = BTreeMap::new();
        Self { items, max_item, memory, bytes: 0, next_cas: 1, uses: 0, incarnation: 0, up: true, evictions: 0 }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    /// Restarts: everything is forgotten, and CAS ids begin again.
    pub fn restart(&mut self) {
        self.forget();
        (self.next_cas, self.incarnation) = (1, self.incarnation + 1);
    }

    fn find(&mut self, key: &str, now: u64) -> Option<&mut Item> {
        if self.items.get(key)?.expires < now {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        let item = self.items.get_mut(key)?;
        item.used = self.uses;
        Some(item)
    }

    fn remove(&mut self, key: &str) -> bool {
        let removed = self.items.remove(key);
        if let Some(item) = &removed {
            self.bytes -= key.len() + item.value.len() + OVERHEAD;
        }
        removed.is_some()
    }

    fn put(&mut self, key: &str, value: Bytes, expires: u64) {
        self.remove(key);
        self.bytes += key.len() + value.len() + OVERHEAD;
        self.uses += 1;
        let (cas, used) = (self.next_cas, self.uses);
        self.next_cas += 1;
        self.items.insert(key.into(), Item { value, expires, cas, used });
    }

    /// Runs one command at this time since the begin.
    pub fn run(&mut self, command: Command, now: u64) -> Answer {
        let end = |ttl: Ttl| ttl.end(Micros(now)).0;
        match command {
            Command::Get(key) | Command::Gets(key) => {
                self.find(&key, now).map_or(Answer::No, |item| Answer::Value(item.value.clone(), item.cas))
            }
            Command::Touch(key, ttl) => match self.find(&key, now) {
                Some(item) => {
                    item.expires = end(ttl);
                    Answer::Done
                }
                None => Answer::No,
            },
            Command::Add(key, value, ttl) => match self.find(&key, now) {
                Some(_) => Answer::No,
                None => {
                    self.put(&key, value, end(ttl));
                    Answer::Done
                }
            },
            Command::Append(key, more) => match self.find(&key, now).map(|item| (item.value.clone(), item.expires)) {
                // An item that would be too large is answered for like a missing one.
                Some((value, _)) if key.len() + value.len() + more.len() + 128 > self.max_item => Answer::No,
                Some((value, expires)) => {
                    self.put(&key, [value, more].concat().into(), expires);
                    Answer::Done
                }
                None => Answer::No,
            },
            Command::Set(key, value, ttl) => {
                self.put(&key, value, end(ttl));
                Answer::Done
            }
            Command::Delete(key) => {
                let found = self.find(&key, now).is_some();
                self.remove(&key);
                if found { Answer::Done } else { Answer::No }
            }
            Command::Swap(key, cas, value, ttl) => match self.find(&key, now) {
                Some(item) if item.cas == cas => {
                    self.put(&key, value, end(ttl));
                    Answer::Done
                }
                _ => Answer::No,
            },
        }
    }

    /// Drops the least recently used items until the rest fits; `shown` is the latest time that any clock shows.
    /// Logs with an open hold are kept, unless `holds_too`.
    pub fn evict(&mut self, shown: Micros, skew: Micros, holds_too: bool) {
        if self.bytes <= self.memory {
            return;
        }
        let mut by_use: Vec<(u64, Arc<str>)> = self.items.iter().map(|(key, item)| (item.used, key.clone())).collect();
        by_use.sort_unstable();
        for (_, key) in by_use {
            if self.bytes <= self.memory {
                return;
            }
            self.evict_one(&key, shown, skew, holds_too);
        }
    }

    /// Drops one item, under the same rule.
    pub fn evict_one(&mut self, key: &str, shown: Micros, skew: Micros, holds_too: bool) {
        let held = |item: &Item| VersionLog::parse(&item.value).is_ok_and(|log| log.is_held(shown, skew));
        if self.items.get(key).is_some_and(|item| holds_too || !held(item)) {
            self.remove(key);
            self.evictions += 1;
        }
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.items.keys()
    }
}

/// What an operation becomes on the wire; the last command's answer is the operation's. Replaces are not sent like this.
pub fn commands(op: &Op) -> Vec<Command> {
    use cachesweeper_core::store::Action;
    let key = || op.key.clone();
    match &op.action {
        Action::Get | Action::GetForWrite => vec![Command::Get(key())],
        Action::Add(value, ttl) => vec![Command::Add(key(), value.clone(), *ttl)],
        Action::Append(value, ttl) => vec![Command::Touch(key(), *ttl), Command::Append(key(), value.clone())],
        Action::Set(value, ttl) => vec![Command::Set(key(), value.clone(), *ttl)],
        Action::Delete => vec![Command::Delete(key())],
        Action::Replace(..) => Vec::new(),
    }
}
