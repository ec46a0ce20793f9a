//! What goes wrong while the storm lasts: links, nodes, memory, clocks and processes.

use std::sync::Arc;

use fastrand::Rng;

use crate::profile::ms;
use crate::world::{Link, World};

/// Makes things go wrong until the storm is over, then puts everything right.
pub async fn storm(world: Arc<World>, mut rng: Rng) {
    world.state().storm = true;
    let until = world.elapsed() + world.knobs.storm * 1000;
    while world.elapsed() < until {
        tokio::time::sleep(ms(rng.u64(20..=world.knobs.strikes_every))).await;
        if world.profile.faults {
            strike(&world, &mut rng);
        }
    }
    calm(&world);
}

/// The end of all faults.
fn calm(world: &World) {
    world.trace(|| "the storm is over".into());
    let mut state = world.state();
    (state.storm, state.slow) = (false, false);
    state.links.iter_mut().flatten().for_each(|link| *link = Link::Up);
    for node in &mut state.nodes {
        (node.up, node.memory) = (true, 1 << 24);
    }
    for life in &mut state.lives {
        life.dies_in = None;
    }
}

fn strike(world: &Arc<World>, rng: &mut Rng) {
    let node = rng.usize(..world.knobs.nodes);
    let slot = rng.usize(..world.knobs.processes);
    match rng.u8(..20) {
        0..=4 => {
            let link = [Link::Refused, Link::Silent, Link::Silent, Link::Deaf][rng.usize(..4)];
            let slots = if rng.bool() { slot..slot + 1 } else { 0..world.knobs.processes };
            partition(world, slots, node, link, rng.u64(20..=2_500));
        }
        5..=6 => {
            world.fault("node crash");
            world.trace(|| format!("node {node} crashes"));
            {
                let mut state = world.state();
                state.nodes[node].restart();
                state.nodes[node].up = false;
            }
            let (world, down) = (world.clone(), rng.u64(..=1_000));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(ms(down)).await;
                world.state().nodes[node].up = true;
                world.trace(|| format!("node {node} is up again"));
            });
        }
        7 => {
            world.fault("flush");
            world.trace(|| format!("node {node} is flushed"));
            world.state().nodes[node].forget();
        }
        8..=9 => evict(world, rng, node),
        // Twice as often where it is what matters.
        17..=18 if world.profile.evicts_holds => evict(world, rng, node),
        10..=14 => {
            // Within a few steps of the process, so at any of its awaits.
            world.trace(|| format!("process {slot} will die soon"));
            let steps = rng.u32(1..=40);
            let mut state = world.state();
            if let Some(life) = state.lives.iter_mut().rev().find(|life| life.slot == slot && !life.dead) {
                life.dies_in = Some(steps);
            }
        }
        15..=16 => {
            world.fault("clock step");
            let offset = world.random_offset();
            let mut state = world.state();
            if rng.u8(..4) == 0 {
                state.tables.offset = offset;
            } else if let Some(life) = state.lives.iter_mut().rev().find(|life| life.slot == slot) {
                life.offset = offset;
            }
            drop(state);
            world.trace(|| format!("the clock of process {slot} or the database steps to {offset} us"));
        }
        _ => {
            world.fault("slow spell");
            world.state().slow = true;
            let (world, length) = (world.clone(), rng.u64(50..=800));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(ms(length)).await;
                world.state().slow = false;
            });
        }
    }
}

fn partition(world: &Arc<World>, slots: std::ops::Range<usize>, node: usize, link: Link, length: u64) {
    world.fault("partition");
    world.trace(|| format!("processes {slots:?} lose node {node} for {length} ms: {link:?}"));
    for slot in slots.clone() {
        world.state().links[slot][node] = link;
    }
    let world = world.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(ms(length)).await;
        for slot in slots {
            world.state().links[slot][node] = Link::Up;
        }
        world.trace(|| format!("node {node} can be reached again"));
    });
}

fn evict(world: &World, rng: &mut Rng, node: usize) {
    let latest = world.latest_shown();
    let mut state = world.state();
    let keys: Vec<std::sync::Arc<str>> = state.nodes[node].keys().cloned().collect();
    let before = state.nodes[node].evictions;
    // Where holds may be lost, all logs go at once: the more of them are lost that are open.
    let holds_too = world.profile.evicts_holds;
    for key in keys.iter().filter(|key| rng.u8(..3) == 0 || (holds_too && key.contains("/t/"))) {
        state.nodes[node].evict_one(key, latest, world.knobs.skew(), holds_too);
    }
    let evicted = state.nodes[node].evictions - before;
    *state.faults.entry("eviction").or_default() += evicted;
    drop(state);
    world.trace(|| format!("node {node} evicts {evicted} items"));
}
