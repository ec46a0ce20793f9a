//! Misses and sweeps on memcached, beside the same commands sent raw.

use std::cell::RefCell;

use cachesweeper_bench::Failure;
use cachesweeper_bench::floor::Request;
use cachesweeper_bench::measure::{Contestant, in_turns};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::rows::{BODY, NAMESPACE, body, comments, items};
use cachesweeper_bench::sweepers::{Cost, fill};
use cachesweeper_core::face::Face;
use cachesweeper_core::keys::Namespace;
use cachesweeper_core::{RecordKey, Rendered};
use serde_json::json;

use crate::{Bed, Cli};

const COLUMNS: &[&str] = &["what", "floor, µs", "face", "µs", "p90, µs", "ratio", "round trips", "store operations"];

/// 100 fragments that are missing: looked up, leased and filled.
pub(crate) fn misses(cli: &Cli, report: &Report, bed: &mut Bed) -> Result<(), Failure> {
    const TITLE: &str = "misses on memcached (floor: lookup, leases and fills in three raw batches)";
    const NAME: &str = "missing.html";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, COLUMNS);
    let Bed { floor, blocking, tasks, runtime, .. } = bed;
    let (rows, html) = (comments(100), body(BODY));
    fill(blocking, &rows, NAME, &html)?;
    let items = items(&rows, NAME);
    let (lookup, mut leases, mut fills, mut deletes) =
        (Request::meta_gets(&items), Request::default(), Request::default(), Request::default());
    let fragments = &items[rows.len()..2 * rows.len()];
    for (position, key) in fragments.iter().enumerate() {
        // As long as a lease's own.
        let lease = format!("{NAMESPACE}/l/{position:032x}");
        leases.push(format!("ms {lease} 1 ME T3\r\n1\r\n").as_bytes());
        fills.push(format!("ms {key} {} T86400\r\n{html}\r\n", html.len()).as_bytes());
        fills.push(format!("md {lease}\r\n").as_bytes());
        deletes.push(format!("md {key}\r\n").as_bytes());
    }
    let floor = RefCell::new(floor);
    let empty = || {
        floor.borrow_mut().exchange(&deletes)?;
        Ok(())
    };
    let before = [blocking.stats(), tasks.stats()];
    let stored = |served: Vec<Rendered>| match served.iter().find(|served| served.outcome().word() != "miss") {
        Some(other) => Err(Failure::from(format!("a fragment that was deleted was a {:?}", other.outcome()))),
        None => Ok(()),
    };
    let render = |missing: usize| Ok::<_, Failure>(vec![html.clone(); missing]);
    let mut contestants = [
        Contestant::prepared("floor", empty, || {
            let mut floor = floor.borrow_mut();
            floor.exchange(&lookup)?;
            floor.exchange(&leases)?;
            floor.exchange(&fills)?;
            Ok(())
        }),
        Contestant::prepared("blocking", empty, || stored(blocking.fragments(&rows, NAME).get_or_render(|missing| render(missing.len()))?)),
        Contestant::prepared("async", empty, || {
            stored(runtime.block_on(tasks.fragments(&rows, NAME).get_or_render(async |missing: &[_]| render(missing.len())))?)
        }),
    ];
    let timings = in_turns(&mut contestants, cli.budget())?;
    let after = [blocking.stats(), tasks.stats()];
    for (position, face) in ["blocking", "async"].into_iter().enumerate() {
        let timing = timings[1 + position];
        let cost = Cost::between(&before[position], &after[position], timing.calls);
        table.row(&[
            json!("100 missing fragments of 1 KiB"),
            json!(timings[0].micros()),
            json!(face),
            json!(timing.micros()),
            json!(timing.p90 / 1_000.0),
            json!(timing.median / timings[0].median),
            json!(cost.trips),
            json!(cost.operations),
        ])?;
    }
    Ok(())
}

/// What a save costs around its COMMIT.
pub(crate) fn sweeps(cli: &Cli, report: &Report, bed: &mut Bed) -> Result<(), Failure> {
    const TITLE: &str = "sweeps on memcached (floor: the same commands in two raw batches)";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, COLUMNS);
    let Bed { floor, blocking, tasks, runtime, .. } = bed;
    let records = ["vote", "comment", "article"].map(|entity| RecordKey::new(entity, 1));
    let (mut fresh, mut marks, mut releases) = (Request::default(), Request::default(), Request::default());
    for entity in ["raw-vote", "raw-comment", "raw-article"] {
        let key = Namespace::new(NAMESPACE).log(&RecordKey::new(entity, 1));
        let (head, event) = ("=".repeat(17), "+".repeat(25));
        fresh.push(format!("ms {key} 17 T86400\r\n{head}\r\n").as_bytes());
        for request in [&mut marks, &mut releases] {
            request.push(format!("mg {key} T86400\r\n").as_bytes());
            request.push(format!("ms {key} 25 MA\r\n{event}\r\n").as_bytes());
        }
        // In case that there is no log.
        marks.push(format!("ms {key} 42 ME T86400\r\n{head}{event}\r\n").as_bytes());
    }
    let floor = RefCell::new(floor);
    let renew = || {
        floor.borrow_mut().exchange(&fresh)?;
        Ok(())
    };
    let before = [blocking.stats(), tasks.stats()];
    let mut contestants = [
        Contestant::prepared("floor", renew, || {
            let mut floor = floor.borrow_mut();
            floor.exchange(&marks)?;
            floor.exchange(&releases)?;
            Ok(())
        }),
        Contestant::new("blocking", |calls| {
            for _ in 0..calls {
                let mark = blocking.mark(&records)?;
                blocking.release(&mark);
            }
            Ok(())
        }),
        Contestant::new("async", |calls| {
            runtime.block_on(async {
                for _ in 0..calls {
                    let mark = Face::mark(tasks, &records).await?;
                    Face::release(tasks, &mark).await;
                }
                Ok(())
            })
        }),
    ];
    let timings = in_turns(&mut contestants, cli.budget())?;
    let after = [blocking.stats(), tasks.stats()];
    for (position, face) in ["blocking", "async"].into_iter().enumerate() {
        let (timing, after) = (timings[1 + position], &after[position]);
        if after.marks_failed > 0 || after.store_errors > 0 {
            return Err(format!("marks have failed: {after:?}").into());
        }
        let cost = Cost::between(&before[position], after, timing.calls);
        table.row(&[
            json!("a vote, its comment and its article: mark and release"),
            json!(timings[0].micros()),
            json!(face),
            json!(timing.micros()),
            json!(timing.p90 / 1_000.0),
            json!(timing.median / timings[0].median),
            json!(cost.trips),
            json!(cost.operations),
        ])?;
    }
    Ok(())
}
