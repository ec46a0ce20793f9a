//! Identifiers that are unique for ever and carry their own birth.

use std::fmt;

use crate::{Micros, Tick};

/// A 128-bit identifier: microseconds since the Unix epoch in the high half, random bits in the low half.
///
/// A uid names the head of a version log, a mark or a store node's marker. Its birth can be read from it
/// ([`Uid::birth`]), and it is never sent twice for a head.
///
/// ```
/// use cachesweeper_core::{Micros, Tick, version::Uid};
///
/// let uid = Uid::new(Tick { now: Micros(1_700_000_000_000_000), random: 42 });
/// assert_eq!(uid.birth(), Micros(1_700_000_000_000_000));
/// assert_eq!(Uid::from_bytes(uid.to_bytes()), uid);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u128);

impl Uid {
    /// Makes the uid of this tick.
    pub fn new(tick: Tick) -> Self {
        Self(u128::from(tick.now.0) << 64 | u128::from(tick.random))
    }

    /// When the uid was made, by the clock of the process that made it.
    pub fn birth(self) -> Micros {
        Micros((self.0 >> 64) as u64)
    }

    /// The wire form: 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the wire form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
