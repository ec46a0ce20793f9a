//! Lookups that hit, on memcached, beside the floor for the same items.

use std::cell::RefCell;

use cachesweeper_bench::Failure;
use cachesweeper_bench::floor::Request;
use cachesweeper_bench::measure::{Contestant, in_turns};
use cachesweeper_bench::report::{Report, Table};
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, article, body, comments, items, notes};
use cachesweeper_bench::sweepers::{Cost, NoHit, fill};
use cachesweeper_core::{CacheSweep, Stats, Sweeper, blocking};
use serde_json::json;

use crate::{Bed, Cli};

const COLUMNS: &[&str] =
    &["page", "items", "floor mg, µs", "floor get, µs", "face", "µs", "p90, µs", "ratio", "round trips", "store operations"];

pub(crate) fn measure(cli: &Cli, report: &Report, bed: &mut Bed) -> Result<(), Failure> {
    const TITLE: &str = "lookups, all hits, on memcached (ratio: to the faster floor)";
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, COLUMNS);
    let faces = faces(bed);
    let mut page = Page { cli, bed, faces, table: &table };
    page.measure("outer fragment of 10 KiB, counter", &[article()], "article.html", &body(10 * BODY))?;
    page.measure("outer fragment of 1 KiB, counter", &[article()], "teaser.html", &body(BODY))?;
    for count in [10, 100, 1_000] {
        page.measure(&format!("{count} comments, counter"), &comments(count), COMMENT_HTML, &body(BODY))?;
    }
    for count in [10, 100, 1_000] {
        page.measure(&format!("{count} notes, updated_at"), &notes(count), "note.html", &body(BODY))?;
    }
    Ok(())
}

/// A sweeper that is timed.
enum Face {
    Blocking(blocking::Sweeper),
    Async(Sweeper),
}

impl Face {
    fn stats(&self) -> Stats {
        match self {
            Self::Blocking(sweeper) => sweeper.stats(),
            Self::Async(sweeper) => sweeper.stats(),
        }
    }
}

/// The sweepers that are timed, by their names in the table.
fn faces(bed: &Bed) -> Vec<(&'static str, Face)> {
    vec![
        ("blocking", Face::Blocking(bed.blocking.clone())),
        ("async", Face::Async(bed.tasks.clone())),
        ("blocking, near cache", Face::Blocking(bed.near.clone())),
        ("async, near cache", Face::Async(bed.near_tasks.clone())),
    ]
}

/// One lookup of all rows' fragments; an error if any of them is no hit.
pub(crate) fn look_up<T: CacheSweep>(sweeper: &blocking::Sweeper, rows: &[T], name: &str) -> Result<(), NoHit> {
    match rows {
        [row] => drop(sweeper.fragment(row, name).get_or_render(|| Err::<String, _>(NoHit))?),
        _ => drop(sweeper.fragments(rows, name).get_or_render(|_| Err::<Vec<String>, _>(NoHit))?),
    }
    Ok(())
}

/// The same for the async face.
pub(crate) async fn look_up_async<T: CacheSweep>(sweeper: &Sweeper, rows: &[T], name: &str) -> Result<(), NoHit> {
    match rows {
        [row] => drop(sweeper.fragment(row, name).get_or_render(async || Err::<String, _>(NoHit)).await?),
        _ => drop(sweeper.fragments(rows, name).get_or_render(async |_: &[&T]| Err::<Vec<String>, _>(NoHit)).await?),
    }
    Ok(())
}

struct Page<'a> {
    cli: &'a Cli,
    bed: &'a mut Bed,
    faces: Vec<(&'static str, Face)>,
    table: &'a Table<'a>,
}

impl Page<'_> {
    fn measure<T: CacheSweep>(&mut self, what: &str, rows: &[T], name: &str, body: &str) -> Result<(), Failure> {
        let Bed { floor, blocking, runtime, .. } = &mut *self.bed;
        fill(blocking, rows, name, body)?;
        let items = items(rows, name);
        let (meta, multi, count) = (Request::meta_gets(&items), Request::multi_get(&items), items.len());
        let before: Vec<Stats> = self.faces.iter().map(|(_, face)| face.stats()).collect();
        let floor = RefCell::new(floor);
        let raw = |request: &Request, calls: u32| {
            for _ in 0..calls {
                let values = floor.borrow_mut().exchange(request)?;
                if values != count {
                    return Err(format!("the floor has found {values} of {count} items").into());
                }
            }
            Ok(())
        };
        let mut contestants =
            vec![Contestant::new("floor mg", |calls| raw(&meta, calls)), Contestant::new("floor get", |calls| raw(&multi, calls))];
        contestants.extend(self.faces.iter().map(|(face, sweeper)| match sweeper {
            Face::Blocking(sweeper) => Contestant::new(*face, |calls| {
                for _ in 0..calls {
                    look_up(sweeper, rows, name)?;
                }
                Ok(())
            }),
            Face::Async(sweeper) => Contestant::new(*face, |calls| {
                runtime.block_on(async {
                    for _ in 0..calls {
                        look_up_async(sweeper, rows, name).await?;
                    }
                    Ok(())
                })
            }),
        }));
        let timings = in_turns(&mut contestants, self.cli.budget())?;
        let (mg, get) = (timings[0], timings[1]);
        for (((face, sweeper), before), timing) in self.faces.iter().zip(&before).zip(&timings[2..]) {
            let cost = Cost::between(before, &sweeper.stats(), timing.calls);
            self.table.row(&[
                json!(what),
                json!(count),
                json!(mg.micros()),
                json!(get.micros()),
                json!(face),
                json!(timing.micros()),
                json!(timing.p90 / 1_000.0),
                json!(timing.median / mg.median.min(get.median)),
                json!(cost.trips),
                json!(cost.operations),
            ])?;
        }
        Ok(())
    }
}
