//! What a scenario consists of: rows, fragments, writers, readers, faults and a scheme.

use cachesweeper_core::protocol::Rules;
use cachesweeper_core::{Micros, Policy, Ttl};

/// A row of the database, with a version log.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The row above it.
    pub parent: Option<usize>,
    /// Where its log lives.
    pub node: usize,
}

/// A fragment.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The rows it names as dependencies.
    pub on: Vec<usize>,
    /// The rows that it shows, with everything under them.
    pub shows: Vec<usize>,
    /// Versions of up to this age may be served.
    pub serve_stale: Option<u64>,
    /// The fragment that is rendered inside of it.
    pub inner: Option<usize>,
}

impl Fragment {
    /// A fragment that shows exactly what it names.
    pub fn of(rows: &[usize]) -> Self {
        Self { on: rows.to_vec(), shows: rows.to_vec(), serve_stale: None, inner: None }
    }
}

/// What a write does to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Other columns.
    Update,
    /// The foreign key.
    Move(usize),
}

/// How a write reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// In a transaction that is seen to its end.
    Transaction,
    /// Outside of any transaction: marked by the hook before, released by the hook after.
    Autocommit,
    /// In a transaction whose end is not seen: marked once, never released.
    Plain,
    /// Past the hooks.
    Unseen,
    /// Naive: the version is raised by the save's hook, before COMMIT, and that is all.
    BumpInHook,
    /// Naive: the version is raised after COMMIT, and that is all.
    BumpAfterCommit,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The row it changes.
    pub row: usize,
    /// How.
    pub change: Change,
    /// By which way.
    pub style: Style,
    /// The process it runs in.
    pub process: usize,
}

/// When a reader's data are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    /// After the lookup, by the closure that renders.
    Closure,
    /// Before the lookup, by a page that was opened before.
    Page,
}

/// A reader: it reads its fragment again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Which fragment.
    pub fragment: usize,
    /// When its data are loaded.
    pub reads: Reads,
    /// The process it runs in.
    pub process: usize,
}

/// How often each fault may strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A writer's process is killed.
    pub crash: u8,
    /// An item is evicted; a log with an open hold only if the setup allows it.
    pub evict: u8,
    /// A node loses all its memory.
    pub restart: u8,
    /// A connection breaks: no more replies; what was sent lands late, or never.
    pub cut: u8,
    /// A message arrives a second time, later.
    pub duplicate: u8,
    /// A process stands still between hearing the last reply, or loading its data, and going on.
    pub pause: u8,
    /// A transaction is rolled back instead of committed.
    pub abort: u8,
    /// A reader's caller goes away.
    pub leave: u8,
    /// A hold is renewed while COMMIT runs.
    pub renew: u8,
    /// A node comes back with what it had at the beginning.
    pub restore: u8,
    /// A COMMIT's outcome is unknown.
    pub unknown: u8,
}

/// Which items may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evicted {
    /// Version logs.
    Logs,
    /// Fragments and leases.
    Fragments,
    /// Markers.
    Markers,
    /// Any.
    Any,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// Nothing older than what had been acknowledged when the read began.
    Ack,
    /// Nothing older than what had been committed when the read began.
    Commit,
    /// Nothing older than what had been acknowledged when the bound of `serve_stale` began.
    Bound,
}

/// What is done otherwise than the protocol says, in one place each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing: the protocol as it is.
    #[default]
    Sweep,
    /// All marks have one name, so any release ends all holds.
    SingleFlag,
    /// A missing log is made anew with the same head every time.
    RestartAtOne,
    /// A mark or release is written over the log instead of to its end.
    BlindSet,
    /// The marker is read before the logs.
    MarkerFirst,
    /// A release is dated by its mark's birth.
    ReleaseBornWithMark,
    /// A flight is joined by the fragment's key, whatever the version.
    FlightByKey,
    /// Strict mode: a log is added with its quarantine in it.
    OneStepQuarantine,
    /// A fragment is stored although one inside of it was served stale.
    NoTaint,
    /// Fills use tokens that are read again after the data were loaded.
    TokensReadAgain,
    /// Several logs without a hold are released one after the other, with no hold before.
    ReleaseOneByOne,
    /// An unstorable render is joined while it runs.
    JoinRunningBypass,
}

