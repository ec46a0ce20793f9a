//! What a run has come across: a check that never gets to a hit, or never meets its faults, shows nothing.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! seen {
    ($($name:ident $text:literal,)*) => {
        /// Something that a run can come across.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Seen { $(#[doc = $text] $name,)* }

        impl Seen {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In words.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

seen! {
    Hit "a hit",
    HitAfterWrite "a hit that shows a write",
    NearHit "a hit on a body that was kept near",
    NearChanged "a body kept near that had been invalidated",
    Fill "a fill",
    PageFill "a fill by a page",
    TooEarly "a page that had loaded too early to store",
    Shared "a shared flight",
    Gathered "a shared render that is not stored",
    Stale "a version served within the bound of serve_stale",
    Tainted "a fragment not stored because of one inside of it",
    BypassHeld "a bypass because of a hold",
    BypassQuarantine "a bypass because of a node's quarantine",
    BypassAdopted "a bypass because of a log's quarantine",
    LeaseBusy "a lease that another holds",
    Crash "a writer killed after its COMMIT, before its release arrived",
    CrashEarly "a writer killed before its COMMIT",
    Evict "an eviction",
    EvictHeld "an eviction of a log with an open hold",
    Restart "a restart",
    Restore "a restart with old content",
    Cut "a broken connection",
    Late "a message that landed late",
    Duplicate "a message that arrived twice",
    Pause "a process that stood still",
    Abort "a rollback",
    Leave "a caller who went away",
    Renew "a renewed hold",
    Unknown "a COMMIT of unknown outcome that had taken effect",
    MustArrive "a release that had to arrive",
    HeldToRelease "a hold on several logs just to release them",
    Compacted "a compaction",
    FoundLater "a record found only after COMMIT",
    Refused "a write refused because it could not be marked",
    Proceeded "a write committed without its marks",
    Delivered "an owed invalidation delivered",
    Moved "a row that moved",
    HitAfterFault "a hit after every fault had struck",
}

/// The set of what was seen.
#[derive(Debug, Default)]
pub struct Sightings(AtomicU64);

impl Sightings {
    /// Adds one.
    pub fn note(&self, seen: Seen) {
        let bit = 1 << seen as u8;
        if self.0.load(Ordering::Relaxed) & bit == 0 {
            self.0.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether it was seen.
    pub fn has(&self, seen: Seen) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << seen as u8) != 0
    }
}
