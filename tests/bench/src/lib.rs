//! What the benchmarks have in common: rows, private servers, the floor, and how times are taken and told.
//!
//! ```text
//! cargo bench -p cachesweeper-bench --bench page          # a page's figures, as ratios to the floor
//! cargo bench -p cachesweeper-bench --bench throughput    # many callers at once
//! cargo bench -p cachesweeper-bench --bench pure          # what does no I/O, with its allocations
//! cargo bench -p cachesweeper-bench --bench growth        # curves; -- --plots DIR draws them
//! cargo bench -p cachesweeper-bench --bench memory        # what 10,000 invalidations leave in memcached
//! cargo run --release -p cachesweeper-bench --bin instructions -- check
//! ```
//!
//! The floor is a client written with std alone that fetches the same items, see [`floor`]. A benchmark measures and asserts no
//! time; it fails if what it measures is not what it says, for example a bypass in place of a hit.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod distance;
pub mod entities;
#[cfg(test)]
mod fake;
pub mod floor;
pub mod measure;
pub mod options;
pub mod paths;
pub mod pin;
pub mod report;
pub mod rows;
pub mod servers;
pub mod shape;
pub mod sweepers;

/// What goes wrong is told and ends the program.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
