//! Sweepers of both faces, and how their stores are filled.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cachesweeper_core::{Builder, CacheSweep, Outcome, Stats, blocking};

use crate::Failure;
use crate::rows::NAMESPACE;

/// Settings with which a new memcached is used after 0.2 s instead of 11.
pub fn impatient<S>(builder: Builder<S>) -> Builder<S> {
    let hold = Duration::from_millis(200);
    builder.namespace(NAMESPACE).hold(hold).plain_hold(hold).max_clock_skew(Duration::from_millis(10))
}

/// Stores these rows' fragments, and comes back when all are hits.
///
/// # Errors
///
/// If they are no hits within 20 s.
pub fn fill<T: CacheSweep>(sweeper: &blocking::Sweeper, rows: &[T], name: &str, body: &str) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let render = |missing: &[&T]| Ok::<_, Infallible>(vec![body.to_owned(); missing.len()]);
        let served = sweeper.fragments(rows, name).get_or_render(render)?;
        let Some(other) = served.iter().find(|served| served.outcome() != Outcome::Hit) else { return Ok(()) };
        if Instant::now() > until {
            return Err(format!("{name} is not filled after 20 s: {:?}", other.outcome()).into());
        }
        if other.outcome().word() == "bypass" {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a closure says that would have had to render: only hits are measured.
#[derive(Debug)]
pub struct NoHit;

impl std::fmt::Display for NoHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a lookup that was to be timed as a hit was none, and a benchmark of bypasses measures nothing: is the store too small, or too slow?")
    }
}

impl std::error::Error for NoHit {}

/// What one call has cost on the average, by the sweeper's own counters.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Round trips, each to all nodes at once.
    pub trips: f64,
    /// Store operations.
    pub operations: f64,
}

impl Cost {
    /// The cost of each of `calls` calls between two looks at the counters.
    pub fn between(before: &Stats, after: &Stats, calls: u64) -> Self {
        let each = |before: u64, after: u64| (after - before) as f64 / calls.max(1) as f64;
        Self { trips: each(before.round_trips, after.round_trips), operations: each(before.store_operations, after.store_operations) }
    }
}
