//! A state of the model, and what can happen next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::health::{Health, Pending};
use cachesweeper_core::protocol::{Append, Cached, Serve};
use cachesweeper_core::version::Stamp;
use cachesweeper_core::{Mark, Micros};

use crate::db::{Db, Truth};
use crate::hashed::Hashed;
use crate::setup::{Budget, Claim};
use crate::store::{Batch, Items, Late};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Ticks since the beginning.
    pub now: u8,
    /// What the nodes keep.
    pub items: Hashed<Items>,
    /// The database.
    pub db: Hashed<Db>,
    /// The writers.
    pub writers: Vec<Hashed<Writer>>,
    /// The readers; those that are alike are kept in the order of their hashes.
    pub readers: Vec<Hashed<Reader>>,
    /// Messages that nobody waits for.
    pub late: Hashed<Vec<Late>>,
    /// Each process's opinion of the nodes; empty if the setup has none.
    pub health: Hashed<Vec<Health>>,
    /// Deliveries of what is owed, by process.
    pub couriers: Vec<Option<Hashed<Courier>>>,
    /// The bodies that processes have kept, by process and fragment; empty if the setup has none.
    pub near: Hashed<BTreeMap<(usize, usize), Cached>>,
    /// The faults that may still strike.
    pub budget: Budget,
    /// How many uids readers have sent.
    pub uids: u16,
    /// What was found.
    pub violation: Option<Claim>,
}

/// What is owed to nodes, under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Courier {
    /// How far it is.
    pub leg: Leg,
    /// The machine.
    pub append: Append,
    /// Its messages.
    pub batch: Batch,
}

/// How far a delivery is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// It brings what is owed.
    Owed(Vec<Pending>),
    /// It holds the whole sweeps of what it has brought: the place of the first log that is held, and the hold.
    Hold(Mark, usize, Mark),
    /// It invalidates them.
    Invalidate(Mark),
}

/// Where a writer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It has not begun.
    Idle,
    /// The mark is on its way.
    Marking(Append, Batch),
    /// The mark was acknowledged: COMMIT may happen, or has.
    Open,
    /// The hold is opened anew.
    Renewing(Append, Batch, Mark),
    /// Several logs without a hold are held before they are released: the place of the first, and the hold.
    Holding(Append, Batch, usize, Mark),
    /// The release is on its way.
    Ending(Append, Batch),
    /// It waits for the delivery of what could not be marked.
    Owing,
    /// It has its answer, or is dead.
    Over,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// Where it is.
    pub stage: Stage,
    /// Its hold.
    pub mark: Mark,
    /// The parents that its row has, or had.
    pub keys: BTreeSet<usize>,
    /// The records that were found before COMMIT.
    pub known: BTreeSet<usize>,
    /// What its COMMIT made; `None` before.
    pub made: Option<Vec<(usize, Truth)>>,
    /// Whether its COMMIT's outcome is unknown to it.
    pub unknown: bool,
    /// How many uids it has used.
    pub uids: u8,
}

impl Writer {
    /// Not begun.
    pub fn idle() -> Self {
        Self {
            stage: Stage::Idle,
            mark: Mark::default(),
            keys: BTreeSet::new(),
            known: BTreeSet::new(),
            made: None,
            unknown: false,
            uids: 0,
        }
    }

    /// Finished writers are all alike.
    pub fn over() -> Self {
        Self { stage: Stage::Over, ..Self::idle() }
    }

    /// Its messages under way.
    pub fn batch(&self) -> Option<&Batch> {
        match &self.stage {
            Stage::Marking(_, batch) | Stage::Renewing(_, batch, _) | Stage::Holding(_, batch, ..) | Stage::Ending(_, batch) => Some(batch),
            _ => None,
        }
    }
}

/// What had been written when a read began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Of the shown rows in order, the committed truths.
    pub committed: Vec<Truth>,
    /// The acknowledged ones.
    pub acked: Vec<Truth>,
    /// Those acknowledged before the bound of `serve_stale`; empty without.
    pub aged: Vec<Truth>,
}

/// A reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// Between two reads.
    Idle,
    /// Reading.
    Busy(Run),
}

