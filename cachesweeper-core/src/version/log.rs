//! The version log: the store's item that holds a counter record's token.
//!
//! ```text
//! log     = head event*
//! head    = "=" uid
//! event   = "+" uid deadline          a mark: a write on this record is about to commit
//!         | "-" uid birth             a release: that write has ended (or: invalidated just now)
//!         | "?" uid deadline          a quarantine (strict mode): this head may have replaced a log with open holds
//! uid, deadline, birth = big-endian integers of 16, 8 and 8 bytes; times in microseconds since the Unix epoch
//! ```
//!
//! A log is only ever appended to; a compaction replaces it by a fresh head, its quarantine and the marks that are still open.

use std::collections::{BTreeMap, BTreeSet};

use super::{Token, Uid, take_micros, take_uid};
use crate::Micros;

/// One entry of a [`VersionLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Opens a hold: until `deadline`, or the release of the same uid, readers neither serve nor store.
    Mark {
        /// Names the mark, so that its release can be told from another's.
        uid: Uid,
        /// When the hold ends by itself.
        deadline: Micros,
    },
    /// Ends the hold of the mark with the same uid. Without such a mark it just makes a new token.
    Release {
        /// The uid of the mark that is released.
        uid: Uid,
        /// When the release was made: after COMMIT, or ROLLBACK, had returned.
        birth: Micros,
    },
    /// In strict mode: by `deadline` all holds have run out that an evicted log may have had when `head` took its place.
    Quarantine {
        /// The log's head. A quarantine that names another one says nothing: it was sent to a log that is gone.
        head: Uid,
        /// Computed after `head` was seen in the store.
        deadline: Micros,
    },
}

impl Event {
    /// Bytes of one event on the wire.
    pub const LEN: usize = 1 + 16 + 8;

    /// The wire form, to be appended to a log.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (tag, uid, time) = match self {
            Self::Mark { uid, deadline } => (b'+', uid, deadline),
            Self::Release { uid, birth } => (b'-', uid, birth),
            Self::Quarantine { head, deadline } => (b'?', head, deadline),
        };
        let mut bytes = [0; Self::LEN];
        bytes[0] = tag;
        bytes[1..17].copy_from_slice(&uid.to_bytes());
        bytes[17..].copy_from_slice(&time.0.to_be_bytes());
        bytes
    }
}

/// The bytes under a log's key are not a version log.
///
/// Something else wrote there, or a newer version of the format did. Readers treat the record as held and replace the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version log: byte {offset} of {len} starts no head, mark, release or quarantine")]
pub struct Malformed {
    /// Where reading stopped, in bytes.
    pub offset: usize,
    /// How long the item is, in bytes.
    pub len: usize,
}

/// The uids that a log releases.
enum Released<'a> {
    /// Looked for where they are.
    Short(&'a [Event]),
    Long(BTreeSet<Uid>),
}

impl Released<'_> {
    fn contains(&self, uid: Uid) -> bool {
        match self {
            Self::Short(events) => events.iter().any(|event| matches!(event, Event::Release { uid: released, .. } if *released == uid)),
            Self::Long(uids) => uids.contains(&uid),
        }
    }
}

/// A parsed version log: a head, and the marks and releases since. Its wire form is in `docs/wire-format.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLog {
    head: Uid,
    events: Vec<Event>,
}

impl VersionLog {
    /// A log longer than this, in bytes, is compacted by the next reader that misses.
    pub const COMPACT_ABOVE: usize = 256;

    /// A log that was never written to.
    pub fn fresh(head: Uid) -> Self {
        Self { head, events: Vec::new() }
    }

    /// What replaces bytes that are no log: a fresh head, held until `until`. Stores append to whatever is there, so the bytes
    /// may have marks in them that were acknowledged; all of them are over by `until`, if that is now, the longest hold and the
    /// skew.
    pub fn in_place_of_malformed(head: Uid, until: Micros) -> Self {
        Self::fresh(head).with(Event::Mark { uid: head, deadline: until })
    }

    /// The same log with one more event at its end.
    pub fn with(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Reads the wire form. Never panics, whatever the bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if any part of the bytes is no head, mark, release or quarantine.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let malformed = |rest: &[u8]| Malformed { offset: bytes.len() - rest.len(), len: bytes.len() };
        let head = match rest.split_first() {
            Some((b'=', mut after)) => {
                let uid = take_uid(&mut after).ok_or_else(|| malformed(rest))?;
                rest = after;
                uid
            }
            _ => return Err(malformed(rest)),
        };
        let mut events = Vec::with_capacity(rest.len() / Event::LEN);
        while let Some((tag, mut after)) = rest.split_first() {
            let parts = take_uid(&mut after).zip(take_micros(&mut after));
            events.push(match (tag, parts) {
                (b'+', Some((uid, deadline))) => Event::Mark { uid, deadline },
                (b'-', Some((uid, birth))) => Event::Release { uid, birth },
                (b'?', Some((head, deadline))) => Event::Quarantine { head, deadline },
                _ => return Err(malformed(rest)),
            });
            rest = after;
        }
        Ok(Self { head, events })
    }

