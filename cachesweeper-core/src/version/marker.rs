//! The marker: one item per store node that tells since when the node has had its memory.

use super::{Uid, take_micros, take_uid};
use crate::Micros;

/// A parsed marker: `"=" uid`, then any number of `"?" uid deadline`.
///
/// Only a `"?"` that names the head counts: an `add` that lands late must not bring an old deadline along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    head: Uid,
    deadline: Option<Micros>,
}

impl Marker {
    /// The wire form of a bare marker.
    pub fn bare(head: Uid) -> Vec<u8> {
        let mut bytes = vec![b'='];
        bytes.extend_from_slice(&head.to_bytes());
        bytes
    }

    /// The wire form of the quarantine that is appended to a bare marker.
    pub fn quarantine(head: Uid, deadline: Micros) -> Vec<u8> {
        let mut bytes = vec![b'?'];
        bytes.extend_from_slice(&head.to_bytes());
        bytes.extend_from_slice(&deadline.0.to_be_bytes());
        bytes
    }

    /// Reads the wire form; `None` if it is not one. Never panics.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (b'=', mut rest) = bytes.split_first()? else { return None };
        let head = take_uid(&mut rest)?;
        let mut deadline: Option<Micros> = None;
        while let Some((tag, mut after)) = rest.split_first() {
            let (uid, until) = (take_uid(&mut after)?, take_micros(&mut after)?);
            if *tag != b'?' {
                return None;
            }
            if uid == head {
                deadline = deadline.max(Some(until));
            }
            rest = after;
        }
        Some(Self { head, deadline })
    }

    /// The marker's uid.
    pub fn head(&self) -> Uid {
        self.head
    }

    /// Until when every lookup on the node is a bypass; `None` while the marker is bare.
    pub fn deadline(&self) -> Option<Micros> {
        self.deadline
    }

    /// Whether the quarantine is over at `now`.
    pub fn is_clear(&self, now: Micros, skew: Micros) -> bool {
        self.deadline.is_some_and(|deadline| deadline.plus(skew) < now)
    }
}
