//! Many callers at once, each looking up one page of 10 fragments after the other, all hits, beside raw clients.
//!
//! ```text
//! cargo bench -p cachesweeper-bench --bench throughput      # on one core, then on two
//! ```
//!
//! The floor's callers are threads with a connection each, at most 64 of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cachesweeper_bench::Failure;
use cachesweeper_bench::entities::graph;
use cachesweeper_bench::floor::{Floor, Request};
use cachesweeper_bench::options::{Common, Options, run};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, Comment, body, comments, items};
use cachesweeper_bench::servers::{Memcached, THREADS};
use cachesweeper_bench::sweepers::{NoHit, fill, impatient};
use cachesweeper_core::{Sweeper, blocking};
use clap::Parser;
use serde_json::json;
use tokio::runtime::Runtime;

/// Measures how many pages many callers get in a second.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// How long to measure each figure, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many callers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 256])]
    callers: Vec<usize>,
}

impl Options for Cli {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The most connections of the floor.
const MOST_RAW: usize = 64;
/// Each figure is measured in so many parts, in turns with the others.
const TURNS: u32 = 2;

fn main() -> Result<(), Failure> {
    run(|cli: &Cli, report: &Report| {
        const TITLE: &str = "pages of 10 fragments in a second (ratio: the faster floor's to ours)";
        if !report.wants(TITLE) {
            return Ok(());
        }
        let server = Memcached::start(512, THREADS)?;
        let address = server.address();
        let blocking = impatient(blocking::Sweeper::builder()).memcached([address]).graph(graph()?).build()?;
        let tasks = impatient(Sweeper::builder()).memcached([address]).graph(graph()?).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let rows: Arc<[Comment]> = comments(10).into();
        fill(&blocking, &rows, COMMENT_HTML, &body(BODY))?;
        let items = items(&rows, COMMENT_HTML);
        let floors = [Request::meta_gets(&items), Request::multi_get(&items)];
        println!("\nmemcached {} with {THREADS} threads; async on a runtime with two workers.", server.version()?);

        let columns = &["callers", "floor's", "floor mg", "floor get", "blocking", "ratio", "async", "ratio of async"];
        let table = report.table(TITLE, columns);
        for &callers in &cli.callers {
            let (raw, part) = (callers.min(MOST_RAW), Duration::from_secs_f64(cli.seconds / f64::from(TURNS)));
            let mut rates = [0.0; 4];
            for _ in 0..TURNS {
                let [meta, multi, threaded, tasked] = &mut rates;
                for (rate, request) in [(meta, &floors[0]), (multi, &floors[1])] {
                    *rate += raw_clients(address, request, items.len(), raw, part)?;
                }
                *threaded += threads(callers, part, || {
                    let look_up = || blocking.fragments(&rows, COMMENT_HTML).get_or_render(|_| Err::<Vec<String>, _>(NoHit));
                    Ok(move || look_up().map(drop).map_err(Failure::from))
                })?;
                *tasked += many_tasks(&runtime, &tasks, &rows, callers, part)?;
            }
            let [meta, multi, threaded, tasked] = rates.map(|rate| rate / f64::from(TURNS));
            let fastest = meta.max(multi);
            let whole = |rate: f64| json!(rate.round() as u64);
            table.row(&[
                json!(callers),
                json!(raw),
                whole(meta),
                whole(multi),
                whole(threaded),
                json!(fastest / threaded),
                whole(tasked),
                json!(fastest / tasked),
            ])?;
        }
        Ok(())
    })
}

/// How often in a second threads can call what `make` has made for each of them.
fn threads<C>(count: usize, length: Duration, make: impl Fn() -> Result<C, Failure> + Sync) -> Result<f64, Failure>
where
    C: FnMut() -> Result<(), Failure>,
{
    let (stop, total, barrier) = (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(count + 1));
    let one = || {
        let made = make().and_then(|mut call| {
            // It connects.
            call()?;
            Ok(call)
        });
        barrier.wait();
        let (mut call, mut calls) = (made?, 0);
        while !stop.load(Ordering::Relaxed) {
            call()?;
            calls += 1;
        }
        total.fetch_add(calls, Ordering::Relaxed);
        Ok::<_, Failure>(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        barrier.wait();
        let started = Instant::now();
        std::thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
        for thread in running {
            thread.join().map_err(|_| "a thread has panicked")??;
        }
        Ok(total.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
    })
}

fn raw_clients(address: &str, request: &Request, items: usize, count: usize, length: Duration) -> Result<f64, Failure> {
    threads(count, length, || {
        let mut floor = Floor::connect(address)?;
        Ok(move || if floor.exchange(request)? == items { Ok(()) } else { Err("the floor has not found all items".into()) })
    })
}

fn many_tasks(runtime: &Runtime, sweeper: &Sweeper, rows: &Arc<[Comment]>, count: usize, length: Duration) -> Result<f64, Failure> {
    let (stop, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let started = Instant::now();
        for _ in 0..count {
            let (sweeper, rows, stop, total) = (sweeper.clone(), rows.clone(), stop.clone(), total.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let none = async |_: &[&Comment]| Err::<Vec<String>, _>(NoHit);
                    sweeper.fragments(&rows, COMMENT_HTML).get_or_render(none).await?;
                    total.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, NoHit>(())
            });
        }
        tokio::time::sleep(length).await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(total.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
    })
}
