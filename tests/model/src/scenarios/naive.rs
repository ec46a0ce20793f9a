//! Schemes that others use, or that look simpler: each must be found stale by the same readers, database and store.

use cachesweeper_core::Micros;

use super::protocol::{late_nested, nested, strict};
use super::{Scenario, Set, pages, readers, shared, writers};
use crate::setup::{Scheme, Setup, Style};

use Set::{Full, Small};

const fn stale(name: &'static str, about: &'static str, make: fn(&mut Setup)) -> Scenario {
    Scenario::stale(Small, name, about, make)
}

pub(super) const ALL: &[Scenario] = &[
    stale("naive: bump in after_save", "the version is raised by the hook, before COMMIT: a reader refills in between", |s| {
        s.writers[0].style = Style::BumpInHook;
    }),
    stale("naive: bump after COMMIT", "the version is raised after COMMIT: the writer dies in between", |s| {
        s.writers[0].style = Style::BumpAfterCommit;
        s.budget.crash = 1;
    }),
    stale("naive: single flag", "one held flag instead of named marks: the first release ends both holds", |s| {
        writers(s, 2);
        s.writers[1].style = Style::Autocommit;
        s.filled = true;
        s.scheme = Scheme::SingleFlag;
    }),
    stale("naive: restart at 1", "a version that was evicted begins again where it began", |s| {
        s.budget.evict = 1;
        s.scheme = Scheme::RestartAtOne;
    }),
    stale("naive: blind set", "marks and releases overwrite the log", |s| {
        writers(s, 2);
        s.writers[1].style = Style::Autocommit;
        s.filled = true;
        s.scheme = Scheme::BlindSet;
    }),
    stale("naive: no marker", "nothing tells that a node has lost its memory", |s| {
        s.rules.markers = false;
        s.budget.restart = 1;
    }),
    Scenario::stale(Full, "naive: marker read first", "the marker is read before the logs: the node restarts in between", |s| {
        s.budget.restart = 1;
        s.scheme = Scheme::MarkerFirst;
    }),
    stale("naive: release born with its mark", "a release carries its mark's birth: a page takes it for older than it is", |s| {
        pages(s);
        s.scheme = Scheme::ReleaseBornWithMark;
    }),
    stale("naive: flights by key", "a flight is joined by the fragment's key alone", |s| {
        shared(s);
        s.budget.pause = 1;
        s.scheme = Scheme::FlightByKey;
    }),
    stale("naive: joining a running bypass", "a render that is not stored is joined while it runs", |s| {
        shared(s);
        s.budget.pause = 1;
        s.scheme = Scheme::JoinRunningBypass;
    }),
    stale("naive: tokens read again", "a fill uses tokens that were read after the data", |s| {
        s.budget.pause = 1;
        s.scheme = Scheme::TokensReadAgain;
    }),
    stale("naive: no taint", "a fragment is stored although one inside of it was served stale", |s| {
        nested(s);
        s.fragments[1].serve_stale = Some(2);
        s.filled = true;
        readers(s, &[0, 0]);
        s.scheme = Scheme::NoTaint;
    }),
    stale("naive: one-step quarantine", "strict mode: a log is added with its quarantine in it, and the add lands late", |s| {
        strict(s);
        s.budget.evict = 2;
        s.budget.cut = 1;
        s.scheme = Scheme::OneStepQuarantine;
    }),
    stale("naive: pages trust a head's birth", "a page takes a head as settled at its birth, though it may have landed later", |s| {
        readers(s, &[0]);
        pages(s);
        s.budget.evict = 2;
        s.budget.cut = 1;
        s.rules.landing = Micros(0);
        s.late_landing = 1;
    }),
    Scenario::stale(
        Small,
        "naive: releases one by one",
        "a late COMMIT's logs are invalidated one after the other: an old fragment is kept inside a new one",
        |s| {
            late_nested(s);
            s.scheme = Scheme::ReleaseOneByOne;
        },
    ),
];
