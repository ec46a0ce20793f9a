//! A process's clock and its random numbers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_core::{Clock, Micros};
use fastrand::Rng;

use crate::world::World;

/// The clock of one life of a process.
pub struct ProcessClock {
    world: Arc<World>,
    life: usize,
    rng: Mutex<Rng>,
}

impl ProcessClock {
    /// The clock of this life.
    pub fn new(world: Arc<World>, life: usize) -> Self {
        let seed = world.state().rng.u64(..);
        Self { world, life, rng: Mutex::new(Rng::with_seed(seed)) }
    }
}

impl fmt::Debug for ProcessClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessClock({})", self.life)
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Micros {
        self.world.clock_of(self.life)
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }
}
