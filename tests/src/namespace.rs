//! Namespaces whose quarantine is over. Every test has one of its own, and would wait for it; so some are kept ready.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::registry::Graph;
use cachesweeper_core::{Builder, RecordKey};

use crate::database::unique;
use crate::site::quick;

/// How many are kept ready for each list of servers.
const STOCK: usize = 24;

static READY: Mutex<Option<HashMap<Vec<String>, VecDeque<String>>>> = Mutex::new(None);

/// A namespace that nobody else uses, on these servers (none for the memory store). Its quarantine has begun, if there is one.
pub(crate) fn take(servers: &[String]) -> String {
    if servers.is_empty() {
        return unique("ns");
    }
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    let stock = ready.get_or_insert_with(HashMap::new).entry(servers.to_vec()).or_default();
    // Three for one taken, until there are enough: a run of one test does not pay for all.
    for _ in 0..3 {
        if stock.len() < STOCK {
            stock.push_back(begin(servers));
        }
    }
    stock.pop_front().unwrap_or_else(|| begin(servers))
}

/// Looks fragments up until every server has a marker with a quarantine.
fn begin(servers: &[String]) -> String {
    let name = unique("ns");
    let builder: Builder<Sweeper> = quick(Sweeper::builder()).namespace(&name).graph(Graph::default());
    let sweeper = builder.memcached(servers.to_vec()).build().expect("a sweeper");
    for id in 0..16 {
        for _ in 0..2 {
            let on = RecordKey::new("warmup", id);
            let rendered = sweeper.fragment(on, "warmup").get_or_render(|| Ok::<_, std::convert::Infallible>(""));
            rendered.unwrap_or_else(|never| match never {});
        }
    }
    name
}
