//! Fragment caching that is never stale: the core of Cachesweeper, without an ORM.
//!
//! Applications use `cachesweeper-seaorm` or `cachesweeper-diesel`, which re-export what is needed from here. This crate has
//! the protocol (pure, in [`version`] and [`protocol`]), the stores ([`store`]) and the sweeper in its two faces
//! (`Sweeper` with the feature `tokio`, and [`blocking::Sweeper`]).
//!
//! ```
//! use cachesweeper_core::{RecordKey, blocking::Sweeper};
//!
//! let sweeper = Sweeper::builder().memory(64 << 20).build()?;
//! let comment = RecordKey::new("comment", 42);
//! let render = || Ok::<_, std::io::Error>("<p>First!</p>");
//!
//! let html = sweeper.fragment(&comment, "comment.html").get_or_render(render)?;      // rendered, and stored
//! let again = sweeper.fragment(&comment, "comment.html").get_or_render(render)?;     // from the store
//! assert_eq!((&*again, again.outcome().word()), (&*html, "hit"));
//!
//! sweeper.invalidate(&comment)?;
//! let fresh = sweeper.fragment(&comment, "comment.html").get_or_render(render)?;     // rendered anew
//! assert_eq!(fresh.outcome().word(), "miss");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ambient;
pub mod blocking;
mod builder;
pub mod climb;
mod clock;
mod config;
pub mod digest;
mod error;
mod escape;
pub mod face;
mod flight;
mod fragment;
#[doc(hidden)]
pub mod health;
pub mod keys;
mod near;
mod page;
pub mod protocol;
mod record;
pub mod registry;
mod rendered;
mod shared;
mod stats;
pub mod store;
#[cfg(feature = "tokio")]
mod sweeper;
#[cfg(feature = "minijinja")]
pub mod template;
mod ttl;
mod verify;
pub mod version;

pub use ambient::{Changes, ChangesPending};
pub use builder::Builder;
pub use clock::{Clock, Micros, SystemClock, Tick};
pub use config::{Config, Policy};
pub use error::Error;
pub use fragment::{FragmentOf, FragmentsOf};
pub use page::{PageOf, Prefetch, TagError, TagSettings, Tags};
pub use protocol::Reason;
pub use record::{CacheSweep, Collection, Dependencies, Dependency, KeyLookup, RecordKey, Row, Strategy};
pub use rendered::{Outcome, Rendered};
#[doc(hidden)]
pub use shared::Leftovers;
pub use shared::Mark;
pub use stats::Stats;
#[cfg(feature = "tokio")]
pub use sweeper::{Fragment, Fragments, Page, Resolver, Sweeper, WeakSweeper};
pub use ttl::{InvalidTtl, Ttl};

/// The name most like `name`, if any is like it at all; for "did you mean".
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    // Nobody misspells a name of that length, and comparing it is slow.
    if name.len() > 100 {
        return None;
    }
    let scored = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 > 0.8).then(|| best.1.to_owned())
}
