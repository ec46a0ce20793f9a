//! The protocol: what to say to the stores, and what to make of their answers.
//!
//! It does no I/O and has no clock. A [`Machine`] is given what has happened since its last step and a [`Tick`], and says
//! its next [`Step`]. Two short drivers run it, one async and one blocking; a model checker and a simulation can too.

#[cfg(feature = "compression")]
mod compression;
mod envelope;
mod events;
mod glance;
mod lookup;
mod query;
mod reason;
#[cfg(feature = "hmac")]
mod seal;
mod serve;

use std::time::Duration;

#[cfg(feature = "compression")]
pub use compression::Compression;
pub use envelope::Envelope;
pub use events::{Append, Appended, LogAddress};
pub use lookup::{Found, Lookup, Lookups};
pub use query::{Cached, Mode, Query, QueryContext};
pub use reason::Reason;
#[cfg(feature = "hmac")]
pub use seal::Seal;
pub use serve::{Flight, Serve, ServeInput, ServeStep, Served, Unstored};

use crate::store::{Op, Reply, StoreInfo};
use crate::{Config, Micros, Tick, Ttl};

/// What a machine asks for.
#[derive(Clone, Debug)]
pub enum Step<T> {
    /// Run this batch and come back with [`Input::Replies`].
    Run(Vec<Op>),
    /// Come back with [`Input::Slept`] after this long.
    Sleep(Duration),
    /// It has ended.
    Done(T),
}

/// What has happened since the last step.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing yet: the first step.
    Start,
    /// The batch was run; one reply per operation.
    Replies(Vec<Reply>),
    /// The time is over.
    Slept,
}

/// A piece of the protocol that runs by itself.
pub trait Machine {
    /// What it ends with.
    type Output;

    /// The next step.
    fn advance(&mut self, input: Input, tick: Tick) -> Step<Self::Output>;
}

/// The times and sizes that the protocol goes by; the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How far the clocks of two processes may differ.
    pub skew: Micros,
    /// How long a hold lasts that nobody releases.
    pub hold: Micros,
    /// The longest hold of any kind.
    pub longest_hold: Micros,
    /// How late a message to the store may land.
    pub landing: Micros,
    /// Whether nodes need markers.
    pub markers: bool,
    /// Whether a log that is new waits until no hold can be open that an evicted one had.
    pub strict: bool,
    /// Whether leases elect one process to render.
    pub leases: bool,
    /// The TTL of logs, refreshed by every mark. A fragment cannot outlive the logs it depends on.
    pub log_ttl: Ttl,
    /// The TTL of markers: a marker that ends costs its node a quarantine.
    pub marker_ttl: Ttl,
    /// How long a lease lasts if its holder dies.
    pub lease_ttl: Ttl,
    /// How long the others wait for the holder of a lease, in all.
    pub lease_wait: Micros,
}

impl Rules {
    /// The rules for a configuration on a store.
    pub fn new(config: &Config, store: &StoreInfo) -> Self {
        let longest_hold = config.hold.max(config.plain_hold).into();
        Self {
            // One process has one clock.
            skew: if store.shared { config.max_clock_skew.into() } else { Micros(0) },
            hold: config.hold.into(),
            longest_hold,
            landing: store.landing(longest_hold),
            markers: !store.keeps_holds,
            strict: config.strict && !store.keeps_holds,
            leases: store.shared,
            log_ttl: Ttl::days(365),
            marker_ttl: Ttl::MAX,
            lease_ttl: config.lease_ttl,
            lease_wait: config.lease_wait.into(),
        }
    }
}
