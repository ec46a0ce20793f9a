//! The auditor. It knows histories and what the database has committed, and nothing of the library.
//!
//! The versions of a row rise by one, and each is written by one transaction. So a page is stale if it shows a version below one
//! that was acknowledged (G-ack), or that the database itself was seen to have (G-commit), before the page was asked for. A
//! comment that a page does not show is judged too: some version that it may have had since must be elsewhere.

mod ledger;
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use self::ledger::{Ground, Ledger, Object, State};
use self::page::Page;
use crate::history::{Event, Form, History, Kind, Read, Record, Version};

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
    /// Of these, saves outside of transactions.
    pub(crate) alone: u64,
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
    /// Why not, and how many of them.
    pub(crate) excuses: BTreeMap<&'static str, u64>,
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

/// A row that a page shows as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Old {
    object: Object,
    shown: Option<i64>,
    least: i64,
}

struct Audit {
    terms: Terms,
    ledger: Ledger,
    found: Findings,
}

/// Judges a phase.
pub(crate) fn audit(terms: Terms, histories: &[History], events: &[Event], rows: &[(Version, Option<i64>)]) -> Findings {
    let mut audit = Audit { terms, ledger: Ledger::new(terms, histories), found: Findings::default() };
    audit.ledger.count(events, &mut audit.found);
    audit.ledger.line_up(events, rows, &mut audit.found);
    for record in histories.iter().flat_map(|history| &history.records) {
        match record {
            Record::Read(read) => audit.judge(read),
            Record::Stats { stats } => {
                for (name, count) in stats {
                    *audit.found.stats.entry(name.clone()).or_default() += count;
                }
            }
            Record::Begin { .. } | Record::Body { .. } | Record::End { .. } => {}
        }
    }
    audit.found.longest_bypass = longest_bypass(histories, terms.faults.0);
    audit.found
}

impl Audit {
    fn judge(&mut self, read: &Read) {
        if let Some(error) = &read.error {
            *self.found.read_errors.entry(error.clone()).or_default() += 1;
            return;
        }
        self.count(read);
        let Some(page) = Page::parse(&read.page) else {
            self.found.broken.push(format!("a page cannot be read: {:?}", read.page));
            return;
        };
        self.look_for_phantoms(&page);
        let witness: HashMap<Object, i64> = read.witness.iter().flatten().map(|(kind, id, version)| ((*kind, *id), *version)).collect();
        for ground in [Ground::Ack, Ground::Commit, Ground::Unclaimed] {
            let bound = |object: Object| self.ledger.bound(object, ground, read.begin, witness.get(&object).copied().unwrap_or_default());
            if let Some(old) = self.oldest(read, &page, bound) {
                return self.report(read, ground, &old);
            }
        }
    }

    fn count(&mut self, read: &Read) {
        let found = &mut self.found;
        found.reads += 1;
        found.witnessed += u64::from(read.witness.is_some());
        found.hits_at.push((read.begin, read.outcome == "hit"));
        let (from, until) = self.terms.faults;
        if (from..until).contains(&read.begin) {
            match read.outcome.as_str() {
                "hit" => found.hits += 1,
                "miss" => found.misses += 1,
                _ => found.bypasses += 1,
            }
            *found.why.entry(read.why.clone()).or_default() += 1;
            if read.form != Form::Comment {
                found.latencies.push(read.end.saturating_sub(read.begin));
            }
        }
    }

    /// What was never committed cannot be shown.
    fn look_for_phantoms(&mut self, page: &Page) {
        let articles = page.articles.iter().map(|(id, version)| ((Kind::Article, *id), *version));
        let comments = page.comments.iter().map(|(id, (version, _))| ((Kind::Comment, *id), *version));
        for (object, version) in articles.chain(comments) {
            if self.ledger.line(object).is_none_or(|line| version > line.states.len() as i64) {
                self.found.broken.push(format!("{object:?} was shown as {version}, which was never committed"));
            }
        }
    }

    fn report(&mut self, read: &Read, ground: Ground, old: &Old) {
        let Old { object: (kind, id), shown, least } = old;
        let shown = shown.map_or("not there".to_owned(), |version| version.to_string());
        let excuse = self.ledger.excuse(old.object, *least);
        let found = &mut self.found;
        let (examples, by) = match ground {
            Ground::Ack => {
                found.stale_ack += 1;
                (&mut found.examples, "acknowledged")
            }
            Ground::Commit => {
                found.stale_commit += 1;
                (&mut found.examples, "committed")
            }
            Ground::Unclaimed => {
                found.stale_unclaimed += 1;
                *found.excuses.entry(excuse).or_default() += 1;
                (&mut found.unclaimed_examples, excuse)
            }
        };
        if examples.len() < 8 {
            let at = (read.begin as f64 - self.terms.faults.0 as f64) / 1e9;
            let why = format!("{kind:?} {id} was shown as {shown}, and {least} was known ({by}; {}, {:?})", read.why, read.form);
            examples.push(Stale { at, why, page: read.page.clone() });
        }
    }

    /// What a page shows that is older than it may be.
    fn oldest(&self, read: &Read, page: &Page, bound: impl Fn(Object) -> i64) -> Option<Old> {
        let judge = |object: Object, shown: i64| {
            let least = bound(object);
            (shown < least).then_some(Old { object, shown: Some(shown), least })
        };
        if let Some(old) = page.articles.iter().find_map(|(id, version)| judge((Kind::Article, *id), *version)) {
            return Some(old);
        }
        let one = [read.id];
        let judged = if read.form == Form::Comment { &one[..] } else { self.ledger.comments_of(read.group) };
        judged.iter().find_map(|id| match page.comments.get(id) {
            Some((version, reply)) => {
                judge((Kind::Comment, *id), *version).or_else(|| reply.and_then(|version| judge((Kind::Reply, *id), version)))
            }
            None => self.missing(read, *id, bound((Kind::Comment, *id))),
        })
    }

    /// A comment that is not shown must be elsewhere, or deleted, in some version that it may have had since.
    fn missing(&self, read: &Read, id: i64, least: i64) -> Option<Old> {
        let object = (Kind::Comment, id);
        let since = usize::try_from(least - 1).ok()?;
        let is_hidden = |state: &State| match read.form {
            Form::Comment | Form::Topic => state.article.is_none(),
            Form::Key | Form::Row => state.article != Some(read.id),
        };
        let states = &self.ledger.line(object)?.states[since..];
        let excused = states.iter().any(|state| is_hidden(state) && state.begin <= read.end);
        (!excused).then_some(Old { object, shown: None, least })
    }
}

/// The longest time, in seconds, from a read of an article, or a comment, that bypassed to the next one that did not.
fn longest_bypass(histories: &[History], from: u64) -> f64 {
    let mut reads: HashMap<(Form, i64), Vec<(u64, bool)>> = HashMap::new();
    for record in histories.iter().flat_map(|history| &history.records) {
        if let Record::Read(read) = record
            && read.error.is_none()
            && read.begin >= from
        {
            let form = if read.form == Form::Row { Form::Key } else { read.form };
            reads.entry((form, read.id)).or_default().push((read.begin, read.outcome == "bypass"));
        }
    }
    let mut longest = 0;
    for series in reads.values_mut() {
        series.sort_unstable();
        let mut since = None;
        for (at, bypassed) in series.iter() {
            longest = longest.max(since.map_or(0, |since| at - since));
            since = if *bypassed { since.or(Some(*at)) } else { None };
        }
    }
    longest as f64 / 1e9
}
