//! Writing to logs: marks, releases and invalidations.

use std::sync::Arc;

use bytes::Bytes;

use super::{Input, Machine, Rules, Step};
use crate::store::{Action, Op, Reply, StoreError};
use crate::version::{Event, Uid, VersionLog};
use crate::{Micros, Tick};

/// A log to write to: its node and its store key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogAddress {
    /// The store node.
    pub node: usize,
    /// The log's store key.
    pub key: Arc<str>,
}

/// What became of an [`Append`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Appended {
    /// The logs that could not be written, by their position, with the cause.
    pub failed: Vec<(usize, StoreError)>,
    /// Compactions of long logs that a mark has come across, to be sent along with its release.
    pub compactions: Vec<Op>,
}

impl Appended {
    /// Adds what became of a part that begins with the log at `first`.
    pub fn add(&mut self, first: usize, part: Self) {
        self.failed.extend(part.failed.into_iter().map(|(log, error)| (first + log, error)));
        self.compactions.extend(part.compactions);
    }
}

/// Appends the same events to many logs, in one batch, and sees it through.
///
/// A mark needs the log to exist: each `append` is followed, in the same batch, by an `add` of a fresh head with the mark,
/// which a log that is there refuses. So a mark is one round trip whether the log is there or not. A release needs no log: a
/// reader that finds none makes a fresh head, which no fragment's stamp knows.
///
/// A store refuses to append to a log that is full in the same words as to one that is missing. So whatever was refused is
/// read (by an invalidation in the same batch), and a log that is there is replaced by its compaction with the events at its
/// end. To keep logs from growing under
/// writes alone, now and then a mark also reads the logs and compacts the long ones: with its release, or, if they are so long
/// that other writers must have kept it from being done, at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    rules: Rules,
    logs: Vec<LogAddress>,
    events: Vec<Event>,
    needs_log: bool,
    /// Whether a refused release is looked into: an invalidation must arrive, the release of a hold need not.
    certain: bool,
    /// The logs still open, and what they were last asked.
    asked: Vec<(usize, Asked)>,
    /// Logs that were read along with the mark, by position.
    checked: Vec<usize>,
    /// Operations to be sent ahead of the first batch, whose replies do not matter.
    ahead: Vec<Op>,
    /// Compactions to be sent before it ends, whose replies do not matter.
    at_once: Vec<Op>,
    tries: u32,
    result: Appended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// `append`, and `add` if a log is needed.
    Append,
    /// What is there?
    Read,
    Replace,
}

impl Append {
    /// How often a log may change under our hands before it counts as failed.
    const TRIES: u32 = 12;

    /// One mark in this many also reads its logs.
    const CHECK_EVERY: u64 = 8;

    /// A mark compacts logs that are longer than this, in bytes.
    const COMPACT_ABOVE: usize = 2 * VersionLog::COMPACT_ABOVE;

    /// And at once those that are longer than this: by the time of the release others have written again, so that the
    /// compaction comes too late, and the log of a busy record would grow without end.
    const COMPACT_AT_ONCE_ABOVE: usize = 4 * Self::COMPACT_ABOVE;

    /// Opens a hold in these logs until `deadline`.
    pub fn mark(rules: Rules, logs: Vec<LogAddress>, uid: Uid, deadline: Micros) -> Self {
        Self::new(rules, logs, vec![Event::Mark { uid, deadline }], true, true)
    }

    /// Releases the holds `uids`. It need not be looked into: the hold ends by itself.
    pub fn release(rules: Rules, logs: Vec<LogAddress>, uids: &[Uid], birth: Micros) -> Self {
        let events = uids.iter().map(|&uid| Event::Release { uid, birth }).collect();
        Self::new(rules, logs, events, false, false)
    }

    /// Invalidates by a release without a mark; also a release that comes too late to be lost.
    pub fn invalidate(rules: Rules, logs: Vec<LogAddress>, uids: &[Uid], birth: Micros) -> Self {
        Self { certain: true, ..Self::release(rules, logs, uids, birth) }
    }

    /// The same in parts of at most `size` logs, with the position of each one's first log: a batch is in memory as a whole.
    pub fn in_parts(self, size: usize) -> impl Iterator<Item = (usize, Self)> {
        let Self { rules, logs, events, needs_log, certain, mut ahead, .. } = self;
        let (mut logs, mut first) = (logs.into_iter(), 0);
        std::iter::from_fn(move || {
            let part: Vec<LogAddress> = logs.by_ref().take(size.max(1)).collect();
            let position = first;
            first += part.len();
            let append = Self::new(rules, part, events.clone(), needs_log, certain).ahead(std::mem::take(&mut ahead));
            (!append.logs.is_empty()).then_some((position, append))
        })
    }

    /// Sends these operations ahead, in the same batch: the compactions that the mark has come across. Whether they come in
    /// time does not matter, for who writes next looks again.
    pub fn ahead(mut self, ops: Vec<Op>) -> Self {
        self.ahead = ops;
        self
    }

    fn new(rules: Rules, logs: Vec<LogAddress>, events: Vec<Event>, needs_log: bool, certain: bool) -> Self {
        let (asked, checked, ahead, at_once) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { rules, logs, events, needs_log, certain, asked, checked, ahead, at_once, tries: 0, result: Appended::default() }
    }

