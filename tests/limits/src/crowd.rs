//! A crowd of readers of one missed fragment: how often it is rendered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cachesweeper_core::{RecordKey, Stats, Sweeper};
use clap::Args;
use serde_json::{Value, json};

use crate::Failure;
use crate::measure::{Place, memory_peak, millis, warm_up};

/// A crowd of readers of one missed fragment.
#[derive(Debug, Args)]
pub(crate) struct Crowd {
    #[command(flatten)]
    place: Place,
    /// Readers of this process; all come at once.
    #[arg(long, default_value_t = 10_000)]
    readers: u32,
    /// Readers are threads with the blocking sweeper, not tasks.
    #[arg(long)]
    blocking: bool,
    /// How long a render takes, in milliseconds.
    #[arg(long, default_value_t = 50)]
    render: u64,
    /// Which fragment.
    #[arg(long, default_value_t = 1)]
    id: u64,
    /// When they come, in milliseconds since 1970; so that several processes can begin together.
    #[arg(long)]
    at: Option<u64>,
}

/// What the readers of a crowd have in common.
#[derive(Debug, Default)]
struct Tally {
    renders: AtomicU64,
    slowest: AtomicU64,
}

impl Tally {
    fn read(&self, started: Instant) {
        self.slowest.fetch_max(millis(started.elapsed()), Ordering::Relaxed);
    }
}

impl Crowd {
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let tally = Arc::new(Tally::default());
        let (before, stats) = if self.blocking { self.threads(&tally)? } else { self.tasks(&tally)? };
        Ok(json!({
            "what": "crowd", "store": self.place.word(), "face": if self.blocking { "blocking" } else { "async" },
            "readers": self.readers, "renders": tally.renders.load(Ordering::Relaxed), "slowest_ms": tally.slowest.load(Ordering::Relaxed),
            "hits": stats.hits - before.hits, "shared": stats.shared - before.shared, "misses": stats.misses - before.misses,
            "bypasses": stats.bypasses - before.bypasses, "batches": stats.round_trips - before.round_trips,
            "store_errors": stats.store_errors, "peak_mib": memory_peak()?,
        }))
    }

    fn until_it_begins(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at.map_or(Duration::ZERO, |at| Duration::from_millis(at).saturating_sub(now))
    }

    fn key(&self) -> RecordKey {
        RecordKey::new("crowd", self.id)
    }

    fn threads(&self, tally: &Tally) -> Result<(Stats, Stats), Failure> {
        let sweeper = self.place.sweeper(self.place.store())?;
        let (before, barrier) = (sweeper.stats(), Barrier::new(self.readers as usize + 1));
        std::thread::scope(|scope| {
            for _ in 0..self.readers {
                scope.spawn(|| {
                    barrier.wait();
                    let started = Instant::now();
                    let served = sweeper.fragment(self.key(), "crowd.html").get_or_render(|| {
                        tally.renders.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(self.render));
                        Ok::<_, std::convert::Infallible>("<p>crowd</p>")
                    });
                    let Ok(_) = served;
                    tally.read(started);
                });
            }
            std::thread::sleep(self.until_it_begins());
            barrier.wait();
        });
        Ok((before, sweeper.stats()))
    }

    #[tokio::main]
    async fn tasks(&self, tally: &Arc<Tally>) -> Result<(Stats, Stats), Failure> {
        let builder = Sweeper::builder().namespace("limits").graph(Default::default());
        let sweeper = match &self.place.memcached {
            Some(server) => builder.memcached([server.clone()]).build()?,
            None => builder.memory(64 << 20).build()?,
        };
        let blocking = sweeper.blocking().ok_or("both stores serve both faces")?;
        tokio::task::spawn_blocking(move || warm_up(&blocking)).await??;
        tokio::time::sleep(self.until_it_begins()).await;
        let (before, mut readers) = (sweeper.stats(), tokio::task::JoinSet::new());
        for _ in 0..self.readers {
            let (sweeper, tally, key, render) = (sweeper.clone(), tally.clone(), self.key(), Duration::from_millis(self.render));
            readers.spawn(async move {
                let started = Instant::now();
                let served = sweeper.fragment(key, "crowd.html").get_or_render(async || {
                    tally.renders.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(render).await;
                    Ok::<_, std::convert::Infallible>("<p>crowd</p>")
                });
                let Ok(_) = served.await;
                tally.read(started);
            });
        }
        while let Some(joined) = readers.join_next().await {
            joined?;
        }
        Ok((before, sweeper.stats()))
    }
}
