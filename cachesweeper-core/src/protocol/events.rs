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
/// A mark needs the log to exist: each `append` is followed, in the same batch, by an `add` of a fresh head with the mark,
/// which a log that is there refuses. So a mark is one round trip whether the log is there or not. A release needs no log: a
/// reader that finds none makes a fresh head, which no fragment's stamp knows.
#[derive(Clone, Debug)]
pub struct Append {
    rules: Rules,
    logs: Vec<LogAddress>,
    events: Vec<Event>,
    needs_log: bool,
    /// The logs still open, and what they were last asked.
    asked: Vec<(usize, Asked)>,
    tries: u32,
    result: Appended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// `append`, and `add` if a log is needed.
    Append,
    Overwrite,
}

impl Append {
    /// How often a mark may find neither a log to append to nor room to add one, before it counts as failed.
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
        let log = self.events.iter().fold(VersionLog::fresh(Uid::new(tick)), |log, &event| log.with(event));
        let fresh = Bytes::from(log.to_bytes());
        let events = Bytes::from(self.events.iter().flat_map(|event| event.to_bytes()).collect::<Vec<u8>>());
        let ttl = self.rules.log_ttl;
        let mut ops = Vec::with_capacity(self.asked.len() * self.replies_of(Asked::Append));
        for &(log, asked) in &self.asked {
            let LogAddress { node, key } = &self.logs[log];
            let mut push = |action| ops.push(Op { node: *node, key: key.clone(), action });
            match asked {
                Asked::Overwrite => push(Action::Set(fresh.clone(), ttl)),
                Asked::Append => {
                    push(Action::Append(events.clone(), ttl));
                    if self.needs_log {
                        push(Action::Add(fresh.clone(), ttl));
                    }
                }
            }
        }
        ops
    }

    fn replies_of(&self, asked: Asked) -> usize {
        if asked == Asked::Append && self.needs_log { 2 } else { 1 }
    }

    /// What comes next for a log that was asked `asked`.
    fn next(&mut self, log: usize, asked: Asked, replies: &[Reply]) -> Option<(usize, Asked)> {
        if replies.iter().any(|reply| matches!(reply, Reply::Done)) {
            return None;
        }
        if let Some(error) = replies.iter().find_map(|reply| match reply {
            Reply::Failed(error) => Some(error.clone()),
            _ => None,
        }) {
            self.result.failed.push((log, error));
            return None;
        }
        let too_large = replies.iter().any(|reply| matches!(reply, Reply::TooLarge));
        match asked {
            // Too long to append to: as if it had been evicted.
            Asked::Append if too_large => Some((log, Asked::Overwrite)),
            // The log came or went between the two.
            Asked::Append if self.needs_log => Some((log, Asked::Append)),
            Asked::Append => None,
            Asked::Overwrite => {
                self.fail(log, "the store takes no version log at all");
                None
            }
        }
    }

    fn fail(&mut self, log: usize, cause: &str) {
        let node = format!("#{}", self.logs[log].node);
        self.result.failed.push((log, StoreError::refused(&node, cause)));
    }
}

impl Machine for Append {
    type Output = Appended;

    fn advance(&mut self, input: Input, tick: Tick) -> Step<Appended> {
        match input {
            Input::Replies(replies) => {
                let mut replies = replies.as_slice();
                for (log, asked) in std::mem::take(&mut self.asked) {
                    let (own, rest) = replies.split_at(self.replies_of(asked).min(replies.len()));
                    replies = rest;
                    let next = self.next(log, asked, own);
                    self.asked.extend(next);
                }
                self.tries += 1;
            }
            Input::Start | Input::Slept => self.asked = (0..self.logs.len()).map(|log| (log, Asked::Append)).collect(),
        }
        if self.tries == Self::TRIES {
            for (log, _) in std::mem::take(&mut self.asked) {
                self.fail(log, "the log came and went between append and add; the store is evicting as fast as it stores");
            }
        }
        if self.asked.is_empty() {
            return Step::Done(std::mem::take(&mut self.result));
        }
        Step::Run(self.ask(tick))
    }
}
