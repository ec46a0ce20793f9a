//! The protocol as it is, within its conditions: never stale.

use cachesweeper_core::{Micros, Policy};

use super::{Scenario, Set, pages, readers, rows, shared, writers};
use crate::seen::Seen;
use crate::setup::{Change, Claim, Evicted, Fragment, Row, Setup, Style, Writer};

use Set::{Full, Small};

pub(super) const fn never(set: Set, name: &'static str, about: &'static str, sees: &'static [Seen], make: fn(&mut Setup)) -> Scenario {
    Scenario::never(set, name, about, sees, make)
}

/// Two rows, each on a node of its own, and one fragment of both.
pub(super) fn two_nodes(s: &mut Setup) {
    s.rows = vec![Row { parent: None, node: 0 }, Row { parent: None, node: 1 }];
    s.fragments = vec![Fragment::of(&[0, 1])];
    s.writers = vec![Writer { row: 1, ..s.writers[0] }];
}

/// A parent's fragment with its child's inside.
pub(super) fn nested(s: &mut Setup) {
    rows(s, &[None, Some(0)]);
    s.fragments = vec![Fragment { inner: Some(1), ..Fragment::of(&[0]) }, Fragment::of(&[1])];
    s.writers = vec![Writer { row: 1, ..s.writers[0] }];
}

/// A child's COMMIT returns after its hold; its fragment is inside of its parent's, which is on another node.
pub(super) fn late_nested(s: &mut Setup) {
    nested(s);
    s.rows[0].node = 1;
    s.late_commit = true;
    s.filled = true;
    s.claims = vec![Claim::Ack];
    readers(s, &[0]);
}

/// Two children of one parent: the first moves to another parent while the second is saved.
pub(super) fn siblings(s: &mut Setup) {
    rows(s, &[None, None, Some(0), Some(0)]);
    let first = s.writers[0];
    s.writers = vec![Writer { row: 2, change: Change::Move(1), ..first }, Writer { row: 3, process: 5, ..first }];
    s.fragments = vec![Fragment::of(&[0]), Fragment::of(&[1])];
}

/// A comment is saved while its article moves to another section.
pub(super) fn article_moves(s: &mut Setup) {
    rows(s, &[None, None, Some(0), Some(2)]);
    let first = s.writers[0];
    s.writers = vec![Writer { row: 3, ..first }, Writer { row: 2, change: Change::Move(1), process: 5, ..first }];
    s.fragments = vec![Fragment::of(&[0]), Fragment::of(&[1])];
    readers(s, &[1, 1]);
}

/// Everything times two: holds of two ticks, and clocks that differ by one.
pub(super) fn skewed(s: &mut Setup, ahead: u64) {
    s.rules.skew = Micros(1);
    s.ahead[1] = ahead;
    s.ticks = 4;
    readers(s, &[0, 0]);
}

/// Strict mode, in which a log with an open hold may be evicted.
pub(super) fn strict(s: &mut Setup) {
    s.rules.strict = true;
    s.evict_held = true;
    s.ticks = 3;
    readers(s, &[0]);
}