    fn ask(&mut self, replaces: &[(usize, Bytes)], tick: Tick) -> Vec<Op> {
        let ttl = self.rules.log_ttl;
        let fresh = Bytes::from(self.with_events(VersionLog::fresh(Uid::new(tick))).to_bytes());
        let events = Bytes::from(self.events.iter().flat_map(|event| event.to_bytes()).collect::<Vec<u8>>());
        let mut ops = if self.tries == 0 { self.ahead.clone() } else { Vec::new() };
        for &(log, asked) in &self.asked {
            let LogAddress { node, key } = &self.logs[log];
            let mut push = |action| ops.push(Op { node: *node, key: key.clone(), action });
            match asked {
                Asked::Append => {
                    push(Action::Append(events.clone(), ttl));
                    if self.needs_log {
                        push(Action::Add(fresh.clone(), ttl));
                    } else if self.certain {
                        push(Action::GetForWrite);
                    }
                }
                Asked::Read => push(Action::GetForWrite),
                Asked::Replace => {
                    let old = replaces.iter().find(|(other, _)| *other == log).map(|(_, old)| old.clone()).unwrap_or_default();
                    let (head, rules) = (Uid::new(tick), &self.rules);
                    let new = match VersionLog::parse(&old) {
                        Ok(old) => old.compacted(head, tick.now, rules.skew),
                        Err(_) => VersionLog::in_place_of_malformed(head, tick.now.plus(rules.longest_hold).plus(rules.skew)),
                    };
                    push(Action::Replace(old, self.with_events(new).to_bytes().into(), ttl));
                }
            }
        }
        if self.needs_log && self.tries == 0 && tick.random.is_multiple_of(Self::CHECK_EVERY) {
            self.checked = (0..self.logs.len()).collect();
            ops.extend(self.logs.iter().map(|log| Op { node: log.node, key: log.key.clone(), action: Action::GetForWrite }));
        }
        ops
    }

    fn with_events(&self, log: VersionLog) -> VersionLog {
        self.events.iter().fold(log, |log, &event| log.with(event))
    }

    fn replies_of(&self, asked: Asked) -> usize {
        if asked == Asked::Append && (self.needs_log || self.certain) { 2 } else { 1 }
    }

    /// What comes next for a log that was asked `asked`; `replaces` gets what was read.
    fn next(&mut self, log: usize, asked: Asked, replies: &[Reply], replaces: &mut Vec<(usize, Bytes)>) -> Option<Asked> {
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
        match (asked, replies.last()) {
            (Asked::Append, _) if self.needs_log => Some(Asked::Read),
            (Asked::Append | Asked::Read, Some(Reply::Value(old))) => {
                replaces.push((log, old.clone()));
                Some(Asked::Replace)
            }
            // It is gone: a mark needs a new one, an invalidation has nothing left to invalidate.
            (Asked::Append | Asked::Read, _) => self.needs_log.then_some(Asked::Append),
            (Asked::Replace, _) => Some(Asked::Read),
        }
    }

    /// Compactions of the long ones among the logs that were read along with the mark.
    fn compact(&mut self, replies: &[Reply], tick: Tick) {
        for (log, reply) in std::mem::take(&mut self.checked).into_iter().zip(replies) {
            let Some(bytes) = reply.value().filter(|bytes| bytes.len() > Self::COMPACT_ABOVE) else { continue };
            let Ok(old) = VersionLog::parse(bytes) else { continue };
            let shorter = old.compacted(Uid::new(tick), tick.now, self.rules.skew).to_bytes();
            let LogAddress { node, key } = self.logs[log].clone();
            let place = if bytes.len() > Self::COMPACT_AT_ONCE_ABOVE { &mut self.at_once } else { &mut self.result.compactions };
            place.push(Op { node, key, action: Action::Replace(bytes.clone(), shorter.into(), self.rules.log_ttl) });
        }
    }
}

impl Machine for Append {
    type Output = Appended;

    fn advance(&mut self, input: Input, tick: Tick) -> Step<Appended> {
        let mut replaces = Vec::new();
        match input {
            Input::Replies(replies) => {
                let ahead = if self.tries == 0 { self.ahead.len() } else { 0 };
                let mut replies = &replies[ahead.min(replies.len())..];
                for (log, asked) in std::mem::take(&mut self.asked) {
                    let (own, rest) = replies.split_at(self.replies_of(asked).min(replies.len()));
                    replies = rest;
                    let next = self.next(log, asked, own, &mut replaces);
                    self.asked.extend(next.map(|asked| (log, asked)));
                }
                self.compact(replies, tick);
                self.tries += 1;
            }
            Input::Start | Input::Slept => self.asked = (0..self.logs.len()).map(|log| (log, Asked::Append)).collect(),
        }
        if self.tries >= Self::TRIES {
            for (log, _) in std::mem::take(&mut self.asked) {
                let cause = "the log changed under every try; the store is evicting as fast as it stores";
                self.result.failed.push((log, StoreError::refused(&format!("#{}", self.logs[log].node), cause)));
            }
        }
        if !self.asked.is_empty() {
            let mut ops = self.ask(&replaces, tick);
            // Behind what is asked, where nobody looks at its replies.
            ops.append(&mut self.at_once);
            return Step::Run(ops);
        }
        if !self.at_once.is_empty() {
            return Step::Run(std::mem::take(&mut self.at_once));
        }
        Step::Done(std::mem::take(&mut self.result))
    }
}
