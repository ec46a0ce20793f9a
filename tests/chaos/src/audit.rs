//! The auditor. It knows histories and what the database has committed, and nothing of the library.
//!
//! The versions of a row rise by one, and each is written by one transaction. So a page is stale if it shows a version below one
//! that was acknowledged (G-ack), or that the database itself was seen to have (G-commit), before the page was asked for. A
//! comment that a page does not show is judged too: some version that it may have had since must be elsewhere.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Event, Form, History, Kind, Read, Record, Trouble, Version};

/// What is promised in a phase, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) hold: u64,
    /// From when on what could not be marked must have been delivered.
    pub(crate) settled: u64,
    /// Whether that excuses anything.
    pub(crate) excuse_unmarked: bool,
    /// The time of the faults.
    pub(crate) faults: (u64, u64),
}

/// A page that should not have been served.
#[derive(Clone, Debug)]
pub(crate) struct Stale {
    /// Seconds after the faults began.
    pub(crate) at: f64,
    pub(crate) why: String,
    pub(crate) page: String,
}

/// What the auditor has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) writes: u64,
    /// Writes of processes that died before they were acknowledged.
    pub(crate) unfinished: u64,
    pub(crate) conflicts: u64,
    pub(crate) refused: u64,
    /// Errors of the database, by text.
    pub(crate) write_errors: BTreeMap<String, u64>,
    pub(crate) read_errors: BTreeMap<String, u64>,
    /// Writes some of whose records could not be marked: the promises are suspended for them.
    pub(crate) unmarked: u64,
    /// Writes whose COMMIT took longer than the hold: for them G-commit is not promised.
    pub(crate) late: u64,
    pub(crate) reads: u64,
    pub(crate) witnessed: u64,
    /// By outcome, in the time of the faults.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) bypasses: u64,
    pub(crate) why: BTreeMap<String, u64>,
    pub(crate) stale_ack: u64,
    pub(crate) stale_commit: u64,
    /// Stale by writes for which nothing was promised at that moment.
    pub(crate) stale_unclaimed: u64,
    pub(crate) examples: Vec<Stale>,
    pub(crate) unclaimed_examples: Vec<Stale>,
    /// What should be impossible whatever the cache does: the harness or the database is wrong.
    pub(crate) broken: Vec<String>,
    /// The longest time in which all reads of an article, or comment, bypassed; seconds.
    pub(crate) longest_bypass: f64,
    pub(crate) latencies: Vec<u64>,
    /// Of reads: when they began, and whether they were hits.
    pub(crate) hits_at: Vec<(u64, bool)>,
    pub(crate) stats: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
struct Write {
    begin: u64,
    body: Option<u64>,
    end: Option<u64>,
    acknowledged: bool,
    unmarked: bool,
    error: Option<(Trouble, String)>,
    versions: Vec<Version>,
    died: Option<u64>,
}

/// One version of a row.
#[derive(Clone, Copy, Debug)]
struct State {
    article: Option<i64>,
    /// It may be seen from then on.
    begin: u64,
    /// When it was acknowledged.
    acknowledged: Option<u64>,
    /// From when on it is promised (G-ack); `None`: not at all.
    promised: Option<u64>,
    /// From when on it is promised since its commit (G-commit).
    promised_commit: Option<u64>,
}

/// A row's versions in order; the first is 1.
#[derive(Clone, Debug, Default)]
struct Line {
    group: i64,
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Ack,
    Commit,
    Unclaimed,
}

type Object = (Kind, i64);

struct Audit {
    terms: Terms,
    writes: HashMap<i64, Write>,
    lines: HashMap<Object, Line>,
    comments_of: HashMap<i64, Vec<i64>>,
    found: Findings,
}

/// Judges a phase.
pub(crate) fn audit(terms: Terms, histories: &[History], events: &[Event], rows: &[(Version, Option<i64>)]) -> Findings {
    let mut audit = Audit { terms, writes: HashMap::new(), lines: HashMap::new(), comments_of: HashMap::new(), found: Findings::default() };
    audit.collect_writes(histories);
    audit.count_writes(events);
    audit.draw_lines(events, rows);
    for history in histories {
        for record in &history.records {
            match record {
                Record::Read(read) => audit.judge(read),
                Record::Stats { stats } => {
                    for (name, count) in stats {
                        *audit.found.stats.entry(name.clone()).or_default() += count;
                    }
                }
                _ => {}
            }
        }
    }
    audit.measure_bypasses(histories);
    audit.found
}

impl Audit {
    // ---- writes ---------------------------------------------------------------------------------------------------

