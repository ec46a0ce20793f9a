//! Time and randomness come in through here, so that tests and simulations can bring their own.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds: an instant since the Unix epoch, or a length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// The sum, at most the largest instant.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(micros: Micros) -> Self {
        Duration::from_micros(micros.0)
    }
}

/// What a protocol step is given of the outside: the time, and 64 random bits that no other step is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The process's clock.
    pub now: Micros,
    /// Fresh random bits.
    pub random: u64,
}

/// A source of ticks.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current instant.
    fn now(&self) -> Micros;

    /// 64 fresh random bits.
    fn random(&self) -> u64;

    /// Both.
    fn tick(&self) -> Tick {
        Tick { now: self.now(), random: self.random() }
    }
}

/// The machine's clock and the process's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        // A clock before 1970 reads as zero: everything then looks held, which is safe.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(Micros(0), Micros::from)
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}
