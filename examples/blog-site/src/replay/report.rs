//! What a replay found, for people and for programs.

use std::fmt;

use serde::Serialize;

/// What a replay found. The order of the fields is the order in JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// `cachesweeper`, or `naive`.
    pub cache: &'static str,
    /// The stories.
    pub stories: usize,
    /// Pages read while writers wrote, and once more after them.
    pub pages: u64,
    /// Of them, those whose outermost fragment, and so all that is cached of it, came from the cache.
    pub hits: u64,
    /// `hits / pages`.
    pub hit_ratio: f64,
    /// Pages that were rendered because the cache had no valid version.
    pub misses: u64,
    /// Pages that were rendered without the cache, because a write was about to commit, or the store did not serve.
    pub bypasses: u64,
    /// Votes and comments that were acknowledged.
    pub writes: u64,
    /// Transactions they were written in.
    pub transactions: u64,
    /// Pages that showed less than had been acknowledged before they were asked for, those of the measurement at the end
    /// included.
    pub stale: u64,
    /// Pages that did not show what they must.
    pub unreadable: u64,
    /// Database queries that these pages took.
    pub queries: u64,
    /// Database queries that the same pages take without a cache: each kind's mean, measured at the end, times its pages.
    pub queries_without_cache: u64,
    /// Pages per second through the cache, divided by those without it; both on the final data, by as many readers, after the
    /// writers have ended.
    pub speedup: f64,
    /// How long writers and readers were at work together.
    pub seconds: f64,
    /// Pages per second in that time.
    pub pages_per_second: f64,
    /// Votes and comments per second in that time.
    pub writes_per_second: f64,
    /// Half of the pages took no longer than this.
    pub p50_micros: u64,
    /// 99 of 100 pages took no longer than this.
    pub p99_micros: u64,
    /// Pages per second through the cache, without writers.
    pub quiet_pages_per_second: f64,
    /// Pages per second without the cache, without writers.
    pub uncached_pages_per_second: f64,
    /// Whether all of the schedule was written; if not, the time was over.
    pub complete: bool,
    /// Readers.
    pub readers: u32,
    /// Writers.
    pub writers: u32,
    /// The seed.
    pub seed: u64,
}

impl Report {
    /// Whether no page was found wanting.
    pub fn is_clean(&self) -> bool {
        self.stale == 0 && self.unreadable == 0
    }

    /// One line of JSON.
    ///
    /// # Errors
    ///
    /// None that is known: all fields are plain.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Cuts what nobody needs of a measured number.
pub(super) fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    if number.is_finite() { (number * unit).round() / unit } else { 0.0 }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64| format!("{:.1} %", 100.0 * part as f64 / self.pages.max(1) as f64);
        let millis = |micros: u64| format!("{:.2} ms", micros as f64 / 1000.0);
        let share = |part: u64| format!("{}  ({})", grouped(part), percent(part));
        let rows = [
            ("cache", self.cache.to_owned()),
            ("stories", grouped(self.stories as u64)),
            ("written", format!("{} votes and comments in {} transactions", grouped(self.writes), grouped(self.transactions))),
            ("time", format!("{:.1} s{}", self.seconds, if self.complete { "" } else { "; then the time was over" })),
            ("pages read", format!("{} by {} readers, beside {} writers", grouped(self.pages), self.readers, self.writers)),
            ("  hits", share(self.hits)),
            ("  misses", share(self.misses)),
            ("  bypasses", share(self.bypasses)),
            ("  latency", format!("p50 {}, p99 {}", millis(self.p50_micros), millis(self.p99_micros))),
            ("queries", format!("{}; {} without the cache", grouped(self.queries), grouped(self.queries_without_cache))),
            (
                "pages per second",
                format!("{:.0} beside the writers, at {:.0} writes per second", self.pages_per_second, self.writes_per_second),
            ),
            ("  when it is quiet", format!("{:.0}; {:.0} without the cache", self.quiet_pages_per_second, self.uncached_pages_per_second)),
            ("speedup", format!("{:.1} times", self.speedup)),
            ("unreadable pages", grouped(self.unreadable)),
            ("STALE PAGES", grouped(self.stale)),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<20}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_for_people() {
        let report = Report { pages: 1_234_567, hits: 1_000_000, stale: 1, ..Report::default() };
        let table = report.to_string();
        assert!(table.contains("1,000,000  (81.0 %)"), "{table}");
        assert!(table.ends_with("STALE PAGES         1\n"), "{table}");
        assert!(!report.is_clean());
    }

    #[test]
    fn the_json_is_one_line_with_the_promised_names() {
        let json = Report { speedup: rounded(f64::NAN, 1), ..Report::default() }.json().expect("it is plain");
        assert!(!json.contains('\n'));
        for name in ["pages", "hits", "hit_ratio", "writes", "stale", "queries", "queries_without_cache", "speedup"] {
            assert!(json.contains(&format!("\"{name}\":")), "{name} is missing in {json}");
        }
    }
}
