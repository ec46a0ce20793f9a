//! What came out: a table, and JSON.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::audit::Findings;
use crate::phases::{Expected, Fault, Phase};
use crate::run::{Faults, is_of_database};
use crate::spec::Naive;
use crate::worker::Failed;

/// The fault-free phase, which others are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    median: u64,
    hit_ratio: f64,
}

/// What a phase is played with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) orms: &'a str,
    pub(crate) database: &'a str,
    pub(crate) naive: Option<Naive>,
    /// Whether the hit ratio must be back in time.
    pub(crate) timed: bool,
}

/// One phase's result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) phase: String,
    what: String,
    orms: String,
    database: String,
    naive: Option<Naive>,
    expected: &'static str,
    commit_promised: bool,
    faults: u64,
    writes: u64,
    /// Of these, saves outside of transactions.
    alone: u64,
    unfinished: u64,
    conflicts: u64,
    refused: u64,
    unmarked: u64,
    late: u64,
    reads: u64,
    witnessed: u64,
    hits: u64,
    misses: u64,
    bypasses: u64,
    why: std::collections::BTreeMap<String, u64>,
    hit_ratio: f64,
    hit_ratio_before: f64,
    stale_ack: u64,
    stale_commit: u64,
    stale_unclaimed: u64,
    excuses: std::collections::BTreeMap<&'static str, u64>,
    failed_pages: u64,
    failed_saves: u64,
    median_ms: f64,
    p99_ms: f64,
    /// Of pages, slower than twice the fault-free median.
    slow_share: Option<f64>,
    recovery_seconds: Option<f64>,
    longest_bypass_seconds: f64,
    stats: std::collections::BTreeMap<String, u64>,
    problems: Vec<String>,
    examples: Vec<String>,
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn quantile(sorted: &[u64], share: f64) -> u64 {
    sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl Outcome {
    pub(crate) fn new(phase: &Phase, stage: &Setting<'_>, mut found: Findings, faults: Faults, baseline: Option<Baseline>) -> Self {
        let Setting { orms, database, naive, timed } = *stage;
        let (faults, (from, until)) = faults;
        found.latencies.sort_unstable();
        found.hits_at.sort_unstable();
        let median = quantile(&found.latencies, 0.5);
        let slow_than = 2 * baseline.map_or(median, |baseline| baseline.median);
        let slow = found.latencies.iter().filter(|latency| **latency > slow_than).count() as u64;
        let before = window(&found.hits_at, from.saturating_sub(1_000_000_000), from);
        let recovery = baseline.and_then(|baseline| recovery(&found.hits_at, until, 0.8 * baseline.hit_ratio));
        let mut outcome = Self {
            phase: phase.name.to_owned(),
            what: phase.what.to_owned(),
            orms: orms.to_owned(),
            database: database.to_owned(),
            naive,
            expected: if phase.expected == Expected::Stale { "stale" } else { "clean" },
            commit_promised: phase.commit_promised,
            faults,
            writes: found.writes,
            alone: found.alone,
            unfinished: found.unfinished,
            conflicts: found.conflicts,
            refused: found.refused,
            unmarked: found.unmarked,
            late: found.late,
            reads: found.reads,
            witnessed: found.witnessed,
            hits: found.hits,
            misses: found.misses,
            bypasses: found.bypasses,
            hit_ratio: ratio(found.hits, found.hits + found.misses + found.bypasses),
            hit_ratio_before: before.unwrap_or_default(),
            stale_ack: found.stale_ack,
            stale_commit: found.stale_commit,
            stale_unclaimed: found.stale_unclaimed,
            excuses: found.excuses.clone(),
            failed_pages: found.read_errors.values().sum(),
            failed_saves: found.write_errors.values().sum(),
            median_ms: median as f64 / 1e6,
            p99_ms: quantile(&found.latencies, 0.99) as f64 / 1e6,
            slow_share: baseline.is_some().then(|| ratio(slow, found.latencies.len() as u64)),
            recovery_seconds: recovery,
            longest_bypass_seconds: found.longest_bypass,
            why: found.why.clone(),
            stats: found.stats.clone(),
            problems: Vec::new(),
            examples: Vec::new(),
        };
        if phase.is_baseline() {
            outcome.slow_share = Some(ratio(slow, found.latencies.len() as u64));
        }
        outcome.problems = outcome.judge(phase, &found, timed && baseline.is_some());
        let examples = if phase.expected == Expected::Stale { &found.examples[..found.examples.len().min(2)] } else { &found.examples[..] };
        let unclaimed = found.unclaimed_examples.iter().take(2);
        outcome.examples =
            examples.iter().chain(unclaimed).map(|stale| format!("{:.3} s: {}; page {:?}", stale.at, stale.why, stale.page)).collect();
        outcome
    }

    pub(crate) fn baseline(&self) -> Baseline {
        Baseline { median: (self.median_ms * 1e6) as u64, hit_ratio: self.hit_ratio }
    }

    fn judge(&self, phase: &Phase, found: &Findings, compared: bool) -> Vec<String> {
        let mut problems: Vec<String> = found.broken.iter().take(8).cloned().collect();
        let mut say = |wrong: bool, text: String| {
            if wrong {
                problems.push(text);
            }
        };
        say(self.hits == 0, "there was not one hit, so nothing was shown".into());
        say(self.witnessed == 0 || self.writes == 0, "nothing was written, or no witness was asked".into());
        let no_fault = phase.fault == Fault::None && phase.points.is_empty();
        say(!no_fault && self.faults == 0, "no fault came about".into());
        if phase.expected == Expected::Stale {
            let stale = self.stale_ack + self.stale_commit;
            // Of the two phases of a naive scheme, the report asks for one.
            say(stale == 0 && self.naive.is_none(), "nothing stale was found, though a condition was broken".into());
            return problems;
        }
        let counted = |name: &str| self.stats.get(name).copied().unwrap_or_default();
        say(counted("near_hits") == 0 || counted("compressed") == 0, "no near cache was hit, or nothing was compressed".into());
        say(self.alone == 0, "nothing was saved outside of transactions".into());
        say(self.stale_ack > 0, format!("{} stale pages after the acknowledgement", self.stale_ack));
        say(self.stale_commit > 0 && phase.commit_promised, format!("{} stale pages after COMMIT", self.stale_commit));
        let error = |errors: &std::collections::BTreeMap<String, u64>| errors.keys().next().cloned().unwrap_or_default();
        say(self.failed_pages > 0, format!("{} pages failed: {}", self.failed_pages, error(&found.read_errors)));
        let database = is_of_database(phase.fault);
        say(self.failed_saves > 0 && !database, format!("{} saves failed: {}", self.failed_saves, error(&found.write_errors)));
        say(self.failed_saves == 0 && database, "no COMMIT was cut".into());
        say(self.refused > 0 && !phase.abort, format!("{} saves were refused under the policy Proceed", self.refused));
        say(self.refused == 0 && phase.abort, "no save was refused".into());
        say(compared && self.recovery_seconds.is_none(), "the hit ratio did not come back".into());
        problems
    }

    fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

fn window(hits_at: &[(u64, bool)], from: u64, until: u64) -> Option<f64> {
    let begin = hits_at.partition_point(|(at, _)| *at < from);
    let end = hits_at.partition_point(|(at, _)| *at < until);
    let reads = hits_at.get(begin..end)?;
    (reads.len() >= 8).then(|| ratio(reads.iter().filter(|(_, hit)| *hit).count() as u64, reads.len() as u64))
}

/// Seconds from `until` on until three tenths of a second have this hit ratio again.
fn recovery(hits_at: &[(u64, bool)], until: u64, wanted: f64) -> Option<f64> {
    let tenth = 100_000_000;
    (0..37)
        .find(|step| window(hits_at, until + step * tenth, until + (step + 3) * tenth).is_some_and(|ratio| ratio >= wanted))
        .map(|step| step as f64 / 10.0)
}

/// All phases' results.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    memcached: String,
    outcomes: Vec<Outcome>,
}

const HEAD: &str = "| phase | ORMs | database | faults | writes | reads | hit ratio | bypasses | stale: G-ack | stale: G-commit | not promised | unmarked | refused | \
                    failed pages, saves | slow | recovery, s | longest bypass, s |";

impl Report {
    pub(crate) fn new(memcached: &Path) -> Result<Self, Failed> {
        let version = Command::new(memcached).arg("-V").output()?;
        Ok(Self { memcached: String::from_utf8_lossy(&version.stdout).trim().to_owned(), outcomes: Vec::new() })
    }

    /// Adds a result, and tells it at once.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        if self.outcomes.is_empty() {
            println!("{}\n\n{HEAD}\n|{}", self.memcached, "---|".repeat(17));
        }
        println!("{}", outcome.line());
        for problem in &outcome.problems {
            eprintln!("  wrong: {problem}");
        }
        for example in &outcome.examples {
            eprintln!("  {example}");
        }
        self.outcomes.push(outcome);
    }

    pub(crate) fn print(&self) {
        let wrong = self.outcomes.iter().filter(|outcome| !outcome.is_good()).count();
        let (phases, stale): (usize, u64) =
            (self.outcomes.len(), self.outcomes.iter().map(|outcome| outcome.stale_ack + outcome.stale_commit).sum());
        println!("\n{phases} phases, {wrong} not as expected; {stale} stale pages");
        if self.naive_passed() {
            println!("wrong: the naive scheme passed the audit, but must not");
        }
    }

    fn naive_passed(&self) -> bool {
        let mut naive = self.outcomes.iter().filter(|outcome| outcome.naive.is_some()).peekable();
        naive.peek().is_some() && naive.all(|outcome| outcome.stale_ack + outcome.stale_commit == 0)
    }

    pub(crate) fn is_good(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_good) && !self.naive_passed()
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<(), Failed> {
        Ok(std::fs::write(file, serde_json::to_string_pretty(self)?)?)
    }
}

impl Outcome {
    fn line(&self) -> String {
        let name = match self.naive {
            Some(scheme) => format!("{} ({scheme:?})", self.phase),
            None => self.phase.clone(),
        };
        let commit = if self.commit_promised { self.stale_commit.to_string() } else { format!("({})", self.stale_commit) };
        let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {commit} | {} | {} | {} | {}, {} | {} | {} | {:.1} |",
            self.orms,
            self.database,
            self.faults,
            self.writes,
            self.reads,
            share(Some(self.hit_ratio)),
            self.bypasses,
            self.stale_ack,
            self.stale_unclaimed,
            self.unmarked,
            self.refused,
            self.failed_pages,
            self.failed_saves,
            share(self.slow_share),
            seconds(self.recovery_seconds),
            self.longest_bypass_seconds,
        )
    }
}
