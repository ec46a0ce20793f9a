//! Profiles: what goes wrong in a run, and what is expected of it. Knobs: the sizes and times of one seed.

use std::time::Duration;

use cachesweeper_core::{Micros, Policy};
use fastrand::Rng;

/// How writers treat the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// As the adapters do.
    Sweep,
    /// Some writes do not tell the cache at all.
    Unswept,
    /// Nothing before COMMIT, an invalidation after it.
    AfterCommit,
    /// As the adapters do, but the hold is not renewed while COMMIT runs.
    Unrenewed,
}

/// What goes wrong in a run, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub about: &'static str,
    /// Whether stale reads must be found, or must not be.
    pub broken: bool,
    /// How writers treat the cache.
    pub scheme: Scheme,
    /// What to do with writes that cannot be marked.
    pub policy: Policy,
    /// Whether the network, the nodes and the processes fail.
    pub faults: bool,
    /// Clocks differ by up to this many times the bound.
    pub skew_times: u64,
    /// Messages land after the bound too.
    pub lands_late: bool,
    /// Logs with an open hold are evicted too.
    pub evicts_holds: bool,
    /// Strict mode.
    pub strict: bool,
    /// Closures show data that were loaded before the lookup.
    pub loads_early: bool,
    /// Commits outside of their hold are claimed too.
    pub claims_all: bool,
    /// Only what was acknowledged is claimed.
    pub only_acked: bool,
}

const SOUND: Profile = Profile {
    name: "calm",
    about: "concurrent readers and writers; nothing fails but commits",
    broken: false,
    scheme: Scheme::Sweep,
    policy: Policy::Proceed,
    faults: false,
    skew_times: 1,
    lands_late: false,
    evicts_holds: false,
    strict: false,
    loads_early: false,
    claims_all: false,
    only_acked: false,
};

const FAULTS: Profile =
    Profile { name: "faults", about: "everything fails that may, within the conditions of the README", faults: true, ..SOUND };

/// All profiles, the sound ones first.
pub const PROFILES: &[Profile] = &[
    SOUND,
    FAULTS,
    Profile { name: "abort", about: "as faults, with the policy Abort", policy: Policy::Abort, ..FAULTS },
    Profile {
        name: "evict",
        about: "as faults, and logs with open holds are evicted: G-ack, but for plain transactions",
        evicts_holds: true,
        only_acked: true,
        ..FAULTS
    },
    Profile { name: "strict", about: "as evict, in strict mode: everything is promised again", evicts_holds: true, strict: true, ..FAULTS },
    Profile { name: "lost-holds", about: "as strict, without strict mode", broken: true, evicts_holds: true, ..FAULTS },
    Profile { name: "skew", about: "clocks differ by more than max_clock_skew and the hold", broken: true, skew_times: 30, ..FAULTS },
    Profile {
        name: "unrenewed",
        about: "COMMIT takes longer than a hold that nobody renews",
        broken: true,
        scheme: Scheme::Unrenewed,
        claims_all: true,
        ..FAULTS
    },
    Profile { name: "unswept", about: "one write in ten does not tell the cache", broken: true, scheme: Scheme::Unswept, ..FAULTS },
    Profile {
        name: "after-commit",
        about: "no marks: an invalidation after COMMIT",
        broken: true,
        scheme: Scheme::AfterCommit,
        claims_all: true,
        ..FAULTS
    },
    Profile {
        name: "early-load",
        about: "closures show data that were loaded before the lookup",
        broken: true,
        loads_early: true,
        ..FAULTS
    },
];

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }
}

/// The sizes and times of one seed. Times in milliseconds.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like what they set")]
pub struct Knobs {
    pub nodes: usize,
    pub processes: usize,
    pub readers: usize,
    pub writers: usize,
    pub sections: u32,
    pub articles: u32,
    pub comments: u32,
    /// Whether articles are versioned by a timestamp column.
    pub stamped: bool,
    pub storm: u64,
    pub hold: u64,
    pub plain_hold: u64,
    pub max_skew: u64,
    pub retry: u64,
    pub store_timeout: u64,
    pub lease_wait: u64,
    pub flight_wait: u64,
    pub unknown_limit: u64,
    /// Longest think time of readers and writers.
    pub reads_every: u64,
    pub writes_every: u64,
    pub memory: usize,
    pub max_item: usize,
    /// TTL of fragments, in seconds.
    pub ttl: u64,
    /// Longest time between two faults.
    pub strikes_every: u64,
    /// Of a thousand exchanges, those with a mishap of each kind.
    pub mishaps: u64,
}

impl Knobs {
    /// The knobs of a seed.
    pub fn new(profile: &Profile, rng: &mut Rng) -> Self {
        let hold = rng.u64(300..=1500);
        let small = profile.faults && rng.u8(..4) == 0;
        Self {
            nodes: [1, 2, 2, 2, 2, 3][rng.usize(..6)],
            processes: rng.usize(1..=3),
            readers: rng.usize(1..=3),
            writers: rng.usize(1..=2),
            sections: rng.u32(1..=2),
            articles: rng.u32(1..=3),
            comments: rng.u32(2..=6),
            stamped: rng.bool(),
            storm: rng.u64(8_000..=15_000),
            hold,
            plain_hold: rng.u64(hold..=2 * hold),
            max_skew: rng.u64(0..=300),
            retry: rng.u64(50..=500),
            store_timeout: rng.u64(50..=400),
            lease_wait: rng.u64(20..=200),
            flight_wait: rng.u64(100..=1000),
            unknown_limit: 3 * hold,
            reads_every: rng.u64(10..=80),
            writes_every: if rng.bool() { rng.u64(50..=600) } else { rng.u64(600..=4_000) },
            memory: if small { rng.usize(4_000..=12_000) } else { 1 << 24 },
            max_item: if rng.u8(..4) == 0 { rng.usize(900..=2_000) } else { 1 << 20 },
            ttl: rng.u64(2..=60),
            strikes_every: rng.u64(300..=4_000),
            mishaps: [0, 1, 1, 2, 2, 4, 10][rng.usize(..7)],
        }
    }

    /// The skew that processes are configured with.
    pub fn skew(&self) -> Micros {
        Micros(self.max_skew * 1000)
    }

    /// The longest hold.
    pub fn longest_hold(&self) -> u64 {
        self.hold.max(self.plain_hold)
    }
}

/// Milliseconds as a duration.
pub fn ms(length: u64) -> Duration {
    Duration::from_millis(length)
}