    fn collect_writes(&mut self, histories: &[History]) {
        for history in histories {
            for record in &history.records {
                match record {
                    Record::Begin { op, at } => {
                        self.writes.insert(*op, Write { begin: *at, died: history.died, ..Write::default() });
                    }
                    Record::Body { op, at, writes } => {
                        let write = self.writes.entry(*op).or_default();
                        (write.body, write.versions) = (Some(*at), writes.clone());
                    }
                    Record::End { op, at, error, unmarked } => {
                        let write = self.writes.entry(*op).or_default();
                        write.end = Some(*at);
                        write.acknowledged = error.is_none();
                        write.unmarked = *unmarked;
                        write.error.clone_from(error);
                    }
                    Record::Read(_) | Record::Stats { .. } => {}
                }
            }
        }
    }

    fn count_writes(&mut self, events: &[Event]) {
        let committed: std::collections::HashSet<(i64, Version)> = events.iter().map(|event| (event.op, event.version)).collect();
        for (op, write) in &self.writes {
            let found = &mut self.found;
            let landed = write.versions.iter().filter(|version| committed.contains(&(*op, **version))).count();
            if landed != 0 && landed != write.versions.len() {
                found.broken.push(format!("of the write {op} only a part was committed"));
            }
            match &write.error {
                None if write.acknowledged => {
                    found.writes += 1;
                    if landed != write.versions.len() {
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

    fn draw_lines(&mut self, events: &[Event], rows: &[(Version, Option<i64>)]) {
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_by_key(|event| event.version);
        let mut latest: HashMap<Object, (i64, Option<i64>)> = HashMap::new();
        for event in sorted {
            let (kind, id, version) = event.version;
            let line = self.lines.entry((kind, id)).or_default();
            line.group = event.group;
            if version != line.states.len() as i64 + 1 {
                self.found.broken.push(format!("the version {version} of {kind:?} {id} does not follow the one before"));
            }
            latest.insert((kind, id), (version, event.article));
            line.states.push(state(&self.terms, self.writes.get(&event.op), event));
        }
        for ((kind, id), line) in &self.lines {
            if *kind == Kind::Comment {
                self.comments_of.entry(line.group).or_default().push(*id);
            }
        }
        // The rows themselves must be what the log says: a write that was rolled back has left nothing.
        let mut rows: HashMap<Object, (i64, Option<i64>)> =
            rows.iter().map(|((kind, id, version), at)| ((*kind, *id), (*version, *at))).collect();
        for ((kind, id), (version, article)) in latest {
            let row = rows.remove(&(kind, id));
            let fits = match (kind, row) {
                (Kind::Comment, None) => article.is_none(),
                (Kind::Comment, Some(row)) => row == (version, article),
                (Kind::Reply, None) => {
                    self.lines.get(&(Kind::Comment, id)).and_then(|line| line.states.last()).is_none_or(|state| state.article.is_none())
                }
                (_, Some(row)) => row.0 == version,
                (Kind::Article, None) => false,
            };
            if !fits {
                self.found.broken.push(format!("{kind:?} {id} is {row:?} in the database, and the log says {version} at {article:?}"));
            }
        }
        for (object, row) in rows {
            self.found.broken.push(format!("{object:?} is {row:?} in the database, and the log does not know it"));
        }
    }

    // ---- reads ----------------------------------------------------------------------------------------------------

    fn judge(&mut self, read: &Read) {
        let (from, until) = self.terms.faults;
        if let Some(error) = &read.error {
            *self.found.read_errors.entry(error.clone()).or_default() += 1;
            return;
        }
        self.found.reads += 1;
        self.found.witnessed += u64::from(read.witness.is_some());
        if (from..until).contains(&read.begin) {
            match read.outcome.as_str() {
                "hit" => self.found.hits += 1,
                "miss" => self.found.misses += 1,
                _ => self.found.bypasses += 1,
            }
            *self.found.why.entry(read.why.clone()).or_default() += 1;
            if read.form != Form::Comment {
                self.found.latencies.push(read.end.saturating_sub(read.begin));
            }
        }
        self.found.hits_at.push((read.begin, read.outcome == "hit"));
        let Some(page) = Page::parse(&read.page) else {
            self.found.broken.push(format!("a page cannot be read: {:?}", read.page));
            return;
        };
        let witness: HashMap<Object, i64> = read.witness.iter().flatten().map(|(kind, id, version)| ((*kind, *id), *version)).collect();
        for ground in [Ground::Ack, Ground::Commit, Ground::Unclaimed] {
            let stale = self.stale(read, &page, |object| self.bound(object, ground, read.begin, &witness));
            let Some(why) = stale else { continue };
            let at = (read.begin as f64 - from as f64) / 1e9;
            let stale = Stale { at, why: format!("{why} ({ground:?}, {}, {:?})", read.why, read.form), page: read.page.clone() };
            let found = &mut self.found;
            let examples = match ground {
                Ground::Ack => {
                    found.stale_ack += 1;
                    &mut found.examples
                }
                Ground::Commit => {
                    found.stale_commit += 1;
                    &mut found.examples
                }
                Ground::Unclaimed => {
                    found.stale_unclaimed += 1;
                    &mut found.unclaimed_examples
                }
            };
            if examples.len() < 8 {
                examples.push(stale);
            }
            return;
        }
    }

    /// The least version that a read which begins now may show; 0 if nothing is known of the row.
    fn bound(&self, object: Object, ground: Ground, begin: u64, witness: &HashMap<Object, i64>) -> i64 {
        let Some(line) = self.lines.get(&object) else { return 0 };
        let seen = witness.get(&object).copied().unwrap_or_default();
        let before = |time: Option<u64>| time.is_some_and(|time| time < begin);
        let states = line.states.iter().enumerate().rev();
        let mut known = states.filter(|(position, state)| {
            let witnessed = (*position as i64) < seen;
            match ground {
                Ground::Ack => before(state.promised),
                Ground::Commit => witnessed && before(state.promised_commit),
                Ground::Unclaimed => witnessed || before(state.acknowledged),
            }
        });
        known.next().map_or(0, |(position, _)| position as i64 + 1)
    }

    /// What a page shows that is older than it may be.
    fn stale(&self, read: &Read, page: &Page, bound: impl Fn(Object) -> i64) -> Option<String> {
        for (id, version) in &page.articles {
            let least = bound((Kind::Article, *id));
            if *version < least {
                return Some(format!("article {id} was shown as {version}, and {least} was known"));
            }
        }
        let of_group = self.comments_of.get(&read.group).map(Vec::as_slice).unwrap_or_default();
        let judged = if read.form == Form::Comment { std::slice::from_ref(&read.id) } else { of_group };
        for id in judged {
            let least = bound((Kind::Comment, *id));
            match page.comments.get(id) {
                Some((version, _)) if *version < least => {
                    return Some(format!("comment {id} was shown as {version}, and {least} was known"));
                }
                Some((_, Some(reply))) => {
                    let least = bound((Kind::Reply, *id));
                    if *reply < least {
                        return Some(format!("the reply to {id} was shown as {reply}, and {least} was known"));
                    }
                }
                Some((_, None)) => {}
                None if least == 0 => {}
                None => {
                    let states = self.lines.get(&(Kind::Comment, *id)).map(|line| &line.states[least as usize - 1..]).unwrap_or_default();
                    let hidden = |state: &State| match read.form {
                        Form::Comment => state.article.is_none(),
                        _ => state.article != Some(read.id),
                    };
                    if !states.iter().any(|state| hidden(state) && state.begin <= read.end) {
                        return Some(format!("comment {id} was not shown, and it was known to be there as {least}"));
                    }
                }
            }
        }
        None
    }

    fn measure_bypasses(&mut self, histories: &[History]) {
        let mut reads: HashMap<(bool, i64), Vec<(u64, bool)>> = HashMap::new();
        for record in histories.iter().flat_map(|history| &history.records) {
            if let Record::Read(read) = record
                && read.error.is_none()
                && read.begin >= self.terms.faults.0
            {
                reads.entry((read.form == Form::Comment, read.id)).or_default().push((read.begin, read.outcome == "bypass"));
            }
        }
        for series in reads.values_mut() {
            series.sort_unstable();
            let mut since = None;
            for (at, bypass) in series.iter() {
                let began = *since.get_or_insert(*at);
                self.found.longest_bypass = self.found.longest_bypass.max(if *bypass || since.is_some_and(|since| since < *at) {
                    (*at - began) as f64 / 1e9
                } else {
                    0.0
                });
                if !bypass {
                    since = None;
                }
            }
        }
    }
}

fn state(terms: &Terms, write: Option<&Write>, event: &Event) -> State {
    let article = event.article;
    let Some(write) = write else {
        // The first content.
        return State { article, begin: 0, acknowledged: Some(0), promised: Some(0), promised_commit: Some(0) };
    };
    let acknowledged = write.end.filter(|_| write.acknowledged);
    let excused = write.unmarked && terms.excuse_unmarked;
    let from = |time: u64| if excused { time.max(terms.settled) } else { time };
    let promised_commit = write.is_timely(terms.hold).then(|| from(write.begin));
    State { article, begin: write.begin, acknowledged, promised: acknowledged.map(from), promised_commit }
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

/// What a page shows.
#[derive(Debug, Default)]
struct Page {
    articles: Vec<(i64, i64)>,
    comments: HashMap<i64, (i64, Option<i64>)>,
}

impl Page {
    fn parse(text: &str) -> Option<Self> {
        let mut page = Self::default();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["a", id, version] => page.articles.push((id.parse().ok()?, version.parse().ok()?)),
                ["c", id, version, "-"] => drop(page.comments.insert(id.parse().ok()?, (version.parse().ok()?, None))),
                ["c", id, version, reply] => {
                    page.comments.insert(id.parse().ok()?, (version.parse().ok()?, Some(reply.parse().ok()?)));
                }
                ["x", id] => {
                    let _: i64 = id.parse().ok()?;
                }
                _ => return None,
            }
        }
        Some(page)
    }
}
