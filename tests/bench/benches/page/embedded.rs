//! One hit on the embedded store, beside a bare `get` of caches that know of no freshness.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};

use cachesweeper_bench::Failure;
use cachesweeper_bench::entities::graph;
use cachesweeper_bench::measure::{Contestant, in_turns};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, NAMESPACE, body, comments, items};
use cachesweeper_bench::sweepers::{NoHit, fill};
use cachesweeper_core::{CacheSweep, RecordKey, Sweeper, blocking};
use serde_json::json;

use crate::Cli;
use crate::lookups::{look_up, look_up_async};

/// How many fragments there are, all of them warm.
const KEYS: usize = 100;

pub(crate) fn measure(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "one hit on the embedded store, 100 fragments of 1 KiB (ratio: to the fastest bare get)";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, &["what", "ns", "p90, ns", "ratio"]);
    let (rows, html): (_, Arc<str>) = (comments(KEYS), body(BODY).into());
    let keys = items(&rows, COMMENT_HTML)[KEYS..2 * KEYS].to_vec();
    let quick = quick_cache::sync::Cache::<String, Arc<str>>::new(10 * KEYS);
    let moka = moka::sync::Cache::<String, Arc<str>>::new(10 * KEYS as u64);
    let mut map = HashMap::new();
    for key in &keys {
        quick.insert(key.clone(), html.clone());
        moka.insert(key.clone(), html.clone());
        map.insert(key.clone(), html.clone());
    }
    let map = RwLock::new(map);

    let blocking = blocking::Sweeper::builder().memory(64 << 20).namespace(NAMESPACE).graph(graph()?).build()?;
    fill(&blocking, &rows, COMMENT_HTML, &html)?;
    let records: Vec<RecordKey> = rows.iter().map(CacheSweep::record_key).collect();
    for record in &records {
        blocking.fragment(record, COMMENT_HTML).get_or_render(|| Ok::<_, NoHit>(&*html))?;
    }
    let tasks = Sweeper::builder().memory(64 << 20).namespace(NAMESPACE).graph(graph()?).build()?;
    fill(&tasks.blocking().ok_or("the memory store serves both faces")?, &rows, COMMENT_HTML, &html)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let mut contestants = [
        each("quick_cache, bare get", |index| black_box(quick.get(keys[index].as_str())).map(drop).ok_or(NoHit)),
        each("moka, bare get", |index| black_box(moka.get(keys[index].as_str())).map(drop).ok_or(NoHit)),
        each("RwLock<HashMap>, bare get", |index| {
            let map = map.read().map_err(|_| NoHit)?;
            black_box(map.get(keys[index].as_str()).cloned()).map(drop).ok_or(NoHit)
        }),
        each("blocking, row in hand (its digest included)", |index| look_up(&blocking, &rows[index..=index], COMMENT_HTML)),
        each("blocking, by key", |index| {
            black_box(blocking.fragment(&records[index], COMMENT_HTML).get_or_render(|| Err::<String, _>(NoHit)))?;
            Ok(())
        }),
        Contestant::new("async, row in hand (its digest included)", |calls| {
            runtime.block_on(async {
                for call in 0..calls as usize {
                    let index = call % KEYS;
                    look_up_async(&tasks, &rows[index..=index], COMMENT_HTML).await?;
                }
                Ok(())
            })
        }),
    ];
    let timings = in_turns(&mut contestants, cli.budget())?;
    let fastest = timings[..3].iter().map(|timing| timing.median).fold(f64::INFINITY, f64::min);
    for (contestant, timing) in contestants.iter().zip(&timings) {
        table.row(&[json!(contestant.name), json!(timing.median), json!(timing.p90), json!(timing.median / fastest)])?;
    }
    Ok(())
}

/// Calls with every key in turn.
fn each<'a>(name: &str, mut call: impl FnMut(usize) -> Result<(), NoHit> + 'a) -> Contestant<'a> {
    let mut next = 0;
    Contestant::new(name, move |calls| {
        for _ in 0..calls {
            next = (next + 1) % KEYS;
            call(next)?;
        }
        Ok(())
    })
}
