//! The protocol within its conditions, with more writers and readers, and with several faults at once: never stale.

use cachesweeper_core::{Micros, Policy};

use super::protocol::{nested, never, siblings, skewed, strict, two_nodes};
use super::{Scenario, Set, pages, readers, shared, writers};
use crate::seen::Seen;
use crate::setup::{Change, Claim, Evicted, Fragment, Style, Writer};

use Set::{Full, Small};

pub(super) const ALL: &[Scenario] = &[
    never(
        Small,
        "evicted hold, G-ack",
        "a log with an open hold is evicted, without strict mode: acknowledged writes are seen",
        &[],
        |s| {
            s.evict_held = true;
            s.budget.evict = 1;
            readers(s, &[0]);
            s.claims = vec![Claim::Ack];
        },
    ),
    never(
        Small,
        "evicted hold, lost release, G-ack",
        "a log with an open hold is evicted, and the node does not take the release: it is owed, and acknowledged when it arrives",
        &[Seen::Delivered],
        |s| {
            s.evict_held = true;
            s.budget.evict = 1;
            s.budget.cut = 1;
            s.health = true;
            s.policy = Policy::Proceed;
            s.ack_at_delivery = true;
            s.writers[0].process = 4;
            readers(s, &[0]);
            s.claims = vec![Claim::Ack];
        },
    ),
    never(
        Full,
        "restart, cold",
        "the node restarts, or is flushed, at any moment; the store is empty at first",
        &[Seen::BypassQuarantine],
        |s| {
            s.budget.restart = 1;
            s.ticks = 3;
        },
    ),
    never(
        Full,
        "leases, cold",
        "a lease elects one reader; its holder may go away; the store is empty at first",
        &[Seen::LeaseBusy],
        |s| {
            s.rules.leases = true;
            s.budget.leave = 1;
        },
    ),
    never(Full, "flights, pause", "two callers of one process share renders; one goes away, one stands still", &[Seen::Shared], |s| {
        shared(s);
        s.budget.leave = 1;
        s.budget.pause = 1;
    }),
    never(Full, "nested, two readers", "a fragment inside of its parent's; two readers", &[], |s| {
        nested(s);
        readers(s, &[0, 0]);
    }),
    never(
        Full,
        "memory store, two pages",
        "the embedded store: one clock, no markers, no late messages; two pages",
        &[Seen::PageFill],
        |s| {
            s.rules.markers = false;
            s.rules.landing = Micros(0);
            pages(s);
            s.budget.evict = 1;
            s.ticks = 3;
        },
    ),
    never(Full, "any item evicted", "any one item is evicted, and the writer may be killed", &[], |s| {
        s.evicted = Evicted::Any;
        s.budget.evict = 1;
        s.budget.crash = 1;
    }),
    never(Full, "two evictions", "two evictions of logs", &[], |s| {
        s.budget.evict = 2;
        readers(s, &[0]);
    }),
    never(Full, "restart, crash", "the node restarts, and the writer is killed", &[Seen::BypassQuarantine], |s| {
        s.budget.restart = 1;
        s.budget.crash = 1;
        s.ticks = 3;
    }),
    never(Full, "two restarts", "the node restarts twice", &[Seen::BypassQuarantine], |s| {
        s.budget.restart = 2;
        readers(s, &[0]);
        s.ticks = 4;
    }),
    never(
        Full,
        "restart, lost replies",
        "the node restarts, and a connection breaks: messages from before land after",
        &[Seen::BypassQuarantine],
        |s| {
            s.budget.restart = 1;
            s.budget.cut = 1;
            s.ticks = 3;
            readers(s, &[0]);
        },
    ),
    never(Full, "evicted log, lost replies", "a log is evicted, and a connection breaks: an add lands late", &[], |s| {
        s.budget.evict = 1;
        s.budget.cut = 1;
        readers(s, &[0]);
    }),
    never(Full, "lost replies twice, crash", "two connections break, and the writer is killed", &[], |s| {
        s.budget.cut = 2;
        s.budget.crash = 1;
    }),
    never(Full, "all small faults", "crash, rollback, broken connection, repeated message and pause in one run", &[], |s| {
        s.budget.crash = 1;
        s.budget.cut = 1;
        s.budget.duplicate = 1;
        s.budget.pause = 1;
    }),
    never(Full, "three readers", "one writer, three readers; the writer may be killed", &[], |s| {
        readers(s, &[0, 0, 0]);
        s.budget.crash = 1;
    }),
    never(Full, "three readers, lost replies, pause", "one writer, three readers, a broken connection and a pause", &[], |s| {
        readers(s, &[0, 0, 0]);
        s.budget.cut = 1;
        s.budget.pause = 1;
        s.filled = true;
    }),
    never(Full, "two writers, three readers", "two writers, three readers", &[], |s| {
        writers(s, 2);
        readers(s, &[0, 0, 0]);
        s.filled = true;
    }),
    never(Full, "three writers", "three writers of one record, one reader", &[], |s| {
        writers(s, 3);
        readers(s, &[0]);
    }),
    never(Full, "two writers of siblings", "two children of one parent are saved at once; either writer may be killed", &[], |s| {
        siblings(s);
        s.writers[0].change = Change::Update;
        s.fragments = vec![Fragment::of(&[0])];
        readers(s, &[0]);
        s.budget.crash = 1;
    }),
    never(
        Full,
        "siblings, hook and transaction",
        "a child moves in a transaction while its sibling is saved outside of one",
        &[Seen::Moved],
        |s| {
            siblings(s);
            s.writers[1].style = Style::Autocommit;
            readers(s, &[1]);
            s.budget.crash = 1;
        },
    ),
    never(Full, "a child moves, two readers", "a child moves while its sibling is saved; readers of both parents", &[Seen::Moved], |s| {
        siblings(s);
        readers(s, &[0, 1]);
        s.filled = true;
    }),
    never(Full, "a child moves in a plain transaction", "the mover's transaction is not seen to its end", &[Seen::Moved], |s| {
        siblings(s);
        s.writers[0].style = Style::Plain;
        readers(s, &[1]);
    }),
    never(Full, "pages, two writers", "two writers, one page after another", &[Seen::PageFill, Seen::TooEarly], |s| {
        writers(s, 2);
        readers(s, &[0]);
        pages(s);
        s.ticks = 4;
    }),
    never(
        Full,
        "pages, evicted log, late add",
        "pages; a log is evicted twice, and an add lands late, but in time",
        &[Seen::PageFill],
        |s| {
            readers(s, &[0]);
            pages(s);
            s.budget.evict = 2;
            s.budget.cut = 1;
            s.ticks = 3;
        },
    ),
    never(Full, "pages, restart", "pages, and the node restarts", &[Seen::PageFill], |s| {
        pages(s);
        readers(s, &[0]);
        pages(s);
        s.budget.restart = 1;
        s.ticks = 5;
    }),
    never(
        Full,
        "a page and a closure",
        "one reader is a page, the other a closure; the writer may be killed",
        &[Seen::PageFill, Seen::Fill],
        |s| {
            readers(s, &[0, 0]);
            s.readers[0].reads = crate::setup::Reads::Page;
            s.budget.crash = 1;
            s.ticks = 4;
        },
    ),
    never(Full, "pages, skew", "a page's clock is ahead by all that is allowed", &[Seen::PageFill], |s| {
        skewed(s, 1);
        pages(s);
        s.ticks = 4;
    }),
    never(
        Full,
        "flights, three readers",
        "three callers of one process, one goes away, one stands still",
        &[Seen::Shared, Seen::Gathered],
        |s| {
            readers(s, &[0, 0, 0]);
            shared(s);
            s.budget.leave = 1;
            s.budget.pause = 1;
            s.filled = true;
            s.ticks = 1;
        },
    ),
    never(
        Full,
        "flights, leases, two processes",
        "two callers of one process and one of another, with leases",
        &[Seen::Shared, Seen::LeaseBusy],
        |s| {
            readers(s, &[0, 0, 0]);
            shared(s);
            s.readers[2].process = 3;
            s.rules.leases = true;
            s.filled = true;
        },
    ),
    never(Full, "leases, evicted", "leases, whose items may be evicted; a holder may go away", &[Seen::LeaseBusy], |s| {
        s.rules.leases = true;
        s.evicted = Evicted::Fragments;
        s.budget.evict = 1;
        s.budget.leave = 1;
        s.filled = true;
        s.ticks = 1;
    }),
    never(
        Full,
        "serve_stale, leases, crash",
        "versions of bounded age are served to those who would wait; the writer may be killed",
        &[Seen::Stale],
        |s| {
            s.fragments[0].serve_stale = Some(1);
            s.claims.push(Claim::Bound);
            s.rules.leases = true;
            s.budget.crash = 1;
            s.ticks = 3;
            s.filled = true;
        },
    ),
    never(
        Full,
        "nested, two writers",
        "a parent and its child are saved at once; the child's fragment is inside of its parent's",
        &[],
        |s| {
            nested(s);
            s.writers.push(Writer { row: 0, process: 5, ..s.writers[0] });
            readers(s, &[0]);
        },
    ),
    never(Full, "nested, crash, evicted log", "nested fragments; the writer is killed, a log is evicted", &[], |s| {
        nested(s);
        readers(s, &[0]);
        s.budget.crash = 1;
        s.budget.evict = 1;
    }),
    never(Full, "two nodes, two writers", "one fragment of two records on two nodes, both are written", &[], |s| {
        two_nodes(s);
        s.writers.push(Writer { row: 0, process: 5, ..s.writers[0] });
        s.budget.crash = 1;
    }),
    never(
        Full,
        "two nodes, restart, two readers",
        "one fragment of two records on two nodes; one node restarts",
        &[Seen::BypassQuarantine],
        |s| {
            two_nodes(s);
            s.budget.restart = 1;
            s.ticks = 3;
            s.filled = true;
        },
    ),
    never(Full, "two nodes, lost replies", "one fragment of two records on two nodes; a connection to one of them breaks", &[], |s| {
        two_nodes(s);
        s.budget.cut = 1;
        s.budget.crash = 1;
    }),
    never(Full, "compaction, crash, evicted log", "long logs; the writer is killed, a log is evicted", &[Seen::Compacted], |s| {
        s.long_logs = true;
        s.budget.crash = 1;
        s.budget.evict = 1;
        readers(s, &[0]);
    }),
    never(Full, "compaction, two writers", "long logs, two writers that compact, a repeated message", &[Seen::Compacted], |s| {
        writers(s, 2);
        s.long_logs = true;
        s.checking_marks = true;
        s.budget.duplicate = 1;
        readers(s, &[0]);
    }),
    never(Full, "unknown outcome, crash", "COMMIT's outcome is unknown, and the writer is killed", &[], |s| {
        s.budget.unknown = 1;
        s.budget.renew = 2;
        s.budget.crash = 1;
        s.ticks = 3;
    }),
    never(Full, "renewal, lost replies", "the hold is renewed while COMMIT runs, and a connection breaks", &[], |s| {
        s.rules.hold = Micros(2);
        s.rules.longest_hold = Micros(2);
        s.rules.landing = Micros(2);
        s.budget.renew = 1;
        s.budget.cut = 1;
        s.ticks = 4;
    }),
    never(
        Full,
        "skew, crash, restart",
        "a reader's clock is ahead, the writer is killed, the node restarts",
        &[Seen::BypassQuarantine],
        |s| {
            skewed(s, 1);
            s.budget.crash = 1;
            s.budget.restart = 1;
            readers(s, &[0]);
            s.ahead[0] = 1;
            s.writers[0].process = 4;
            s.ticks = 5;
        },
    ),
    never(
        Full,
        "late COMMIT, delivered, G-ack",
        "COMMIT returns after the hold and the release is lost: the write counts once it was delivered",
        &[Seen::MustArrive],
        |s| {
            s.health = true;
            s.late_commit = true;
            s.ack_at_delivery = true;
            s.budget.cut = 1;
            s.writers[0].process = 4;
            readers(s, &[0]);
            s.claims = vec![Claim::Ack];
            s.ticks = 3;
        },
    ),
    never(Full, "policy Abort, two readers", "a node cannot be reached by one of three processes, twice", &[Seen::Refused], |s| {
        s.health = true;
        s.budget.cut = 2;
        s.writers[0].process = 4;
    }),
    never(
        Full,
        "policy Proceed, two nodes, delivered",
        "one of two nodes cannot be reached: the write counts once it was delivered",
        &[Seen::Proceeded, Seen::Delivered],
        |s| {
            two_nodes(s);
            s.health = true;
            s.policy = Policy::Proceed;
            s.ack_at_delivery = true;
            s.budget.cut = 1;
            s.writers[0].process = 4;
            s.claims = vec![Claim::Ack];
        },
    ),
    never(
        Full,
        "strict, crash",
        "strict mode: a log with an open hold is evicted, and the writer is killed",
        &[Seen::BypassAdopted],
        |s| {
            strict(s);
            s.budget.evict = 1;
            s.budget.crash = 1;
        },
    ),
    never(Full, "strict, late adds", "strict mode: two evictions, and a message lands late", &[Seen::BypassAdopted], |s| {
        strict(s);
        s.budget.evict = 2;
        s.budget.cut = 1;
    }),
    never(
        Full,
        "strict, crash, late adds",
        "strict mode: two evictions, the writer is killed, and a message lands late",
        &[Seen::BypassAdopted],
        |s| {
            strict(s);
            s.budget.evict = 2;
            s.budget.cut = 1;
            s.budget.crash = 1;
        },
    ),
    never(
        Full,
        "strict, skew",
        "strict mode: a log with an open hold is evicted, a reader's clock is ahead by all that is allowed",
        &[Seen::BypassAdopted],
        |s| {
            skewed(s, 1);
            strict(s);
            s.budget.evict = 1;
            s.ahead[0] = 1;
            s.writers[0].process = 4;
            s.ticks = 6;
        },
    ),
    never(Full, "strict, two readers", "strict mode, two readers: a log with an open hold is evicted", &[Seen::BypassAdopted], |s| {
        strict(s);
        readers(s, &[0, 0]);
        s.budget.evict = 1;
        s.filled = true;
    }),
    never(Full, "strict, pages", "strict mode, pages: a log with an open hold is evicted", &[Seen::BypassAdopted, Seen::PageFill], |s| {
        strict(s);
        pages(s);
        s.budget.evict = 1;
        s.ticks = 5;
    }),
    never(
        Full,
        "strict, compaction",
        "strict mode, long logs: a log with an open hold is evicted",
        &[Seen::BypassAdopted, Seen::Compacted],
        |s| {
            strict(s);
            s.long_logs = true;
            s.budget.evict = 1;
            s.budget.crash = 1;
        },
    ),
];
