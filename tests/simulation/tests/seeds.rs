//! A few seeds of each profile, and that a seed is the same twice.

use cachesweeper_simulation::summary::Summary;
use cachesweeper_simulation::{PROFILES, Profile, run, sweep};

fn profile(name: &str) -> &'static Profile {
    Profile::named(name).expect("it is in the list")
}

#[test]
fn a_seed_is_the_same_twice() {
    for profile in PROFILES {
        for seed in if profile.name == "faults" { 1..4 } else { 1..2 } {
            let (first, trace) = run(profile, seed, true);
            // On another thread, after other runs: nothing of the process may matter.
            let (second, again) = std::thread::spawn(move || run(profile, seed, true)).join().expect("a run does not panic");
            let differs = trace.iter().zip(&again).position(|(one, other)| one != other);
            assert_eq!(differs, None, "{} {seed}: line {differs:?}", profile.name);
            assert_eq!((first.trace_hash, trace.len()), (second.trace_hash, again.len()));
            assert!(first.trace_hash != 0 && trace.len() > 1_000);
        }
    }
}

#[test]
fn a_trace_changes_nothing() {
    let (traced, _) = run(profile("faults"), 5, true);
    let (plain, _) = run(profile("faults"), 5, false);
    assert_eq!((traced.reads, traced.writes, traced.outcomes), (plain.reads, plain.writes, plain.outcomes));
}

#[test]
fn sound_profiles_show_nothing_stale_and_broken_ones_do() {
    for profile in PROFILES {
        let mut summary = Summary::new(profile);
        sweep(profile, 1..if profile.broken { 1_000 } else { 5 }, 2, |report| summary.add(report));
        assert!(summary.is_as_expected(), "{}: {:?}", profile.name, summary.findings());
        assert!(summary.outcomes["hit"] > 100, "{}: {:?}", profile.name, summary.outcomes);
    }
}
