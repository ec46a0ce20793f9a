//! What grows with the entities: their number, and how deep a tree of them is.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::LazyLock;

use cachesweeper_bench::Failure;
use cachesweeper_bench::entities::{info, made};
use cachesweeper_bench::report::Report;
use cachesweeper_bench::rows::{BODY, COMMENT_HTML, NAMESPACE, body};
use cachesweeper_bench::shape::Curve;
use cachesweeper_bench::sweepers::NoHit;
use cachesweeper_core::climb::{self, Found, Parent, Rows, Seed, Table, climb};
use cachesweeper_core::face::now;
use cachesweeper_core::registry::{Entity, EntityInfo, Graph};
use cachesweeper_core::{RecordKey, Strategy, blocking};
use serde_json::json;

use crate::curve::conclude;
use crate::{Cli, doublings};

pub(crate) fn entities(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "entities of a graph, memory store";
    /// How many hits are timed at once.
    const HITS: u32 = 100;
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, &["entities", "start of a sweeper, µs", "hit on a leaf by key, µs"]);
    let name = |index: usize| format!("entity{index}");
    // Two parents each, so that there are many ways up.
    let parents = |index: usize| if index == 0 { Vec::new() } else { vec![name(index / 2), name(index / 3)] };
    let describe = |index: usize| {
        let parents = parents(index);
        info(&name(index), Strategy::Counter, &parents.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let all: Vec<&'static Entity> = (0..200).map(|index| made(describe(index))).collect();
    let (mut starts, mut hits) = (Curve::new("start of a sweeper"), Curve::new("hit on a leaf by key"));
    for count in [2, 6, 20, 60, 200] {
        let build = || {
            let graph = Graph::new(all[..count].iter().copied())?;
            Ok::<_, Failure>(blocking::Sweeper::builder().memory(64 << 20).namespace(NAMESPACE).graph(graph).build()?)
        };
        let start = cli.micros(|| build().map(drop))?;
        let (sweeper, leaf) = (build()?, RecordKey::new(&name(count - 1), 1));
        sweeper.fragment(&leaf, COMMENT_HTML).get_or_render(|| Ok::<_, NoHit>(body(BODY)))?;
        let hit = cli.micros(|| {
            for _ in 0..HITS {
                sweeper.fragment(&leaf, COMMENT_HTML).get_or_render(|| Err::<String, _>(NoHit))?;
            }
            Ok(())
        })? / f64::from(HITS);
        starts.add(count, start);
        hits.add(count, hit);
        table.row(&[json!(count), json!(start), json!(hit)])?;
    }
    conclude(cli, "entities.svg", TITLE, ("entities", "µs"), &[starts, hits])
}

static PAGES: Entity = Entity::new(|| EntityInfo { adapter: Some(&*TREE), ..info("page", Strategy::Counter, &["page"]) });
static TREE: LazyLock<Tree> = LazyLock::new(|| Tree(vec![Parent { entity: "page".into(), from: vec![1], to: vec!["id".into()] }]));

/// Pages, each below the one with the number before.
#[derive(Debug)]
struct Tree(Vec<Parent>);

impl Table for Tree {
    type Value = u32;

    fn parents(&self) -> &[Parent] {
        &self.0
    }

    fn is_primary_key(&self, columns: &[String]) -> bool {
        columns == ["id"]
    }

    fn is_exact(&self, _: &[String], _: &[u32]) -> bool {
        true
    }

    fn record(entity: &str, values: &[u32]) -> RecordKey {
        RecordKey::composite(entity, values.iter().map(ToString::to_string))
    }
}

/// A database that answers at once.
struct Pages;

fn parent_of(id: u32) -> Vec<(usize, Vec<u32>)> {
    id.checked_sub(1).map(|parent| (0, vec![parent])).into_iter().collect()
}

impl Rows for Pages {
    type Table = Tree;
    type Error = Infallible;

    fn find(&mut self, _: &'static Tree, _: &[String], values: Vec<Vec<u32>>) -> impl Future<Output = Found<Self>> + Send {
        let row = |key: Vec<u32>| climb::Row { record: Tree::record("page", &key), parents: parent_of(key[0]), key };
        ready(Ok(values.into_iter().map(row).collect()))
    }
}

pub(crate) fn depth(cli: &Cli, report: &Report) -> Result<(), Failure> {
    const TITLE: &str = "depth of a tree: the climb to its root, with a database that answers at once";
    /// How many climbs are timed at once.
    const CLIMBS: u32 = 10;
    if !report.wants(TITLE) {
        return Ok(());
    }
    let table = report.table(TITLE, &["depth", "µs", "µs a level"]);
    let graph = Graph::new([&PAGES])?;
    let sweeper = blocking::Sweeper::builder().memory(64 << 20).namespace(NAMESPACE).graph(graph).build()?;
    let mut curve = Curve::new("climb");
    for depth in doublings(32) {
        let id = u32::try_from(depth)?;
        let seeds = [Seed { entity: &PAGES, key: Some(Tree::record("page", &[id])), parents: parent_of(id) }];
        let micros = cli.micros(|| {
            for _ in 0..CLIMBS {
                let Ok(climbed) = now(climb(&sweeper, Pages, &seeds));
                if climbed.records.len() != depth + 1 {
                    return Err(format!("a climb of {depth} levels has found {} records", climbed.records.len()).into());
                }
            }
            Ok(())
        })? / f64::from(CLIMBS);
        curve.add(depth, micros);
        table.row(&[json!(depth), json!(micros), json!(micros / depth as f64)])?;
    }
    conclude(cli, "depth.svg", TITLE, ("depth", "µs a climb"), &[curve])
}
