//! One seed: builds the world, lets the storm pass, checks that everything recovers, and has the history audited.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_core::face::Face;
use cachesweeper_core::{Leftovers, Outcome, Reason};
use fastrand::Rng;
use serde::Serialize;
use tokio::task::LocalSet;
use xxhash_rust::xxh3::xxh3_64;

use crate::auditor::audit;
use crate::model::Kind;
use crate::nemesis::storm;
use crate::process::{Process, supervise};
use crate::profile::{Knobs, Profile, ms};
use crate::reader::{Ask, Reader};
use crate::world::World;

/// What became of one seed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Fragments and pages that were shown.
    pub reads: u64,
    /// Single fragments by how they were served.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Writes that were begun.
    pub writes: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of these, claimed from their commit on.
    pub claimed: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The stale reads, in words.
    pub stale: Vec<String>,
    /// What else was wrong.
    pub problems: Vec<String>,
    /// Milliseconds of simulated time.
    pub simulated: u64,
    /// Milliseconds from the end of the storm until every process had a hit again.
    pub recovery: u64,
    /// The hash of the trace, if there was one.
    pub trace_hash: u64,
}

/// Runs one seed; with `traced`, the trace comes too.
///
/// # Panics
///
/// If no runtime can be built.
pub fn run(profile: &Profile, seed: u64, traced: bool) -> (Report, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
    let local = LocalSet::new();
    local.block_on(&runtime, simulate(profile.clone(), seed, traced))
}

async fn simulate(profile: Profile, seed: u64, traced: bool) -> (Report, Vec<String>) {
    let mut rng = Rng::with_seed(seed);
    let knobs = Knobs::new(&profile, &mut rng);
    let world = World::new(profile, knobs, seed, traced);
    world.trace(|| format!("seed {seed}, profile {}: {:?}", world.profile.name, world.knobs));
    let offset = world.random_offset();
    world.state().tables.offset = if world.profile.skew_times > 1 { 0 } else { offset };

    let current = Arc::new(Mutex::new(vec![None; world.knobs.processes]));
    world.state().storm = true;
    let supervisors: Vec<_> = (0..world.knobs.processes)
        .map(|slot| tokio::task::spawn_local(supervise(world.clone(), slot, rng.fork(), current.clone())))
        .collect();
    storm(world.clone(), rng.fork()).await;

    let ended = world.elapsed();
    let recovery = recover(&world, &current, ended).await;
    let processes: Vec<Process> = current.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect();
    world.state().over = true;
    for _ in 0..2_000 {
        if processes.iter().all(Process::is_idle) {
            break;
        }
        tokio::time::sleep(ms(5)).await;
    }
    probe(&world, &processes, &mut rng).await;
    for process in &processes {
        let left = process.sweeper.shared().leftovers();
        if left != Leftovers::default() || !process.is_idle() {
            world.problem(format!("p{} is not idle at the end: {left:?}", process.life));
        }
    }
    supervisors.iter().for_each(tokio::task::JoinHandle::abort);
    report(&world, seed, recovery)
}

/// How long after the end of all faults hits may take to come back, in milliseconds: a node that failed is probed, and
/// returns after one interval and the skew; one that has lost its memory is in quarantine.
fn bound(world: &World) -> u64 {
    let knobs = &world.knobs;
    let returning = 2 * knobs.retry + knobs.max_skew + 2 * knobs.store_timeout;
    let quarantine = knobs.longest_hold() + 2 * knobs.max_skew;
    returning + quarantine + 1_000
}

