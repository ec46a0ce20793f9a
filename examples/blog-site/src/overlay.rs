//! The overlay: an outline around every fragment of a page, with what became of it and what it cost.
//!
//! It must not change what is cached. So every fragment puts two HTML comments around those inside of it, always; the overlay
//! turns them into outlines in the page as it was served, after the cache. A fragment inside of a hit is not looked up for a
//! page; with the overlay on the site looks it up all the same, to see whether it is still there.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cachesweeper_core::{Outcome, RecordKey, Rendered};

/// What became of one fragment.
#[derive(Clone, Debug)]
pub struct Seen {
    name: String,
    outcome: Outcome,
    cost: Duration,
}

/// What became of the fragments of one page, by their records.
#[derive(Debug, Default)]
pub struct Trace {
    seen: Mutex<HashMap<String, Seen>>,
}

impl Trace {
    /// Remembers one fragment.
    pub fn one(&self, record: &RecordKey, name: &str, rendered: &Rendered) {
        self.add(record, name, rendered.outcome(), rendered.took());
    }

    /// Remembers fragments that were looked up together. `rendering` is how long the closure ran.
    ///
    /// Their costs add up to what all took: each has its share of the lookup, and those that were rendered share the closure's
    /// time and the storing.
    pub fn many(&self, records: &[RecordKey], name: &str, rendered: &[Rendered], rendering: Duration) {
        let share = |time: Duration, of: usize| time / u32::try_from(of.max(1)).unwrap_or(u32::MAX);
        let took = rendered.iter().map(Rendered::took).max().unwrap_or_default();
        let fresh = rendered.iter().filter(|one| one.outcome().word() != "hit").count();
        let lookup = share(took.saturating_sub(rendering), rendered.len());
        let render = share(rendering, fresh);
        for (record, one) in records.iter().zip(rendered) {
            let cost = if one.outcome().word() == "hit" { lookup } else { lookup + render };
            self.add(record, name, one.outcome(), cost);
        }
    }

    fn add(&self, record: &RecordKey, name: &str, outcome: Outcome, cost: Duration) {
        let seen = Seen { name: name.to_owned(), outcome, cost };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(record.to_string(), seen);
    }

    fn all(&self) -> HashMap<String, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line for the whole page.
    pub fn summary(&self, took: Duration, queries: u64) -> String {
        let all = self.all();
        let count = |word| all.values().filter(|seen| seen.outcome.word() == word).count();
        let mut summary = format!("{} {}", all.len(), if all.len() == 1 { "fragment" } else { "fragments" });
        for (word, count) in ["hit", "miss", "bypass"].map(|word| (word, count(word))) {
            if count > 0 {
                let _ = write!(summary, ", {count} {word}");
            }
        }
        let plural = if queries == 1 { "query" } else { "queries" };
        let _ = write!(summary, "; {queries} {plural}, {} µs", took.as_micros());
        summary
    }

    /// Outlines the page's fragments. `html` is what the cache served, inside of [`delimited`]'s comments.
    pub fn outline(&self, html: &str) -> String {
        let all = self.all();
        let mut outlined = String::with_capacity(html.len() * 2);
        let mut rest = html;
        while let Some(at) = rest.find(OPEN) {
            outlined.push_str(&rest[..at]);
            rest = &rest[at + OPEN.len()..];
            let Some((record, after)) = rest.split_once(CLOSE) else { break };
            rest = after;
            match record.strip_prefix('/') {
                None => all.get(record).map_or((), |seen| seen.open(record, &mut outlined)),
                Some(record) if all.contains_key(record) => outlined.push_str("</div>"),
                Some(_) => {}
            }
        }
        outlined.push_str(rest);
        outlined
    }
}

impl Seen {
    fn open(&self, record: &str, out: &mut String) {
        let (word, micros) = (self.outcome.word(), self.cost.as_micros());
        let note = note(self.outcome);
        let _ = write!(
            out,
            "<div class=\"sweep {word}\" data-sweep=\"{word}\" data-record=\"{record}\" data-micros=\"{micros}\"><p class=\"tag\">\
             <span class=\"word\">{word}</span><span>{} of {record}</span>",
            self.name
        );
        if let Some(note) = note {
            let _ = write!(out, "<span>{note}</span>");
        }
        let _ = write!(out, "<span class=\"cost\">{micros} µs</span></p>");
    }
}

/// What the word alone does not tell. The texts are the library's own and hold no HTML.
fn note(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Shared => Some("rendered by another request at this moment".to_owned()),
        Outcome::Stale => Some("an older version, as allowed".to_owned()),
        Outcome::Unstored => Some("the store did not take it".to_owned()),
        Outcome::Unstorable => Some("not stored: something inside was a bypass".to_owned()),
        Outcome::TooLarge => Some("not stored: too large".to_owned()),
        Outcome::Bypass(reason) => Some(reason.to_string()),
        _ => None,
    }
}

const OPEN: &str = "<!--[";
const CLOSE: &str = "]-->";

/// A fragment's HTML between the comments by which the overlay finds it again. User text cannot hold them: it is escaped.
pub fn delimited(record: &RecordKey, html: &str) -> String {
    format!("{OPEN}{record}{CLOSE}{html}{OPEN}/{record}{CLOSE}")
}

/// The address of a page with the overlay on.
pub fn shown_at(path: &str) -> String {
    format!("{path}{}sweep=show", if path.contains('?') { '&' } else { '?' })
}

#[cfg(test)]
mod tests {
    use cachesweeper_core::Reason;

    use super::*;

    #[test]
    fn outlines_are_put_around_what_was_served() {
        let trace = Trace::default();
        let (outer, inner, other) = (RecordKey::new("a", 1), RecordKey::new("c", 2), RecordKey::new("c", 3));
        trace.add(&outer, "a.html", Outcome::Miss, Duration::from_micros(70));
        trace.add(&inner, "c.html", Outcome::Bypass(Reason::Held), Duration::from_micros(5));
        let html = delimited(&outer, &format!("x{}{}y", delimited(&inner, "<p>in</p>"), delimited(&other, "z")));
        let outlined = trace.outline(&html);
        assert!(!outlined.contains("<!--"), "{outlined}");
        assert_eq!(outlined.matches("<div").count(), outlined.matches("</div>").count());
        assert!(outlined.contains(r#"data-sweep="miss" data-record="a:1" data-micros="70""#), "{outlined}");
        assert!(outlined.contains(r#"data-sweep="bypass" data-record="c:2""#), "{outlined}");
        assert!(outlined.ends_with("<p>in</p></div>zy</div>"), "{outlined}");
        assert_eq!(trace.summary(Duration::from_micros(90), 1), "2 fragments, 1 miss, 1 bypass; 1 query, 90 µs");
    }

    #[test]
    fn the_switch_keeps_the_page() {
        assert_eq!(shown_at("/?page=2"), "/?page=2&sweep=show");
        assert_eq!(shown_at("/articles/1"), "/articles/1?sweep=show");
    }
}
