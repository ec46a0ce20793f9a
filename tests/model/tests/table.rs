//! The cheapest scenarios, and that the table has what it claims.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use cachesweeper_model::run::{Limits, Verdict, check};
use cachesweeper_model::scenarios::{Expectation, Scenario, Set, all};
use cachesweeper_model::setup::Budget;

fn named(name: &str) -> &'static Scenario {
    all().find(|scenario| scenario.name == name).unwrap_or_else(|| panic!("there is no scenario {name:?}"))
}

const LIMITS: Limits = Limits { time: Duration::from_secs(600), steps: 10_000_000 };

fn shows(name: &str) {
    let outcome = check(named(name), 2, LIMITS);
    assert!(outcome.met, "{name}: {:?}\n{}", outcome.verdict, outcome.trace.join("\n"));
}

#[test]
fn what_is_never_stale_is_not_found_stale() {
    ["quiet", "crash", "abort", "late COMMIT, G-ack", "plain transaction", "policy Abort", "policy Proceed, delivered"]
        .into_iter()
        .for_each(shows);
}

#[test]
fn naive_schemes_are_found_stale() {
    ["naive: bump in after_save", "naive: bump after COMMIT"].into_iter().for_each(shows);
}

#[test]
fn removed_conditions_are_found_stale() {
    let names = [
        "without 2: COMMIT in time",
        "without 3: nodes answer",
        "without 4: a fresh snapshot",
        "without 5: hooks",
        "without 6: dependencies",
        "without 7: the store forgets",
    ];
    names.into_iter().for_each(shows);
}

/// A run that is cut short shows nothing, and does not say that it did.
#[test]
fn a_run_that_is_cut_short_has_not_passed() {
    for limits in [Limits { time: Duration::from_millis(50), ..LIMITS }, Limits { steps: 5_000, ..LIMITS }] {
        let outcome = check(named("two restarts"), 2, limits);
        assert_eq!((outcome.verdict, outcome.met), (Verdict::NotFinished, false));
    }
}

/// A stale read is told step by step, down to the read.
#[test]
fn a_stale_read_is_told() {
    let outcome = check(named("naive: bump in after_save"), 1, LIMITS);
    let text = outcome.trace.join("\n");
    for step in ["writer 0 begins", "append to the log of row 0", "COMMIT takes effect", "get fragment 0", "STALE"] {
        assert!(text.contains(step), "{step:?} is missing in\n{text}");
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<&str> = all().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), all().count());
}

/// Every fault is in the small set, in a scenario that must come across it.
#[test]
fn the_small_set_has_every_fault() {
    let mut sum = [0_u8; 11];
    for scenario in all().filter(|scenario| scenario.set == Set::Small) {
        let Budget { crash, evict, restart, cut, duplicate, pause, abort, leave, renew, restore, unknown } = scenario.setup().budget;
        let faults = [crash, evict, restart, cut, duplicate, pause, abort, leave, renew, restore, unknown];
        sum.iter_mut().zip(faults).for_each(|(sum, fault)| *sum += fault);
        assert!(scenario.expectation == Expectation::Stale || scenario.must_see().len() >= 3);
    }
    assert!(sum.iter().all(|&fault| fault > 0), "{sum:?}");
}