    /// The wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + self.events.len() * Event::LEN);
        bytes.push(b'=');
        bytes.extend_from_slice(&self.head.to_bytes());
        for event in &self.events {
            bytes.extend_from_slice(&event.to_bytes());
        }
        bytes
    }

    /// The log's head.
    pub fn head(&self) -> Uid {
        self.head
    }

    /// What was appended since, oldest first. Duplicates are possible: a message may be delivered twice.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    fn released(&self) -> Released<'_> {
        // A log is as long as this before it is compacted; a hostile one may be as long as the store allows, and must not cost
        // the square of its length.
        const SHORT: usize = 24;
        if self.events.len() <= SHORT {
            return Released::Short(&self.events);
        }
        let uids = self.events.iter().filter_map(|event| match event {
            Event::Release { uid, .. } => Some(*uid),
            Event::Mark { .. } | Event::Quarantine { .. } => None,
        });
        Released::Long(uids.collect())
    }

    /// The marks that still hold at `now`: not released (before or after, messages may overtake each other), and with
    /// `deadline + skew >= now`. Each uid once, with its latest deadline.
    pub fn open(&self, now: Micros, skew: Micros) -> Vec<Event> {
        let mut open: Vec<Event> = Vec::new();
        if self.events.is_empty() {
            return open;
        }
        let released = self.released();
        let mut places = BTreeMap::new();
        for event in &self.events {
            let Event::Mark { uid, deadline } = *event else { continue };
            if released.contains(uid) || deadline.plus(skew) < now {
                continue;
            }
            let place = *places.entry(uid).or_insert(open.len());
            match open.get_mut(place) {
                Some(Event::Mark { deadline: latest, .. }) => *latest = deadline.max(*latest),
                _ => open.push(Event::Mark { uid, deadline }),
            }
        }
        open
    }

    /// Whether any hold is open at `now`; the same as `!self.open(now, skew).is_empty()`, without the list.
    pub fn is_held(&self, now: Micros, skew: Micros) -> bool {
        match self.events.as_slice() {
            [] => false,
            [Event::Mark { deadline, .. }] => deadline.plus(skew) >= now,
            events => {
                let released = self.released();
                events.iter().any(|event| match *event {
                    Event::Mark { uid, deadline } => deadline.plus(skew) >= now && !released.contains(uid),
                    Event::Release { .. } | Event::Quarantine { .. } => false,
                })
            }
        }
    }

    /// Until when the log's quarantine lasts; `None` if none names its head. The earliest counts: each was computed after the
    /// head had been seen, so each is late enough.
    pub fn quarantine(&self) -> Option<Micros> {
        let deadlines = self.events.iter().filter_map(|event| match *event {
            Event::Quarantine { head, deadline } if head == self.head => Some(deadline),
            _ => None,
        });
        deadlines.min()
    }

    /// Whether no hold can be open at `now` that was lost with an evicted log: strict mode serves and stores only then.
    pub fn is_clear(&self, now: Micros, skew: Micros) -> bool {
        self.quarantine().is_some_and(|deadline| deadline.plus(skew) < now)
    }

    /// When everything this log tells of had ended: the latest of the head's birth plus `landing` (the longest time a
    /// message to the store may take), its quarantine, every release's birth, and every unreleased mark's deadline.
    ///
    /// Data that were loaded after `settled + skew` were loaded after every write that the log knows of.
    pub fn settled(&self, landing: Micros) -> Micros {
        let released = self.released();
        let ends = self.events.iter().map(|event| match *event {
            Event::Mark { uid, .. } if released.contains(uid) => Micros(0),
            Event::Mark { deadline, .. } => deadline,
            Event::Release { birth, .. } => birth,
            Event::Quarantine { .. } => Micros(0),
        });
        let head = self.head.birth().plus(landing).max(self.quarantine().unwrap_or_default());
        ends.fold(head, Micros::max)
    }

    /// The log that replaces this one: a fresh head, its quarantine if it had one, and the marks that are still open.
    ///
    /// A compaction replaces a log that is there, so no hold is lost by it, and the new head inherits the quarantine.
    pub fn compacted(&self, head: Uid, now: Micros, skew: Micros) -> Self {
        let quarantine = self.quarantine().map(|deadline| Event::Quarantine { head, deadline });
        Self { head, events: quarantine.into_iter().chain(self.open(now, skew)).collect() }
    }

    /// The token of a log with these bytes: every append makes a new one.
    pub fn token(bytes: &[u8]) -> Token {
        Token::of_log(bytes)
    }
}
