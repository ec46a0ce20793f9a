//! Bodies that processes keep beside the store: as fresh as without.

use super::protocol::{nested, never, strict, two_nodes};
use super::{Scenario, Set, pages, readers, writers};
use crate::seen::Seen::{self, NearChanged, NearHit};
use crate::setup::{Evicted, Setup};

use Set::{Full, Small};

/// Processes keep bodies near. The store has the fragments from the beginning.
fn near(s: &mut Setup) {
    s.near = true;
    s.filled = true;
}

const BOTH: &[Seen] = &[NearHit, NearChanged];

pub(super) const ALL: &[Scenario] = &[
    never(Small, "near", "processes keep bodies, and fetch only the tokens of what they have", BOTH, near),
    never(Small, "near, crash", "the same, and the writer is killed", BOTH, |s| {
        near(s);
        s.budget.crash = 1;
    }),
    never(Small, "near, restart", "the same, and the node restarts or is flushed: what was kept survives it", BOTH, |s| {
        near(s);
        s.budget.restart = 1;
        s.ticks = 3;
        readers(s, &[0]);
    }),
    never(Full, "near, restart, two readers", "the same with two processes", BOTH, |s| {
        near(s);
        s.budget.restart = 1;
        s.ticks = 3;
    }),
    never(Full, "near, eviction", "the same, and any item is evicted", BOTH, |s| {
        near(s);
        s.evicted = Evicted::Any;
        s.budget.evict = 2;
        readers(s, &[0]);
    }),
    never(Full, "near, strict, evicted hold", "strict mode: a log with an open hold is evicted, and bodies are kept", BOTH, |s| {
        strict(s);
        near(s);
        s.evict_held = true;
        s.budget.evict = 1;
        readers(s, &[0]);
    }),
    never(Full, "near, lost replies", "the same, and a connection breaks at any message", BOTH, |s| {
        near(s);
        s.budget.cut = 1;
        readers(s, &[0]);
    }),
    never(Small, "near, pages", "pages keep bodies too", BOTH, |s| {
        pages(s);
        near(s);
        s.ticks = 3;
        readers(s, &[0]);
        pages(s);
    }),
    never(Full, "near, nested", "a fragment inside of its parent's, and both are kept", BOTH, |s| {
        nested(s);
        near(s);
        readers(s, &[0]);
    }),
    never(Small, "near, two nodes", "one fragment of two records on two nodes is kept", BOTH, |s| {
        two_nodes(s);
        near(s);
        readers(s, &[0]);
    }),
    never(Full, "near, two nodes, restart", "the same, and one of the two nodes restarts", BOTH, |s| {
        two_nodes(s);
        near(s);
        s.budget.restart = 1;
        readers(s, &[0]);
    }),
    never(Full, "near, two writers", "two writers of one record, one is killed", BOTH, |s| {
        writers(s, 2);
        near(s);
        s.budget.crash = 1;
        readers(s, &[0]);
    }),
];
