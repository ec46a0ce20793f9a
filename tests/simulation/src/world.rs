//! The world that one seed makes: time, randomness, trace, and what all processes share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cachesweeper_core::Micros;
use fastrand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::database::Tables;
use crate::history::History;
use crate::node::Node;
use crate::profile::{Knobs, Profile};

/// The instant at which every simulation begins, in microseconds since the Unix epoch.
const BEGIN: u64 = 1_700_000_000_000_000;

/// Everything outside of the processes.
#[derive(Debug)]
pub struct World {
    /// What goes wrong, and what is expected.
    pub profile: Profile,
    /// The sizes and times of this seed.
    pub knobs: Knobs,
    started: Instant,
    state: Mutex<State>,
}

/// How a process reaches a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Messages travel.
    Up,
    /// Connections are refused at once.
    Refused,
    /// Messages are not answered; they may land when the link is up again.
    Silent,
    /// Messages arrive, answers do not.
    Deaf,
}

/// One life of a process.
#[derive(Debug)]
pub struct Life {
    /// Which of the processes it is a life of.
    pub slot: usize,
    /// How far its clock is off, in microseconds.
    pub offset: i64,
    /// Dead processes do not come past any await.
    pub dead: bool,
    /// It dies at this many more steps.
    pub dies_in: Option<u32>,
    /// Tells its end.
    pub ended: Arc<Notify>,
}

/// What changes.
#[derive(Debug)]
pub struct State {
    /// All random decisions outside of the processes.
    pub rng: Rng,
    /// The store's nodes.
    pub nodes: Vec<Node>,
    /// By process slot and node.
    pub links: Vec<Vec<Link>>,
    /// By life.
    pub lives: Vec<Life>,
    /// The database.
    pub tables: Tables,
    /// What the auditor will see.
    pub history: History,
    /// Whether things go wrong now.
    pub storm: bool,
    /// Readers stop.
    pub over: bool,
    /// The network is slow.
    pub slow: bool,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Writes under way, those with an unknown outcome included.
    pub writing: usize,
    /// Problems that are no stale reads.
    pub problems: Vec<String>,
    trace: Option<Vec<String>>,
}

impl World {
    /// The world of this seed.
    pub fn new(profile: Profile, knobs: Knobs, seed: u64, traced: bool) -> Arc<Self> {
        let rng = Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let nodes = (0..knobs.nodes).map(|_| Node::new(knobs.max_item, knobs.memory)).collect();
        let state = State {
            rng,
            nodes,
            links: vec![vec![Link::Up; knobs.nodes]; knobs.processes],
            lives: Vec::new(),
            tables: Tables::new(&knobs),
            history: History::default(),
            storm: false,
            over: false,
            slow: false,
            faults: BTreeMap::new(),
            writing: 0,
            problems: Vec::new(),
            trace: traced.then(Vec::new),
        };
        Arc::new(Self { profile, knobs, started: Instant::now(), state: Mutex::new(state) })
    }

    /// The state, for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the begin of the simulation.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What the clock of a process shows.
    pub fn clock_of(&self, life: usize) -> Micros {
        let offset = self.state().lives[life].offset;
        self.shown(offset)
    }

    /// What a clock shows that is off by this much.
    pub fn shown(&self, offset: i64) -> Micros {
        Micros((BEGIN + self.elapsed()).saturating_add_signed(offset))
    }

    /// How late a message may land, in microseconds.
    pub fn landing(&self) -> u64 {
        let bound = self.knobs.hold.max(self.knobs.plain_hold) * 1000;
        if self.profile.lands_late { bound * 6 } else { bound }
    }

    /// An offset that a clock may have, in microseconds: two of them differ by less than the bound, or by what the profile
    /// says.
    pub fn random_offset(&self) -> i64 {
        let reach = self.knobs.max_skew * 1000 * self.profile.skew_times;
        let reach = if self.profile.skew_times > 1 { reach.max(3_000_000) } else { reach };
        i64::try_from(self.below(reach)).unwrap_or(0) - i64::try_from(reach / 2).unwrap_or(0)
    }

    /// The offset of a process's clock.
    pub fn state_offset(&self, life: usize) -> i64 {
        self.state().lives[life].offset
    }

    /// The latest time that any clock shows, and so what the first of all readers goes by.
    pub fn latest_shown(&self) -> Micros {
        let latest = self.state().lives.iter().map(|life| life.offset).max().unwrap_or(0);
        self.shown(latest)
    }

    /// Notes what happens, if this run is traced.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.state().is_traced() {
            // Outside of the lock: what is told may be looked up in the state.
            let line = format!("{:>9.3} ms  {}", self.elapsed() as f64 / 1000.0, what());
            if let Some(trace) = &mut self.state().trace {
                trace.push(line);
            }
        }
    }

    /// The trace.
    pub fn take_trace(&self) -> Vec<String> {
        self.state().trace.take().unwrap_or_default()
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str) {
        *self.state().faults.entry(kind).or_default() += 1;
    }

    /// Notes a problem that is no stale read.
    pub fn problem(&self, what: String) {
        self.trace(|| format!("PROBLEM: {what}"));
        self.state().problems.push(what);
    }

    /// A random number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.state().rng.u64(..n.max(1))
    }

    /// Whether something happens that has this chance in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Whether something goes wrong that has this chance in a thousand while things go wrong at all.
    pub fn mishap(&self, per_mille: u64) -> bool {
        self.profile.faults && self.state().storm && self.chance(per_mille)
    }

    /// Sleeps up to `most` milliseconds; for zero, others may run or not.
    pub async fn pause(&self, most: u64) {
        match self.below(most + 1) {
            0 => {
                for _ in 0..self.below(4) {
                    tokio::task::yield_now().await;
                }
            }
            length => tokio::time::sleep(Duration::from_millis(length)).await,
        }
    }

    /// Every step of a process comes past here: a dead one never comes back.
    pub async fn step(&self, life: usize) {
        let dead = {
            let mut state = self.state();
            let one = &mut state.lives[life];
            if let Some(left) = &mut one.dies_in {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    one.dies_in = None;
                    one.dead = true;
                    one.ended.notify_one();
                }
            }
            one.dead
        };
        if dead {
            std::future::pending::<()>().await;
        }
    }

    /// Whether a process is dead.
    pub fn is_dead(&self, life: usize) -> bool {
        self.state().lives[life].dead
    }
}

impl State {
    /// Whether a trace is kept.
    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }
}
