//! Writing to logs: marks, releases and invalidations.

use bytes::Bytes;

use super::{Input, Machine, Rules, Step};
use crate::store::{Action, Op, Reply, StoreError};
use crate::version::{Event, Uid, VersionLog};
use crate::{Micros, Tick};

/// A log to write to: its node and its store key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogAddress {
    /// The store node.
    pub node: usize,
    /// The log's store key.
    pub key: String,
}

/// What became of an [`Append`].
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// The logs that could not be written, by their position, with the cause.
    pub failed: Vec<(usize, StoreError)>,
}

/// Appends the same events to many logs, in one batch, and sees it through.
///
/// A mark needs the log to exist: a missing one is added with a fresh head. A release does not: a reader that finds no
/// log makes a fresh head, which no fragment's stamp knows.
#[derive(Clone, Debug)]
pub struct Append {
    rules: Rules,
    logs: Vec<LogAddress>,
    events: Vec<Event>,
    needs_log: bool,
    /// What was last asked, per log still open.
    asked: Vec<(usize, Asked)>,
    tries: u32,
    result: Appended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Append,
    Add,
    Overwrite,
}

impl Append {
    /// How often a mark may lose the race between `append` (no such log) and `add` (there is one) before it counts as failed.
    const TRIES: u32 = 8;

    /// Opens a hold in these logs until `deadline`.
    pub fn mark(rules: Rules, logs: Vec<LogAddress>, uid: Uid, deadline: Micros) -> Self {
        Self::new(rules, logs, vec![Event::Mark { uid, deadline }], true)
    }

    /// Releases the holds `uids`; with a uid that was never a mark's it just invalidates.
    pub fn release(rules: Rules, logs: Vec<LogAddress>, uids: &[Uid], birth: Micros) -> Self {
        Self::new(rules, logs, uids.iter().map(|&uid| Event::Release { uid, birth }).collect(), false)
    }

    fn new(rules: Rules, logs: Vec<LogAddress>, events: Vec<Event>, needs_log: bool) -> Self {
        Self { rules, logs, events, needs_log, asked: Vec::new(), tries: 0, result: Appended::default() }
    }

    fn ask(&self, tick: Tick) -> Vec<Op> {
        // A new head for every try: a uid is never sent twice for a head.
        let fresh = || {
            let log = self.events.iter().fold(VersionLog::fresh(Uid::new(tick)), |log, &event| log.with(event));
            Bytes::from(log.to_bytes())
        };
        let events = Bytes::from(self.events.iter().flat_map(|event| event.to_bytes()).collect::<Vec<u8>>());
        let op = |&(log, asked): &(usize, Asked)| {
            let ttl = self.rules.log_ttl;
            let action = match asked {
                Asked::Append => Action::Append(events.clone(), ttl),
                Asked::Add => Action::Add(fresh(), ttl),
                Asked::Overwrite => Action::Set(fresh(), ttl),
            };
            let LogAddress { node, key } = &self.logs[log];
            Op { node: *node, key: key.clone(), action }
        };
        self.asked.iter().map(op).collect()
    }

    fn next(&mut self, log: usize, asked: Asked, reply: Reply) -> Option<(usize, Asked)> {
        match (asked, reply) {
            (_, Reply::Done | Reply::Value(_)) => None,
            (Asked::Append, Reply::No) if !self.needs_log => None,
            (Asked::Append, Reply::No) => Some((log, Asked::Add)),
            (Asked::Add, Reply::No) => Some((log, Asked::Append)),
            // Too long to append to: as if it had been evicted.
            (Asked::Append, Reply::TooLarge) => Some((log, Asked::Overwrite)),
            (_, Reply::Failed(error)) => {
                self.result.failed.push((log, error));
                None
            }
            (_, Reply::No | Reply::TooLarge) => {
                let node = self.logs[log].node.to_string();
                self.result.failed.push((log, StoreError::refused(&node, "the store takes no version log at all")));
                None
            }
        }
    }
}

impl Machine for Append {
    type Output = Appended;

    fn advance(&mut self, input: Input, tick: Tick) -> Step<Appended> {
        match input {
            Input::Replies(replies) => {
                let asked = std::mem::take(&mut self.asked);
                for ((log, asked), reply) in asked.into_iter().zip(replies) {
                    let next = self.next(log, asked, reply);
                    self.asked.extend(next);
                }
                self.tries += 1;
            }
            Input::Start | Input::Slept => self.asked = (0..self.logs.len()).map(|log| (log, Asked::Append)).collect(),
        }
        if self.asked.is_empty() {
            return Step::Done(std::mem::take(&mut self.result));
        }
        if self.tries == Self::TRIES {
            for (log, _) in self.asked.drain(..) {
                let node = self.logs[log].node.to_string();
                let cause = "the log came and went between append and add; the store is evicting as fast as it stores";
                self.result.failed.push((log, StoreError::refused(&node, cause)));
            }
            return Step::Done(std::mem::take(&mut self.result));
        }
        Step::Run(self.ask(tick))
    }
}