/// A scenario's world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The protocol's times.
    pub rules: Rules,
    /// The rows.
    pub rows: Vec<Row>,
    /// The fragments.
    pub fragments: Vec<Fragment>,
    /// The writes; each happens once, or not at all.
    pub writers: Vec<Writer>,
    /// The readers; each reads for ever.
    pub readers: Vec<Reader>,
    /// The faults.
    pub budget: Budget,
    /// How far the clock goes.
    pub ticks: u8,
    /// How far each process's clock is ahead.
    pub ahead: Vec<u64>,
    /// What happens to a write that cannot be marked.
    pub policy: Policy,
    /// Whether nodes' health is kept, and what is owed is delivered.
    pub health: bool,
    /// A write that could not be marked counts as acknowledged when its invalidation was delivered, not before.
    pub ack_at_delivery: bool,
    /// Which items may be evicted.
    pub evicted: Evicted,
    /// Whether a log with an open hold may be evicted.
    pub evict_held: bool,
    /// Whether COMMIT may happen after the hold.
    pub late_commit: bool,
    /// How much later than the rules say messages may land.
    pub late_landing: u8,
    /// Data are loaded by a snapshot that is older than the lookup.
    pub old_snapshot: bool,
    /// Whether callers of one process share flights.
    pub flights: bool,
    /// Logs are so long at the beginning that they are compacted.
    pub long_logs: bool,
    /// One mark in eight reads its logs too; here all do.
    pub checking_marks: bool,
    /// Whether the fragments are in the store at the beginning. Without, a reader fills them: more states, and more races.
    pub filled: bool,
    /// Whether processes keep bodies near.
    pub near: bool,
    /// What is done otherwise.
    pub scheme: Scheme,
    /// What is checked.
    pub claims: Vec<Claim>,
}

impl Setup {
    /// One row on one node, its fragment, one writer in a transaction, two readers in closure form in processes of their own.
    pub fn new() -> Self {
        Self {
            rules: Rules {
                skew: Micros(0),
                hold: Micros(1),
                longest_hold: Micros(1),
                landing: Micros(1),
                markers: true,
                strict: false,
                leases: false,
                log_ttl: Ttl::days(365),
                marker_ttl: Ttl::MAX,
                lease_ttl: Ttl::days(1),
                lease_wait: Micros(1),
            },
            rows: vec![Row { parent: None, node: 0 }],
            fragments: vec![Fragment::of(&[0])],
            writers: vec![Writer { row: 0, change: Change::Update, style: Style::Transaction, process: 0 }],
            readers: vec![
                Reader { fragment: 0, reads: Reads::Closure, process: 1 },
                Reader { fragment: 0, reads: Reads::Closure, process: 2 },
            ],
            budget: Budget::default(),
            ticks: 2,
            ahead: vec![0; 8],
            policy: Policy::Abort,
            health: false,
            ack_at_delivery: false,
            evicted: Evicted::Logs,
            evict_held: false,
            late_commit: false,
            late_landing: 0,
            old_snapshot: false,
            flights: false,
            long_logs: false,
            checking_marks: false,
            filled: false,
            near: false,
            scheme: Scheme::Sweep,
            claims: vec![Claim::Commit],
        }
    }

    /// Whether some reader is a page: only pages ask how old a log's events are.
    pub fn has_pages(&self) -> bool {
        self.readers.iter().any(|reader| reader.reads == Reads::Page)
    }

    /// Whether some fragment may be served at a bounded age: only then it matters when tokens were read, and when writers had
    /// their answer.
    pub fn has_ages(&self) -> bool {
        self.fragments.iter().any(|fragment| fragment.serve_stale.is_some())
    }

    /// Whether acknowledgements are looked at. What was acknowledged was committed before, so G-commit implies G-ack.
    pub fn counts_acks(&self) -> bool {
        !self.claims.contains(&Claim::Commit) || self.has_ages()
    }

    /// The number of nodes.
    pub fn nodes(&self) -> usize {
        self.rows.iter().map(|row| row.node + 1).max().unwrap_or(1)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}
