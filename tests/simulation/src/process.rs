//! Processes: each a sweeper of its own, with reader and writer tasks; killed and restarted.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use cachesweeper_core::face::Face;
use cachesweeper_core::protocol::LogAddress;
use cachesweeper_core::{RecordKey, Sweeper};
use fastrand::Rng;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::clock::ProcessClock;
use crate::model::graph;
use crate::network::Network;
use crate::profile::ms;
use crate::reader::Reader;
use crate::world::{Life, World};
use crate::writer::Writer;

/// One life of a process.
#[derive(Clone)]
pub struct Process {
    /// The world around it.
    pub world: Arc<World>,
    /// Its number.
    pub life: usize,
    /// The sweeper under test.
    pub sweeper: Sweeper,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Bytes of a near cache: so many that nothing is evicted, since what is depends on the process's own random numbers.
const NEAR: u64 = 64 << 20;

impl Process {
    /// Starts one. Its clock is off by what the profile allows.
    pub fn start(world: &Arc<World>, slot: usize) -> Self {
        let life = {
            let offset = world.random_offset();
            let mut state = world.state();
            state.lives.push(Life { slot, offset, dead: false, dies_in: None, ended: Arc::new(Notify::new()) });
            state.lives.len() - 1
        };
        let knobs = &world.knobs;
        let builder = Sweeper::builder()
            .store(Arc::new(Network::new(world.clone(), life)))
            .clock(Arc::new(ProcessClock::new(world.clone(), life)))
            .graph(graph(knobs.stamped))
            .namespace("s")
            .policy(world.profile.policy)
            .hold(ms(knobs.hold))
            .plain_hold(ms(knobs.plain_hold))
            .max_clock_skew(ms(knobs.max_skew))
            .default_ttl(ms(knobs.ttl * 1000))
            .retry_interval(ms(knobs.retry))
            .store_timeout(ms(knobs.store_timeout))
            .lease_wait(ms(knobs.lease_wait))
            .flight_wait(ms(knobs.flight_wait))
            .unknown_commit_limit(ms(knobs.unknown_limit));
        let builder = if world.profile.strict { builder.strict() } else { builder };
        // Every other process keeps bodies near.
        let builder = if slot.is_multiple_of(2) { builder.near_cache(NEAR) } else { builder };
        let sweeper = builder.build().expect("the knobs are within their limits");
        world.trace(|| format!("p{life} starts, as process {slot}; its clock is off by {} us", world.state_offset(life)));
        Self { world: world.clone(), life, sweeper, tasks: Arc::default() }
    }

    /// Runs a task that ends with the process.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let handle: JoinHandle<()> = tokio::task::spawn_local(task);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle.abort_handle());
    }

    /// Starts its readers and writers.
    pub fn work(&self, rng: &mut Rng) {
        for _ in 0..self.world.knobs.readers {
            self.spawn(Reader::new(self.clone(), rng.fork()).run());
        }
        for _ in 0..self.world.knobs.writers {
            self.spawn(Writer::new(self.clone(), rng.fork()).run());
        }
    }

    /// Ends all its tasks, wherever they are.
    pub fn kill(&self) {
        self.world.state().lives[self.life].dead = true;
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Whether all its tasks have ended by themselves.
    pub fn is_idle(&self) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter().all(AbortHandle::is_finished)
    }

    /// Whether any of these logs is owed an invalidation.
    pub fn owes(&self, logs: &[LogAddress]) -> bool {
        let left = self.sweeper.shared().leftovers();
        left.delivering || left.owed.iter().any(|log| logs.contains(log))
    }

    /// The logs of these records, on any node.
    pub fn logs_of(&self, records: &[RecordKey]) -> Vec<LogAddress> {
        let keys: BTreeSet<Arc<str>> = records.iter().map(|record| format!("s/t/{record}").into()).collect();
        let nodes = 0..self.world.knobs.nodes;
        nodes.flat_map(|node| keys.iter().map(move |key| LogAddress { node, key: key.clone() })).collect()
    }
}

/// Keeps one process alive: starts it again after each death, until the storm is over. Its latest life is in `current`.
pub async fn supervise(world: Arc<World>, slot: usize, mut rng: Rng, current: Arc<Mutex<Vec<Option<Process>>>>) {
    let put = |process: Option<Process>| current.lock().unwrap_or_else(PoisonError::into_inner)[slot] = process;
    loop {
        let process = Process::start(&world, slot);
        let ended = world.state().lives[process.life].ended.clone();
        process.work(&mut rng);
        put(Some(process.clone()));
        ended.notified().await;
        world.trace(|| format!("p{} dies", process.life));
        world.fault("kill");
        process.kill();
        put(None);
        tokio::time::sleep(ms(rng.u64(1..=1500))).await;
    }
}
