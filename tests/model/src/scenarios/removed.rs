//! The conditions of the README, taken away one at a time: each must be found stale.

use cachesweeper_core::Policy;

use super::protocol::{article_moves, siblings, skewed};
use super::{Scenario, Set, pages, readers, rows, writers};
use crate::setup::{Claim, Fragment, Setup, Style, Writer};

use Set::Small;

const fn stale(name: &'static str, about: &'static str, make: fn(&mut Setup)) -> Scenario {
    Scenario::stale(Small, name, about, make)
}

pub(super) const ALL: &[Scenario] = &[
    stale("without 1: clocks", "a reader's clock is ahead by one tick more than is allowed", |s| skewed(s, 2)),
    stale("without 2: COMMIT in time", "COMMIT takes effect after the hold, unrenewed: G-commit", |s| s.late_commit = true),
    stale("without 2: holds kept", "a log with an open hold is evicted, without strict mode: G-commit", |s| {
        s.evict_held = true;
        s.budget.evict = 1;
    }),
    stale("without 2: no ancestor moves", "an article moves while its comment is saved: G-commit", |s| {
        article_moves(s);
        readers(s, &[1]);
    }),
    stale("without 2: a transaction", "a child is moved while it is saved outside a transaction: G-commit", |s| {
        siblings(s);
        s.writers[1] = Writer { row: 2, style: Style::Autocommit, ..s.writers[1] };
        readers(s, &[1]);
    }),
    stale("without 3: nodes answer", "policy Proceed, and the node could not be reached for the mark", |s| {
        s.health = true;
        s.policy = Policy::Proceed;
        s.budget.cut = 1;
        s.writers[0].process = 4;
        s.claims = vec![Claim::Ack];
    }),
    stale("without 4: a fresh snapshot", "the data are read by a snapshot that is older than the lookup", |s| s.old_snapshot = true),
    stale("without 5: hooks", "a write goes past the hooks", |s| s.writers[0].style = Style::Unseen),
    stale("without 6: dependencies", "a fragment shows a row that it does not name", |s| {
        rows(s, &[None, None]);
        s.fragments = vec![Fragment { shows: vec![0, 1], ..Fragment::of(&[0]) }];
        s.writers[0].row = 1;
    }),
    stale("without 7: messages in time", "a message lands later than the longest hold", |s| {
        pages(s);
        s.budget.evict = 2;
        s.budget.cut = 1;
        s.late_landing = 2;
    }),
    stale("without 7: only once", "a message arrives again after its item was evicted", |s| {
        s.budget.evict = 2;
        s.budget.duplicate = 1;
    }),
    stale("without 7: the store forgets", "a node restarts with old content", |s| s.budget.restore = 1),
    stale("explore: evicted hold, G-ack", "evict held + crash", |s| {
        s.evict_held = true;
        s.budget.evict = 1;
        s.budget.crash = 1;
        s.claims = vec![Claim::Ack];
    }),
    stale("explore: evicted hold and lost release, G-ack", "evict held + cut", |s| {
        s.evict_held = true;
        s.budget.evict = 1;
        s.budget.cut = 1;
        s.claims = vec![Claim::Ack];
    }),
    stale("explore: two writers plain", "x", |s| {
        writers(s, 2);
        s.writers[1].style = Style::Plain;
    }),
];
