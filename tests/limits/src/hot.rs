//! A record that is written all the time, and read: how many reads bypass, and how long its log grows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cachesweeper_core::store::Op;
use cachesweeper_core::{Outcome, RecordKey};
use clap::Args;
use serde_json::{Value, json};

use crate::Failure;
use crate::measure::Place;

/// A record that is written all the time, and read.
#[derive(Debug, Args)]
pub(crate) struct Hot {
    #[command(flatten)]
    place: Place,
    /// Writes a second.
    #[arg(long, default_value_t = 1_000)]
    writes: u32,
    /// Threads that write.
    #[arg(long, default_value_t = 4)]
    writers: u32,
    /// How long a COMMIT takes, in microseconds.
    #[arg(long, default_value_t = 500)]
    commit: u64,
    /// Threads that read, each once a millisecond. At 0 nobody compacts the log but the writers.
    #[arg(long, default_value_t = 4)]
    readers: u32,
    /// How long it takes, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Hot {
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let store = self.place.store();
        let sweeper = self.place.sweeper(store.clone())?;
        let (key, stop) = (RecordKey::new("hot", 1), AtomicBool::new(false));
        let (written, [hits, misses, bypasses, shared]) = (AtomicU64::new(0), [const { AtomicU64::new(0) }; 4]);
        let mut lengths = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..self.writers {
                scope.spawn(|| {
                    let every = Duration::from_secs(1) * self.writers / self.writes.max(1);
                    let mut next = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        // Under the policy `Proceed` a mark is never refused.
                        let Ok(mark) = sweeper.mark(std::slice::from_ref(&key)) else { return };
                        std::thread::sleep(Duration::from_micros(self.commit));
                        sweeper.release(&mark);
                        written.fetch_add(1, Ordering::Relaxed);
                        next += every;
                        std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                });
            }
            for _ in 0..self.readers {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let render = || Ok::<_, std::convert::Infallible>("<p>hot</p>");
                        let Ok(served) = sweeper.fragment(&key, "hot.html").get_or_render(render);
                        let counter = match (served.outcome(), served.outcome().word()) {
                            (Outcome::Shared, _) => &shared,
                            (_, "hit") => &hits,
                            (_, "miss") => &misses,
                            _ => &bypasses,
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            let until = Instant::now() + Duration::from_secs(self.seconds);
            while Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
                let log = store.run(&[Op::get(0, "limits/t/hot:1")]);
                lengths.extend(log.first().and_then(|reply| reply.value()).map(|log| log.len()));
            }
            stop.store(true, Ordering::Relaxed);
        });
        lengths.sort_unstable();
        let at = |share: f64| lengths.get(((lengths.len() as f64 * share) as usize).min(lengths.len().saturating_sub(1))).copied();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reads = count(&hits) + count(&misses) + count(&bypasses) + count(&shared);
        let share = |part: u64| (part as f64 / reads.max(1) as f64 * 1_000.0).round() / 1_000.0;
        Ok(json!({
            "what": "hot", "store": self.place.word(), "seconds": self.seconds, "readers": self.readers,
            "writes_per_s": count(&written) / self.seconds, "reads_per_s": reads / self.seconds,
            "hit": share(count(&hits)), "shared": share(count(&shared)), "miss": share(count(&misses)), "bypass": share(count(&bypasses)),
            "log_p50": at(0.5), "log_p99": at(0.99), "log_max": lengths.last(),
        }))
    }
}