/// Waits until all writes have ended and what they hold is over. The time until every process had a hit, in milliseconds.
async fn recover(world: &World, current: &Mutex<Vec<Option<Process>>>, ended: u64) -> u64 {
    let hits = |slot: usize| {
        let current = current.lock().unwrap_or_else(PoisonError::into_inner);
        current[slot].as_ref().map_or(0, |process| process.sweeper.stats().hits)
    };
    let slots = 0..world.knobs.processes;
    let before: Vec<u64> = slots.clone().map(hits).collect();
    let mut recovered = vec![None; world.knobs.processes];
    let least = ended + bound(world) * 1000;
    // A process that was dead when the storm ended is back after 1.5 s.
    let restart = 1_500_000;
    let mut last_write = ended;
    loop {
        tokio::time::sleep(ms(10)).await;
        let elapsed = world.elapsed();
        for slot in slots.clone() {
            if hits(slot) > before[slot] || (hits(slot) > 0 && hits(slot) < before[slot]) {
                recovered[slot].get_or_insert(elapsed);
            }
        }
        if world.state().writing > 0 {
            last_write = elapsed;
        }
        let holds_end = last_write + (world.knobs.longest_hold() + 2 * world.knobs.max_skew + 10) * 1000;
        if elapsed >= least + restart && elapsed >= holds_end {
            break;
        }
        if elapsed > ended + 60_000_000 {
            world.problem("a write was still under way a minute after the last fault".into());
            break;
        }
    }
    let slowest = recovered.iter().map(|at| at.unwrap_or(u64::MAX)).max().unwrap_or(ended);
    let unknown = (world.knobs.unknown_limit + world.knobs.longest_hold() + 2 * world.knobs.max_skew) * 1000;
    if slowest > least + restart + unknown {
        world.problem(format!("no hit in {} ms after the last fault", bound(world)));
    }
    slowest.saturating_sub(ended) / 1000
}

/// When all is quiet, what was shown is a hit when it is shown again.
async fn probe(world: &Arc<World>, processes: &[Process], rng: &mut Rng) {
    for process in processes {
        let reader = Reader::new(process.clone(), rng.fork());
        let kinds = [(Kind::Comment, world.knobs.comments), (Kind::Article, world.knobs.articles), (Kind::Section, world.knobs.sections)];
        for (kind, count) in kinds {
            for id in 1..=count {
                for ask in [Ask::default(), Ask { nested: true, by_row: true, ..Ask::default() }] {
                    let first = reader.show(kind, id, ask).await;
                    let second = reader.show(kind, id, ask).await;
                    if matches!(second, Some(Outcome::Bypass(Reason::Adopted))) {
                        // Strict mode: its log is new, and waits once.
                        tokio::time::sleep(ms(world.knobs.longest_hold() + 2 * world.knobs.max_skew + 10)).await;
                        reader.show(kind, id, ask).await;
                    }
                    // The TTL may have ended in between, but not twice.
                    if second != Some(Outcome::Hit) && reader.show(kind, id, ask).await != Some(Outcome::Hit) {
                        let kind = kind.name();
                        world.problem(format!(
                            "p{}: {kind}:{id} ({ask:?}) is no hit when all is quiet: {first:?}, {second:?}",
                            process.life
                        ));
                    }
                }
            }
        }
    }
}

fn report(world: &World, seed: u64, recovery: u64) -> (Report, Vec<String>) {
    let simulated = world.elapsed() / 1000;
    let found = {
        let state = world.state();
        audit(&state.history, world.knobs.max_skew * 1000, world.profile.only_acked)
            .into_iter()
            .map(|stale| (stale.describe(&state.history), stale.read.ended))
            .collect::<Vec<_>>()
    };
    for (what, _) in &found {
        world.trace(|| format!("STALE: {what}"));
    }
    let trace = world.take_trace();
    let mut state = world.state();
    let history = &state.history;
    let report = Report {
        seed,
        reads: history.reads.len() as u64,
        writes: history.writes.len() as u64,
        acknowledged: history.writes.iter().filter(|write| write.acknowledged.is_some()).count() as u64,
        claimed: history.writes.iter().filter(|write| write.claims_commit).count() as u64,
        outcomes: history.outcomes.clone(),
        faults: state.faults.clone(),
        stale: found.into_iter().map(|(what, _)| what).collect(),
        problems: std::mem::take(&mut state.problems),
        simulated,
        recovery,
        trace_hash: if trace.is_empty() { 0 } else { xxh3_64(trace.join("\n").as_bytes()) },
    };
    (report, trace)
}
