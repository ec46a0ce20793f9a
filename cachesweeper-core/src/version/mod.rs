//! How a record is versioned: uids, version logs, tokens and stamps.
//!
//! Everything here is pure: bytes in, values out. No I/O, no clock, no randomness.

mod log;
mod marker;
mod stamp;
mod uid;

pub use log::{Event, Malformed, VersionLog};
pub use marker::Marker;
pub use stamp::{Stamp, StampBuilder, Token};
pub use uid::Uid;

use crate::Micros;

/// Reads one big-endian `u64` off the front of `bytes`.
fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

/// Reads one uid off the front of `bytes`.
fn take_uid(bytes: &mut &[u8]) -> Option<Uid> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    *bytes = rest;
    Some(Uid::from_bytes(*head))
}

/// Reads one instant off the front of `bytes`.
fn take_micros(bytes: &mut &[u8]) -> Option<Micros> {
    take_u64(bytes).map(Micros)
}
