//! What many seeds of a profile come to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::profile::Profile;
use crate::run::Report;

/// The seeds of one profile, added up.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The profile.
    pub profile: &'static str,
    /// Whether stale reads must be found.
    pub broken: bool,
    /// How many.
    pub seeds: u64,
    /// Simulated time, in seconds.
    pub simulated: u64,
    /// Fragments and pages that were shown.
    pub reads: u64,
    /// Fragments, those inside others included, by how they were served.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Writes that were begun.
    pub writes: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of these, claimed from their commit on.
    pub claimed: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Stale reads.
    pub stale: u64,
    /// Seeds with a stale read.
    pub stale_seeds: Vec<u64>,
    /// Seeds with another problem.
    pub problem_seeds: Vec<u64>,
    /// Examples, in words.
    pub examples: Vec<String>,
    /// The longest time until hits were back, in milliseconds.
    pub recovery: u64,
    milliseconds: u64,
}

impl Summary {
    /// Nothing yet.
    pub fn new(profile: &Profile) -> Self {
        Self { profile: profile.name, broken: profile.broken, ..Self::default() }
    }

    /// Adds one seed.
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.milliseconds += report.simulated;
        self.simulated = self.milliseconds / 1000;
        self.reads += report.reads;
        self.writes += report.writes;
        self.acknowledged += report.acknowledged;
        self.claimed += report.claimed;
        self.recovery = self.recovery.max(report.recovery);
        for (kind, count) in report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (word, count) in report.outcomes {
            *self.outcomes.entry(word).or_default() += count;
        }
        self.stale += report.stale.len() as u64;
        if !report.stale.is_empty() {
            self.stale_seeds.push(report.seed);
        }
        // In a broken profile nothing else is promised either.
        if !report.problems.is_empty() && !self.broken {
            self.problem_seeds.push(report.seed);
        }
        let found = report.stale.iter().take(2).chain(report.problems.iter().filter(|_| !self.broken).take(2));
        let room = 10_usize.saturating_sub(self.examples.len());
        self.examples.extend(found.take(room).map(|what| format!("seed {}: {what}", report.seed)));
    }

    /// Nothing stale, and no problem; or something stale, in a broken profile.
    pub fn is_as_expected(&self) -> bool {
        if self.broken { self.stale > 0 } else { self.stale == 0 && self.problem_seeds.is_empty() }
    }

    fn count(&self, words: &[&str]) -> u64 {
        words.iter().filter_map(|word| self.outcomes.get(word)).sum()
    }

    /// What was found, and how to see it again.
    pub fn findings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.broken && self.stale == 0 {
            lines.push(format!("{}: nothing stale in {} seeds, so this profile shows nothing", self.profile, self.seeds));
        }
        lines.extend(self.examples.iter().take(if self.broken { 1 } else { 10 }).map(|example| format!("{}, {example}", self.profile)));
        let mut seeds: Vec<u64> = self.stale_seeds.iter().chain(&self.problem_seeds).copied().collect();
        seeds.sort_unstable();
        seeds.dedup();
        lines.extend(seeds.iter().take(if self.broken { 1 } else { 5 }).map(|seed| {
            format!("  again: cargo run --release -p cachesweeper-simulation -- --profile {} --seed {seed} --trace", self.profile)
        }));
        lines
    }
}

/// The summaries as a table, in Markdown.
pub fn table(summaries: &[Summary]) -> String {
    let head = [
        "profile",
        "seeds",
        "simulated",
        "reads",
        "fragments",
        "hits",
        "hit ratio",
        "bypasses",
        "writes",
        "acknowledged",
        "from COMMIT on",
        "kills",
        "other faults",
        "recovery",
        "stale",
        "expected",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for summary in summaries {
        let hits = summary.count(&["hit", "shared", "served stale"]);
        let fragments: u64 = summary.outcomes.values().sum();
        let kills = summary.faults.get("kill").copied().unwrap_or(0);
        let faults: u64 = summary.faults.values().sum::<u64>() - kills;
        let recovery = if summary.broken { "".into() } else { format!("{:.1} s", summary.recovery as f64 / 1000.0) };
        rows.push(vec![
            summary.profile.to_owned(),
            summary.seeds.to_string(),
            format!("{} s", summary.simulated),
            summary.reads.to_string(),
            fragments.to_string(),
            hits.to_string(),
            format!("{:.1} %", 100.0 * hits as f64 / fragments.max(1) as f64),
            summary.count(&["bypass"]).to_string(),
            summary.writes.to_string(),
            summary.acknowledged.to_string(),
            summary.claimed.to_string(),
            kills.to_string(),
            faults.to_string(),
            recovery,
            summary.stale.to_string(),
            format!("{}{}", if summary.broken { "stale" } else { "none" }, if summary.is_as_expected() { "" } else { ": NOT AS EXPECTED" }),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = write!(text, "|{}{}", "-".repeat(width + 1), if column == 0 { "-" } else { ":" });
            }
            text.push_str("|\n");
        }
    }
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for summary in summaries {
        kinds.insert(summary.profile, summary.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect());
    }
    text.push_str("\nFaults by kind:\n");
    for summary in summaries {
        let _ = writeln!(text, "  {}: {}", summary.profile, kinds[summary.profile].join(", "));
    }
    text
}
