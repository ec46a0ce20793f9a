//! The writes, and what each version of each row promises to whom.

use std::collections::{HashMap, HashSet};

use super::{Findings, Terms};
use crate::history::{Event, History, Kind, Record, Trouble, Version};

/// A row.
pub(super) type Object = (Kind, i64);

/// One write, from its process's history.
#[derive(Clone, Debug, Default)]
struct Write {
    begin: u64,
    body: Option<u64>,
    end: Option<u64>,
    acknowledged: bool,
    unmarked: bool,
    error: Option<(Trouble, String)>,
    /// Not known of a save outside of transactions.
    versions: Option<Vec<Version>>,
    died: Option<u64>,
}

impl Write {
    /// Whether COMMIT has certainly returned, or its process died, within the hold.
    fn is_timely(&self, hold: u64) -> bool {
        match (self.body, self.end.or(self.died)) {
            (Some(body), Some(end)) => end.saturating_sub(body) <= hold,
            _ => true,
        }
    }
}

/// One version of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) article: Option<i64>,
    /// It may be seen from then on.
    pub(super) begin: u64,
    acknowledged: Option<u64>,
    /// From when on it is promised (G-ack); `None`: not at all.
    promised: Option<u64>,
    /// From when on it is promised since its commit (G-commit).
    promised_commit: Option<u64>,
    /// Why the promise is less than whole.
    excuse: Option<&'static str>,
}

/// A row's versions in order; the first is 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    group: i64,
    pub(super) states: Vec<State>,
}

/// By what a version is known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It was acknowledged, and that is promised.
    Ack,
    /// The database had it, and that is promised.
    Commit,
    /// One of both, and nothing is promised: a condition did not hold.
    Unclaimed,
}

/// All writes, and all rows.
#[derive(Debug)]
pub(super) struct Ledger {
    terms: Terms,
    writes: HashMap<i64, Write>,
    lines: HashMap<Object, Line>,
    comments_of: HashMap<i64, Vec<i64>>,
}

impl Ledger {
    pub(super) fn new(terms: Terms, histories: &[History]) -> Self {
        let mut writes: HashMap<i64, Write> = HashMap::new();
        for history in histories {
            for record in &history.records {
                match record {
                    Record::Begin { op, at } => {
                        writes.insert(*op, Write { begin: *at, died: history.died, ..Write::default() });
                    }
                    Record::Body { op, at, writes: versions } => {
                        let write = writes.entry(*op).or_default();
                        (write.body, write.versions) = (Some(*at), versions.clone());
                    }
                    Record::End { op, at, error, unmarked } => {
                        let write = writes.entry(*op).or_default();
                        write.end = Some(*at);
                        write.acknowledged = error.is_none();
                        write.unmarked = *unmarked;
                        write.error.clone_from(error);
                    }
                    Record::Read(_) | Record::Stats { .. } => {}
                }
            }
        }
        Self { terms, writes, lines: HashMap::new(), comments_of: HashMap::new() }
    }

    /// Counts the writes, and compares what they were told with what was committed.
    pub(super) fn count(&self, events: &[Event], found: &mut Findings) {
        let committed: HashSet<(i64, Version)> = events.iter().map(|event| (event.op, event.version)).collect();
        let mut events_of: HashMap<i64, usize> = HashMap::new();
        for event in events {
            *events_of.entry(event.op).or_default() += 1;
        }
        for (op, write) in &self.writes {
            let (landed, written) = match &write.versions {
                Some(versions) => (versions.iter().filter(|version| committed.contains(&(*op, **version))).count(), versions.len()),
                None => (events_of.get(op).copied().unwrap_or_default(), usize::from(write.body.is_some())),
            };
            if landed != 0 && landed != written {
                found.broken.push(format!("of the write {op} only a part was committed"));
            }
            match &write.error {
                None if write.acknowledged => {
                    found.writes += 1;
                    found.alone += u64::from(write.versions.is_none());
                    if landed != written {
                        found.broken.push(format!("the write {op} was acknowledged and not committed"));
                    }
                }
                None => found.unfinished += 1,
                Some((Trouble::Conflict, _)) => found.conflicts += 1,
                Some((Trouble::Refused, text)) => {
                    found.refused += 1;
                    if landed != 0 {
                        found.broken.push(format!("the write {op} was refused, and committed all the same"));
                    }
                    if !text.contains("store node") {
                        found.broken.push(format!("the refusal of {op} does not say why: {text}"));
                    }
                }
                Some((Trouble::Database, text)) => *found.write_errors.entry(text.clone()).or_default() += 1,
            }
            found.unmarked += u64::from(write.unmarked);
            found.late += u64::from(!write.is_timely(self.terms.hold));
        }
    }

