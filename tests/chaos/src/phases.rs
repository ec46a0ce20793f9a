//! The table of phases: one kind of fault each, and what is promised under it.

use std::time::Duration;

use crate::proxy::Weather;
use crate::spec::{Harm, Point};

/// What is done to the servers while the faults last. What writers do to themselves is in [`Phase::points`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// `kill -9` of one node and then the other, each started again on its port.
    Restart,
    /// `flush_all` on one node and then the other.
    Flush,
    /// So little memory, and so many other items, that logs are evicted.
    Evict,
    /// One node behind the proxy.
    Node(Weather),
    /// The database behind the proxy.
    Database(Weather),
    /// One node is down for the whole time.
    NodeDown,
    /// A node comes back with the memory that it had earlier.
    Restored,
}

/// What must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing stale where something is promised, and no failure but the database's own.
    Clean,
    /// Something stale: a condition is broken on purpose.
    Stale,
}

/// One phase.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) fault: Fault,
    pub(crate) points: Vec<Point>,
    pub(crate) abort: bool,
    pub(crate) strict: bool,
    /// Whether G-commit is promised. G-ack always is.
    pub(crate) commit_promised: bool,
    pub(crate) expected: Expected,
    pub(crate) hold_ms: Option<u64>,
    /// The mean pause between two writes of a task.
    pub(crate) think_ms: u64,
    pub(crate) readers_ahead_ms: u64,
    pub(crate) undeclared: bool,
    pub(crate) raw_sql: bool,
}

impl Phase {
    fn new(name: &'static str, what: &'static str, fault: Fault) -> Self {
        Self {
            name,
            what,
            fault,
            points: Vec::new(),
            abort: false,
            strict: false,
            commit_promised: true,
            expected: Expected::Clean,
            hold_ms: None,
            think_ms: 40,
            readers_ahead_ms: 0,
            undeclared: false,
            raw_sql: false,
        }
    }

    fn point(mut self, name: &str, harm: Harm, per_mille: u32) -> Self {
        self.points.push(Point::new(name, harm, per_mille));
        self
    }

    fn abort(mut self) -> Self {
        self.abort = true;
        self
    }

    /// Whether others of its mode are compared with it.
    pub(crate) fn is_baseline(&self) -> bool {
        self.fault == Fault::None && self.points.is_empty() && self.expected == Expected::Clean
    }

    fn broken(mut self) -> Self {
        self.expected = Expected::Stale;
        self
    }
}

const CUT: Weather = Weather::Cut(25);
const DELAY: Weather = Weather::Delay(Duration::from_millis(350));
const HALF_CLOSE: Weather = Weather::HalfClose(40);

/// All that the README's conditions allow.
pub(crate) fn all() -> Vec<Phase> {
    let kill = |name, what, point: &str| Phase::new(name, what, Fault::None).point(point, Harm::Kill, 60);
    let evict = |name, what| {
        Phase::new(name, what, Fault::Evict)
            // The pause, which is shorter than the hold, gives readers time to fill under a log that is not the marked one.
            .point("before-commit", Harm::Pause(600), 200)
            .point("before-release", Harm::Kill, 100)
    };
    let strict = Phase { strict: true, ..evict("evict-strict", "the same, in strict mode") };
    vec![
        Phase::new("none", "no fault", Fault::None),
        kill("kill-before-mark", "writers: kill -9 before the mark", "before-mark"),
        kill("kill-before-commit", "writers: kill -9 between mark and COMMIT", "before-commit"),
        kill("kill-before-release", "writers: kill -9 between COMMIT and release", "before-release"),
        Phase::new("stop", "writers: SIGSTOP past the hold, between mark and COMMIT and before the release", Fault::None)
            .point("before-commit", Harm::Stop, 20)
            .point("before-release", Harm::Stop, 20),
        Phase::new("restart", "memcached: kill -9 and restart, node after node", Fault::Restart),
        Phase::new("flush", "memcached: flush_all, node after node", Fault::Flush),
        Phase { commit_promised: false, ..evict("evict", "memcached: logs are evicted; writers: kill -9 between COMMIT and release") },
        Phase { strict: true, ..Phase::new("none-strict", "no fault, in strict mode", Fault::None) },
        strict,
        Phase::new("cut", "one node: connections are cut", Fault::Node(CUT)),
        Phase::new("delay", "one node: up to 350 ms each way", Fault::Node(DELAY)),
        Phase::new("half-close", "one node: one direction is closed", Fault::Node(HALF_CLOSE)),
        Phase::new("silent", "one node: takes everything, and answers nothing", Fault::Node(Weather::Silent)),
        Phase::new("db-cut", "database: connections are cut during COMMIT", Fault::Database(Weather::CutCommits(8))),
        Phase::new("abort-down", "policy Abort, one node is down", Fault::NodeDown).abort(),
        Phase::new("abort-cut", "policy Abort, connections are cut", Fault::Node(CUT)).abort(),
        Phase::new("abort-silent", "policy Abort, a node takes everything, and answers nothing", Fault::Node(Weather::Silent)).abort(),
        Phase::new("abort-half-close", "policy Abort, one direction is closed", Fault::Node(HALF_CLOSE)).abort(),
    ]
}

/// The few that `--quick` runs.
pub(crate) const QUICK: [&str; 5] = ["none", "kill-before-release", "restart", "cut", "abort-down"];

/// A condition of the README, broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Assumption {
    /// Readers' clocks are ahead by more than the hold (condition 1).
    Skew,
    /// COMMIT comes after the hold (condition 2).
    Hold,
    /// A node is out of reach for writers alone, policy `Proceed` (condition 3).
    Unreachable,
    /// Writers go past the hooks and wrappers (condition 5).
    RawSql,
    /// A page shows a row that it does not name (condition 6).
    Undeclared,
    /// A store comes back with old memory (condition 7).
    Restored,
}

impl Assumption {
    pub(crate) fn phase(self) -> Phase {
        let phase = |name, what| Phase::new(name, what, Fault::None).broken();
        match self {
            // The pause gives readers time to fill between mark and COMMIT; whoever dies after COMMIT does not release.
            Self::Skew => Phase { readers_ahead_ms: 5_000, ..phase("broken: skew", "readers' clocks are 5 s ahead") }
                .point("before-commit", Harm::Pause(40), 1_000)
                .point("before-release", Harm::Kill, 100),
            Self::Hold => Phase { hold_ms: Some(20), ..phase("broken: hold", "a hold of 20 ms, and COMMIT after 300 ms") }
                .point("before-commit", Harm::Pause(300), 1_000)
                .point("before-release", Harm::Kill, 100),
            Self::Unreachable => {
                Phase { fault: Fault::Node(Weather::CutAppends), ..phase("broken: unreachable", "a node that writers cannot reach") }
            }
            Self::RawSql => Phase { raw_sql: true, ..phase("broken: raw SQL", "every second update is raw SQL") },
            Self::Undeclared => Phase { undeclared: true, ..phase("broken: undeclared", "pages show an article that they do not name") },
            // What is stale stays so until it is written again, which must not happen at once.
            Self::Restored => {
                Phase { fault: Fault::Restored, think_ms: 400, ..phase("broken: restored", "memcached -e comes back with old memory") }
            }
        }
    }
}