/// A read: its fragment, and those inside of it, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The fragments.
    pub frames: Vec<Frame>,
    /// What the innermost waits for.
    pub wait: Wait,
}

/// One fragment that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Which.
    pub fragment: usize,
    /// The machine.
    pub serve: Serve,
    /// What had been written before.
    pub bounds: Bounds,
    /// What was loaded.
    pub body: Option<Bytes>,
    /// Whether something inside forbids to store it.
    pub tainted: bool,
    /// The flight that it leads.
    pub leads: Option<(Arc<str>, Stamp)>,
    /// Its part in renders that cannot be stored.
    pub gathers: Option<(Arc<str>, Stamp, Turn)>,
}

/// Whose turn it is to render what cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// It renders.
    Running,
    /// It renders next.
    Next,
    /// It gets what the next one will render.
    Follows,
    /// It gets what is rendered now, which began after it had come.
    Rides,
}

/// What a read waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The lookup is sent later: a page that has loaded its data.
    Lookup,
    /// Replies.
    Replies(Batch),
    /// All replies are there, but the process stands still; since when.
    Paused(Batch, u8),
    /// A lease's holder.
    Sleep,
    /// Another caller's flight.
    Follow(Arc<str>, Stamp),
    /// Its turn to render.
    Turn,
    /// The data are to be loaded.
    Load,
    /// The data are loaded, but the process stands still; since when.
    Loaded(u8),
}

impl Reader {
    /// What it waits for.
    pub fn wait(&self) -> Option<&Wait> {
        match self {
            Self::Idle => None,
            Self::Busy(run) => Some(&run.wait),
        }
    }

    /// Its messages under way.
    pub fn batch(&self) -> Option<&Batch> {
        match self.wait() {
            Some(Wait::Replies(batch)) => Some(batch),
            _ => None,
        }
    }
}

/// Who has messages under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A writer.
    Writer(usize),
    /// A reader.
    Reader(usize),
    /// A process's delivery of what it owes.
    Courier(usize),
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// A writer finds its records and sends its marks.
    Begin(usize),
    /// Its COMMIT takes effect.
    Commit(usize),
    /// Its COMMIT returns: it looks for its records again, and releases.
    Return(usize),
    /// It rolls back.
    Abort(usize),
    /// Its COMMIT takes long: it renews its hold.
    Renew(usize),
    /// The connection breaks during COMMIT.
    Unknown(usize),
    /// It is killed.
    Crash(usize),
    /// A reader begins; the first message of a closure's lookup reaches this node.
    Read(usize, usize),
    /// A page sends its lookup.
    LookUp(usize),
    /// A reader loads its data; and then stands still.
    Load(usize, bool),
    /// It goes on after standing still, or waiting for a lease.
    Resume(usize),
    /// Its caller goes away.
    Leave(usize),
    /// A process sends what it owes.
    Owed(usize),
    /// A message reaches this node, and its reply the sender; who then stands still.
    Deliver(Who, usize, bool),
    /// The same, and the message arrives once more later.
    Duplicate(Who, usize),
    /// The connection to a node breaks.
    Cut(Who, usize),
    /// A message lands that nobody waits for.
    Land(usize),
    /// An item is evicted.
    Evict(usize),
    /// A node loses its memory.
    Restart(usize),
    /// A node comes back with what it had at the beginning.
    Restore(usize),
}

impl State {
    /// The latest moment by a process's clock is the same for all; see [`crate::world::World::clock`].
    pub fn busy(&self) -> impl Iterator<Item = (Who, &Batch)> {
        let writers = self.writers.iter().enumerate().filter_map(|(index, writer)| Some((Who::Writer(index), writer.batch()?)));
        let readers = self.readers.iter().enumerate().filter_map(|(index, reader)| Some((Who::Reader(index), reader.batch()?)));
        let couriers = self.couriers.iter().enumerate();
        let couriers = couriers.filter_map(|(index, courier)| Some((Who::Courier(index), &courier.as_ref()?.batch)));
        writers.chain(readers).chain(couriers)
    }
}

/// No time at all.
pub const NONE: Micros = Micros(0);
