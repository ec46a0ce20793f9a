//! What several fuzz targets need: reading values off the input.

use cachesweeper_core::Strategy;
use cachesweeper_core::registry::{Entity, EntityInfo};
use cachesweeper_core::version::Uid;
use cachesweeper_core::{Micros, Tick};

/// The front of a target's input as small values, the rest as bytes.
pub struct Front<'a>(pub &'a [u8]);

impl<'a> Front<'a> {
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// The next eight bytes, as a number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_be_bytes(bytes)
    }

    /// An instant: mostly small numbers, so that instants meet.
    pub fn micros(&mut self) -> Micros {
        match self.byte() {
            255 => Micros(self.number()),
            small => Micros(u64::from(small)),
        }
    }

    /// A uid of few different ones.
    pub fn uid(&mut self) -> Uid {
        let byte = self.byte();
        Uid::new(Tick { now: Micros(u64::from(byte >> 3)), random: u64::from(byte & 7) })
    }

    /// The next bytes, with their length (at most 255) ahead of them.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// An entity of the counter, for rows in hand.
pub const fn entity() -> Entity {
    Entity::new(|| EntityInfo {
        name: "comment".into(),
        orm: "Fuzz",
        model: "fuzz::Model",
        strategy: Strategy::Counter,
        collection: false,
        skipped: Vec::new(),
        max_depth: None,
        parents: Vec::new(),
        problems: Vec::new(),
        adapter: None,
    })
}