pub(super) const ALL: &[Scenario] = &[
    never(Small, "quiet", "one writer, two readers, no faults", &[Seen::BypassHeld, Seen::Fill], |_| {}),
    never(Small, "crash", "the writer is killed at any step", &[Seen::CrashEarly], |s| s.budget.crash = 1),
    never(Small, "abort", "the transaction is rolled back", &[], |s| s.budget.abort = 1),
    never(Small, "evicted log", "the log is evicted, but not with an open hold", &[], |s| s.budget.evict = 1),
    never(Small, "evicted marker", "the marker is evicted", &[Seen::BypassQuarantine], |s| {
        s.budget.evict = 1;
        s.evicted = Evicted::Markers;
    }),
    never(Small, "evicted fragment", "the fragment is evicted", &[], |s| {
        s.budget.evict = 1;
        s.evicted = Evicted::Fragments;
    }),
    never(Small, "restart", "the node restarts, or is flushed, at any moment", &[Seen::BypassQuarantine], |s| {
        s.budget.restart = 1;
        s.ticks = 3;
        s.filled = true;
    }),
    never(Small, "lost replies", "a connection breaks at any message; what was sent lands late, in part, or never", &[], |s| {
        s.budget.cut = 1
    }),
    never(Small, "duplicates", "any message arrives twice, the second time late", &[], |s| s.budget.duplicate = 1),
    never(Small, "pauses", "a process stands still between hearing or loading and going on", &[], |s| s.budget.pause = 1),
    never(Small, "renewal", "COMMIT takes longer than one hold, and the hold is renewed", &[], |s| {
        s.rules.hold = Micros(2);
        s.rules.longest_hold = Micros(2);
        s.budget.renew = 1;
        s.ticks = 4;
    }),
    never(Small, "unknown outcome", "COMMIT's outcome is unknown: it may take effect until the writer gives up", &[], |s| {
        s.budget.unknown = 1;
        s.budget.renew = 1;
        s.ticks = 3;
    }),
    never(Small, "compaction", "logs that are too long are compacted by readers", &[Seen::Compacted], |s| s.long_logs = true),
    never(Small, "compaction by marks", "logs that are too long are compacted by marks too", &[Seen::Compacted], |s| {
        s.long_logs = true;
        s.checking_marks = true;
    }),
    never(Small, "leases", "a lease elects one reader; its holder may go away", &[Seen::LeaseBusy], |s| {
        s.rules.leases = true;
        s.budget.leave = 1;
        s.ticks = 1;
        s.filled = true;
    }),
    never(Small, "flights", "callers of one process share renders; any of them may go away", &[Seen::Shared], |s| {
        shared(s);
        s.budget.leave = 1;
        s.ticks = 1;
    }),
    never(Small, "gathered bypasses", "three callers of one process share renders that are not stored", &[Seen::Gathered], |s| {
        readers(s, &[0, 0, 0]);
        shared(s);
        s.budget.pause = 1;
        s.ticks = 1;
        s.filled = true;
    }),
    never(Small, "serve_stale", "versions of bounded age are served under a hold", &[Seen::Stale], |s| {
        s.fragments[0].serve_stale = Some(1);
        s.claims.push(Claim::Bound);
        s.ticks = 3;
    }),
    never(Small, "pages", "pages load their data before the lookup", &[Seen::PageFill, Seen::TooEarly], |s| {
        pages(s);
        s.ticks = 3;
    }),
    never(Small, "nested", "a fragment inside of its parent's", &[], |s| {
        nested(s);
        readers(s, &[0]);
    }),
    never(
        Full,
        "nested, with serve_stale inside",
        "the inner fragment may be served stale; the outer may not",
        &[Seen::Tainted, Seen::Stale],
        |s| {
            nested(s);
            s.fragments[1].serve_stale = Some(2);
            readers(s, &[0, 0]);
            s.filled = true;
        },
    ),
    never(Small, "two nodes", "one fragment of two records on two nodes", &[], two_nodes),
    never(Small, "two nodes, restart", "one of the two nodes restarts", &[Seen::BypassQuarantine], |s| {
        two_nodes(s);
        readers(s, &[0]);
        s.budget.restart = 1;
    }),
    never(Full, "two writers", "two writers of one record", &[], |s| writers(s, 2)),
    never(Full, "two writers, crash", "two writers of one record, one is killed", &[], |s| {
        writers(s, 2);
        s.budget.crash = 1;
        s.ticks = 2;
        s.writers[1].style = Style::Autocommit;
        s.filled = true;
    }),
    never(Small, "a child moves", "a child moves while its sibling is saved: the new parent's fragment", &[Seen::Moved], |s| {
        siblings(s);
        readers(s, &[1]);
        s.filled = true;
    }),
    never(Full, "a child moves away", "a child moves while its sibling is saved: the old parent's fragment", &[Seen::Moved], |s| {
        siblings(s);
        readers(s, &[0]);
    }),
    never(
        Full,
        "an article moves, G-ack",
        "a comment is saved while its article moves: acknowledged writes are seen",
        &[Seen::FoundLater],
        |s| {
            article_moves(s);
            readers(s, &[1]);
            s.filled = true;
            s.claims = vec![Claim::Ack];
        },
    ),
    never(Small, "outside a transaction", "marked by the hook before, released by the hook after; the writer may be killed", &[], |s| {
        s.writers[0].style = Style::Autocommit;
        s.budget.crash = 1;
    }),
    never(
        Full,
        "outside a transaction, moved",
        "a child is saved outside a transaction while it is moved: G-ack",
        &[Seen::FoundLater],
        |s| {
            siblings(s);
            s.writers[1] = Writer { row: 2, style: Style::Autocommit, ..s.writers[1] };
            readers(s, &[1]);
            s.claims = vec![Claim::Ack];
        },
    ),
    never(Small, "plain transaction", "its end is not seen: marked once, never released", &[], |s| {
        s.writers[0].style = Style::Plain;
        s.budget.crash = 0;
    }),
    never(
        Small,
        "late COMMIT, G-ack",
        "COMMIT returns after the hold: the release must arrive before the answer",
        &[Seen::MustArrive],
        |s| {
            s.late_commit = true;
            s.claims = vec![Claim::Ack];
        },
    ),
    never(Small, "skew", "one reader's clock is ahead by all that is allowed", &[], |s| skewed(s, 1)),
    never(Small, "skew, writer", "the writer's clock is ahead by all that is allowed", &[], |s| {
        skewed(s, 0);
        s.ahead[4] = 1;
        s.writers[0].process = 4;
    }),
    never(Small, "policy Abort", "a node cannot be reached: the write is refused", &[Seen::Refused], |s| {
        s.health = true;
        s.budget.cut = 1;
        s.writers[0].process = 4;
        readers(s, &[0]);
    }),
    never(
        Small,
        "policy Proceed, delivered",
        "a node cannot be reached: the write counts once its invalidation was delivered",
        &[Seen::Proceeded, Seen::Delivered],
        |s| {
            s.health = true;
            s.policy = Policy::Proceed;
            s.ack_at_delivery = true;
            s.budget.cut = 1;
            s.writers[0].process = 4;
            s.claims = vec![Claim::Ack];
            readers(s, &[0]);
        },
    ),
    never(Small, "strict", "strict mode: a log with an open hold is evicted", &[Seen::BypassAdopted], |s| {
        strict(s);
        s.budget.evict = 1;
    }),
    never(Small, "memory store", "the embedded store: one clock, no markers, no late messages; pages", &[Seen::PageFill], |s| {
        s.rules.markers = false;
        s.rules.landing = Micros(0);
        readers(s, &[0]);
        pages(s);
        s.budget.evict = 1;
        s.ticks = 3;
    }),
    never(
        Small,
        "nested on two nodes, late COMMIT, G-ack",
        "COMMIT returns after the hold: no old fragment stays inside of a new one",
        &[Seen::MustArrive, Seen::HeldToRelease],
        late_nested,
    ),
    never(
        Full,
        "nested on two nodes, Proceed, delivered",
        "one of two nodes cannot be reached: no old fragment stays inside of a new one once it was delivered",
        &[Seen::Proceeded, Seen::Delivered],
        |s| {
            late_nested(s);
            s.late_commit = false;
            s.health = true;
            s.policy = Policy::Proceed;
            s.ack_at_delivery = true;
            s.budget.cut = 1;
            s.writers[0].process = 4;
        },
    ),
];
