//! Many records swept at once, through the core: mark, release, and again, when the logs are there.

use std::time::Instant;

use cachesweeper_core::face::Face;
use cachesweeper_core::{RecordKey, Stats};
use clap::Args;
use serde_json::{Value, json};

use crate::Failure;
use crate::measure::{Place, memory_peak, millis};

/// Many records swept at once, through the core.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    #[command(flatten)]
    place: Place,
    /// How many.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
}

impl Sweep {
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let sweeper = self.place.sweeper(self.place.store())?;
        let records: Vec<RecordKey> = (0..self.records).map(|id| RecordKey::new("item", id)).collect();
        let at_start = memory_peak()?;
        // The first time there are no logs.
        let first = Instant::now();
        let mark = sweeper.mark(&records)?;
        let first = first.elapsed();
        sweeper.release(&mark);

        let (stats, traffic, started) = (sweeper.stats(), self.place.traffic()?, Instant::now());
        let began = sweeper.now();
        let mark = sweeper.mark(&records)?;
        let (marked, left) = (started.elapsed(), mark.deadline().minus(sweeper.now()));
        let after_mark = sweeper.stats();
        let released = Instant::now();
        sweeper.release(&mark);
        let released = released.elapsed();
        let (done, traffic) = (sweeper.stats(), self.place.traffic()?.since(traffic));
        Ok(json!({
            "what": "sweep", "store": self.place.word(), "records": self.records,
            "first_mark_ms": millis(first), "mark_ms": millis(marked), "release_ms": millis(released),
            "hold_ms": mark.deadline().minus(began).0 / 1_000, "hold_left_ms": left.0 / 1_000, "renewals": after_mark.renewals - stats.renewals,
            "batches": done.round_trips - stats.round_trips, "operations": done.store_operations - stats.store_operations,
            "bytes_to": traffic.to, "bytes_from": traffic.from,
            "store_errors": done.store_errors, "marks_failed": done.marks_failed,
            "records_mib": at_start, "peak_mib": memory_peak()?,
        }))
    }
}

/// The counters that tell what a sweep cost.
pub(crate) fn costs(stats: &Stats) -> Value {
    json!({
        "batches": stats.round_trips, "operations": stats.store_operations, "renewals": stats.renewals,
        "store_errors": stats.store_errors, "marks_failed": stats.marks_failed, "records_swept": stats.records_swept,
    })
}
