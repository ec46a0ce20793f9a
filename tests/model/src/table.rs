//! Results as text.

use std::fmt::Write as _;

use crate::run::{Outcome, Verdict};

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::NeverStale => "never stale".into(),
        Verdict::FoundStale => "found stale".into(),
        Verdict::Vacuous(missing) => format!("shows little: never came across {}", missing.join(", ")),
        Verdict::NotFinished => "not finished".into(),
    }
}

/// A number with separators.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One result, as it comes.
pub fn line(outcome: &Outcome) -> String {
    let Outcome { name, met, states, seconds, .. } = outcome;
    let sign = if *met { "ok " } else { "NOT" };
    format!("{sign} {name}: {} ({} states, {seconds:.1} s)", verdict(&outcome.verdict), grouped(*states))
}

/// The table, aligned.
pub fn plain(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<44} {:<20} {:<12} {:>12} {:>6} {:>8}\n", "scenario", "expected", "result", "states", "depth", "seconds");
    for outcome in outcomes {
        let Outcome { name, expected, states, depth, seconds, .. } = outcome;
        let _ = writeln!(
            text,
            "{name:<44} {expected:<20} {:<12} {:>12} {depth:>6} {seconds:>8.1}",
            verdict(&outcome.verdict),
            grouped(*states)
        );
    }
    text
}

/// The table in Markdown. A stale read's depth is the number of steps to it.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text =
        String::from("| scenario | what happens | expected | result | states | depth | seconds |\n|---|---|---|---|---:|---:|---:|\n");
    for outcome in outcomes {
        let Outcome { name, about, expected, states, depth, seconds, trace, .. } = outcome;
        let depth = if trace.is_empty() { *depth } else { trace.len() - 1 };
        let _ = writeln!(
            text,
            "| {name} | {about} | {expected} | {} | {} | {depth} | {seconds:.1} |",
            verdict(&outcome.verdict),
            grouped(*states)
        );
    }
    text
}
