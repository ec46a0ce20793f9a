//! What grows with the store's work: fragments of a page, records of a sweep, nodes.

use std::time::Duration;

use cachesweeper_bench::Failure;
use cachesweeper_bench::distance::relay;
use cachesweeper_bench::entities::graph;
use cachesweeper_bench::measure::{forget_memory_peak, memory_peak};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, NAMESPACE, body, comments};
use cachesweeper_bench::servers::{Memcached, THREADS};
use cachesweeper_bench::shape::Curve;
use cachesweeper_bench::sweepers::{Cost, NoHit, fill, impatient};
use cachesweeper_core::{RecordKey, Sweeper, blocking};
use serde_json::json;

use crate::curve::conclude;
use crate::{Cli, doublings, steps};

/// Bytes of the memory store: enough for everything here.
const MEMORY: u64 = 2 << 30;

pub(crate) fn fragments(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "fragments of a page, all hits, blocking";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let columns = &["store", "fragments", "µs", "µs a fragment", "round trips", "store operations", "MiB before", "MiB, peak"];
    let table = report.table(TITLE, columns);
    let server = Memcached::start(1_024, THREADS)?;
    let memory = blocking::Sweeper::builder().memory(MEMORY).namespace(NAMESPACE).graph(graph()?).build()?;
    let remote = impatient(blocking::Sweeper::builder()).memcached([server.address()]).graph(graph()?).build()?;
    let (rows, html) = (comments(cli.fragments), body(BODY));
    let mut curves = Vec::new();
    for (store, sweeper) in [("memcached", &remote), ("memory", &memory)] {
        let mut curve = Curve::new(store);
        for count in steps(cli.fragments) {
            let rows = &rows[..count];
            fill(sweeper, rows, COMMENT_HTML, &html)?;
            forget_memory_peak()?;
            let at_start = memory_peak()?;
            let (before, mut calls) = (sweeper.stats(), 0);
            let micros = cli.micros(|| {
                calls += 1;
                sweeper.fragments(rows, COMMENT_HTML).get_or_render(|_| Err::<Vec<String>, _>(NoHit))?;
                Ok(())
            })?;
            let (cost, each) = (Cost::between(&before, &sweeper.stats(), calls), micros / count as f64);
            curve.add(count, each);
            let cells = [json!(store), json!(count), json!(micros), json!(each)];
            table.row(&[&cells[..], &[json!(cost.trips), json!(cost.operations), json!(at_start), json!(memory_peak()?)]].concat())?;
        }
        curves.push(curve);
    }
    conclude(cli, "fragments.svg", TITLE, ("fragments", "µs a fragment"), &curves)
}

pub(crate) fn sweeps(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "records of a sweep, mark and release, blocking";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let columns = &["store", "records", "µs", "µs a record", "round trips", "store operations", "renewals"];
    let table = report.table(TITLE, columns);
    let server = Memcached::start(1_024, THREADS)?;
    // The holds as by default: marking many records takes its time. Writers do not wait for a node's quarantine.
    let build = || Ok::<_, Failure>(blocking::Sweeper::builder().namespace(NAMESPACE).graph(graph()?));
    let (memory, remote) = (build()?.memory(MEMORY).build()?, build()?.memcached([server.address()]).build()?);
    let records: Vec<RecordKey> = (0..cli.records).map(|id| RecordKey::new("vote", id)).collect();
    let mut curves = Vec::new();
    for (store, sweeper) in [("memcached", &remote), ("memory", &memory)] {
        let mut curve = Curve::new(store);
        for count in steps(cli.records) {
            let records = &records[..count];
            let (before, mut calls) = (sweeper.stats(), 0);
            let micros = cli.micros(|| {
                calls += 1;
                let mark = sweeper.mark(records)?;
                sweeper.release(&mark);
                Ok(())
            })?;
            let after = sweeper.stats();
            if after.marks_failed > 0 {
                return Err(format!("{} records could not be marked", after.marks_failed).into());
            }
            let (cost, each) = (Cost::between(&before, &after, calls), micros / count as f64);
            curve.add(count, each);
            let cells = [json!(store), json!(count), json!(micros), json!(each), json!(cost.trips), json!(cost.operations)];
            table.row(&[&cells[..], &[json!(after.renewals - before.renewals)]].concat())?;
        }
        curves.push(curve);
    }
    conclude(cli, "sweeps.svg", TITLE, ("records", "µs a record"), &curves)
}

pub(crate) fn nodes(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "memcached nodes, a page of 100 hits";
    const FAR: Duration = Duration::from_millis(2);
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, &["nodes", "where", "blocking, µs", "async, µs", "round trips of all nodes at once"]);
    let servers = (0..cli.nodes).map(|_| Memcached::start(64, THREADS)).collect::<Result<Vec<_>, _>>()?;
    let near: Vec<String> = servers.iter().map(|server| server.address().to_owned()).collect();
    let far = near.iter().map(|server| relay(server, FAR)).collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, html) = (comments(100), body(BODY));
    let mut curves = Vec::new();
    for (place, addresses) in [("near", &near), ("2 ms away", &far)] {
        let (mut threads, mut tasks) = (Curve::new(&format!("{place}, blocking")), Curve::new(&format!("{place}, async")));
        for count in doublings(cli.nodes) {
            let builder = impatient(Sweeper::builder()).memcached(&addresses[..count]).graph(graph()?);
            let sweeper = builder.build()?;
            let blocking = sweeper.blocking().ok_or("memcached serves both faces")?;
            fill(&blocking, &rows, COMMENT_HTML, &html)?;
            let (before, mut calls) = (sweeper.stats(), 0);
            let threaded = cli.micros(|| {
                calls += 1;
                blocking.fragments(&rows, COMMENT_HTML).get_or_render(|_| Err::<Vec<String>, _>(NoHit))?;
                Ok(())
            })?;
            let tasked = cli.micros(|| {
                calls += 1;
                let none = async |_: &[&_]| Err::<Vec<String>, _>(NoHit);
                runtime.block_on(sweeper.fragments(&rows, COMMENT_HTML).get_or_render(none))?;
                Ok(())
            })?;
            let cost = Cost::between(&before, &sweeper.stats(), calls);
            threads.add(count, threaded);
            tasks.add(count, tasked);
            table.row(&[json!(count), json!(place), json!(threaded), json!(tasked), json!(cost.trips)])?;
        }
        curves.extend([threads, tasks]);
    }
    conclude(cli, "nodes.svg", TITLE, ("nodes", "µs a page"), &curves)
}