    /// Lines up what was committed, and compares it with the rows as they are: a write that was rolled back has left nothing.
    pub(super) fn line_up(&mut self, events: &[Event], rows: &[(Version, Option<i64>)], found: &mut Findings) {
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_by_key(|event| event.version);
        let mut latest: HashMap<Object, (i64, Option<i64>)> = HashMap::new();
        for event in sorted {
            let (kind, id, version) = event.version;
            if event.op != 0 && !self.writes.contains_key(&event.op) {
                found.broken.push(format!("nobody has begun the write {}, and it was committed", event.op));
            }
            let state = self.state(event);
            let line = self.lines.entry((kind, id)).or_default();
            line.group = event.group;
            if version != line.states.len() as i64 + 1 {
                found.broken.push(format!("the version {version} of {kind:?} {id} does not follow the one before"));
            }
            line.states.push(state);
            latest.insert((kind, id), (version, event.article));
        }
        for ((kind, id), line) in &self.lines {
            if *kind == Kind::Comment {
                self.comments_of.entry(line.group).or_default().push(*id);
            }
        }
        let mut rows: HashMap<Object, (i64, Option<i64>)> =
            rows.iter().map(|((kind, id, version), article)| ((*kind, *id), (*version, *article))).collect();
        let is_deleted = |id| latest.get(&(Kind::Comment, id)).is_none_or(|(_, article)| article.is_none());
        for ((kind, id), (version, article)) in &latest {
            let row = rows.remove(&(*kind, *id));
            let fits = match (kind, row) {
                (Kind::Comment, None) => article.is_none(),
                (Kind::Comment, Some(row)) => row == (*version, *article),
                (Kind::Reply, None) => is_deleted(*id),
                (Kind::Article, None) => false,
                (Kind::Article | Kind::Reply, Some(row)) => row.0 == *version,
            };
            if !fits {
                found.broken.push(format!("{kind:?} {id} is {row:?} in the database, and the log says {version} at {article:?}"));
            }
        }
        for (object, row) in rows {
            found.broken.push(format!("{object:?} is {row:?} in the database, and the log does not know it"));
        }
    }

    fn state(&self, event: &Event) -> State {
        let article = event.article;
        let Some(write) = self.writes.get(&event.op) else {
            // The first content.
            return State { article, begin: 0, acknowledged: Some(0), promised: Some(0), promised_commit: Some(0), excuse: None };
        };
        let acknowledged = write.end.filter(|_| write.acknowledged);
        let (excused, timely) = (write.unmarked && self.terms.excuse_unmarked, write.is_timely(self.terms.hold));
        let from = |time: u64| if excused { time.max(self.terms.settled) } else { time };
        State {
            article,
            begin: write.begin,
            acknowledged,
            promised: acknowledged.map(from),
            promised_commit: timely.then(|| from(write.begin)),
            excuse: if excused { Some("not marked") } else { (!timely).then_some("COMMIT after the hold") },
        }
    }

    pub(super) fn line(&self, object: Object) -> Option<&Line> {
        self.lines.get(&object)
    }

    /// All comments that a group has ever had.
    pub(super) fn comments_of(&self, group: i64) -> &[i64] {
        self.comments_of.get(&group).map(Vec::as_slice).unwrap_or_default()
    }

    /// The least version that a read which begins at `begin` may show, if the database has said before that it has `witnessed`; 0 if
    /// nothing is known of the row.
    pub(super) fn bound(&self, object: Object, ground: Ground, begin: u64, witnessed: i64) -> i64 {
        let Some(line) = self.lines.get(&object) else { return 0 };
        let before = |time: Option<u64>| time.is_some_and(|time| time < begin);
        let is_known = |position: usize, state: &State| {
            let witnessed = (position as i64) < witnessed;
            match ground {
                Ground::Ack => before(state.promised),
                Ground::Commit => witnessed && before(state.promised_commit),
                Ground::Unclaimed => witnessed || before(state.acknowledged),
            }
        };
        let latest = line.states.iter().enumerate().rev().find(|(position, state)| is_known(*position, state));
        latest.map_or(0, |(position, _)| position as i64 + 1)
    }

    /// Why nothing is promised for a version.
    pub(super) fn excuse(&self, object: Object, version: i64) -> &'static str {
        let state = self.lines.get(&object).and_then(|line| line.states.get(usize::try_from(version - 1).ok()?));
        state.and_then(|state| state.excuse).unwrap_or("of an older version's write")
    }
}
