//! Runs a scenario and says what came of it.

use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::{Checker, Model, Path};

use crate::model::Checked;
use crate::scenarios::{Expectation, Scenario};
use crate::setup::Claim;
use crate::state::{Action, State};

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every state was looked at, none was stale, and everything was come across that has to be.
    NeverStale,
    /// A stale read was found.
    FoundStale,
    /// Every state was looked at, but something was not come across: the check shows little.
    Vacuous(Vec<String>),
    /// The time was over before every state was looked at.
    NotFinished,
}

/// A scenario's result.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What was expected.
    pub expected: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether that was expected.
    pub met: bool,
    /// Distinct states.
    pub states: usize,
    /// The longest shortest way to a state, in steps.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// The way to the stale read.
    pub trace: Vec<String>,
}

/// Where a run ends, finished or not.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its time.
    pub time: Duration,
    /// Its steps from state to state, which is what its memory goes by.
    pub steps: usize,
}

/// Checks every interleaving of a scenario, breadth first.
pub fn check(scenario: &Scenario, threads: usize, limits: Limits) -> Outcome {
    let model = Checked::new(scenario.setup());
    let seen = model.seen.clone();
    let begun = Instant::now();
    let checker = model.checker().threads(threads).timeout(limits.time).target_state_count(limits.steps).spawn_bfs().join();
    let elapsed = begun.elapsed();
    let found = checker.discovery("never stale");
    let missing: Vec<String> =
        scenario.must_see().into_iter().filter(|&sight| !seen.has(sight)).map(|sight| sight.text().to_owned()).collect();
    let verdict = match found {
        Some(_) => Verdict::FoundStale,
        None if elapsed >= limits.time || checker.state_count() >= limits.steps => Verdict::NotFinished,
        None if missing.is_empty() => Verdict::NeverStale,
        None => Verdict::Vacuous(missing),
    };
    let trace = found.map(|path| tell(checker.model(), path)).unwrap_or_default();
    Outcome {
        name: scenario.name,
        about: scenario.about,
        expected: scenario.expectation.text(),
        met: matches!(
            (&verdict, scenario.expectation),
            (Verdict::NeverStale, Expectation::NeverStale) | (Verdict::FoundStale, Expectation::Stale)
        ),
        verdict,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: elapsed.as_secs_f64(),
        trace,
    }
}

fn tell(model: &Checked, path: Path<State, Action>) -> Vec<String> {
    let steps = path.into_vec();
    let mut told: Vec<String> = Vec::new();
    for pair in steps.windows(2) {
        if let [(before, Some(action)), (after, _)] = pair {
            told.push(model.tell(before, *action, after));
        }
    }
    if let Some(claim) = steps.last().and_then(|(state, _)| state.violation) {
        told.push(format!(
            "STALE: what was served is older than what had been {}",
            match claim {
                Claim::Ack => "acknowledged when the read began",
                Claim::Commit => "committed when the read began",
                Claim::Bound => "acknowledged before the bound of serve_stale",
            }
        ));
    }
    told
}
