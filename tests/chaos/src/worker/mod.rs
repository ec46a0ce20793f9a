//! A worker process: writes or reads as fast as it can until its standard input ends, and writes down what it did and saw.

mod diesel;
mod entity;
mod harm;
mod naive;
mod plan;
mod seaorm;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use cachesweeper_core::{Builder, Clock, Micros, Policy, Stats, SystemClock};

use self::naive::Cache;
use crate::history::{self, Form, Read, Record, Trouble, Version, Writer};
use crate::spec::{Role, Spec};

/// What all workers fail with.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the tasks of a worker share.
#[derive(Debug)]
struct Worker {
    spec: Spec,
    history: Writer,
    stop: Arc<AtomicBool>,
    count: AtomicI64,
    /// Instead of the sweeper, for comparison.
    naive: Option<Cache>,
}

/// Runs the worker to its end.
pub(crate) fn run(spec: Spec) -> Result<(), Failed> {
    // It must not outlive the orchestrator, whatever becomes of that.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::ERROR).init();
    harm::install(&spec)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        stopping.store(true, Ordering::SeqCst);
    });
    let worker = Worker {
        history: Writer::create(&spec.history)?,
        naive: spec.naive.map(|scheme| Cache::new(scheme, &spec)),
        stop,
        count: AtomicI64::new(1),
        spec,
    };
    match worker.spec.orm {
        crate::spec::Orm::Seaorm => seaorm::run(worker),
        crate::spec::Orm::Diesel => diesel::run(worker),
    }
}

impl Worker {
    /// How long a writer thinks before its next write: readers are to find something to read.
    fn thinking(&self) -> Duration {
        Duration::from_millis(fastrand::u64(..=2 * self.spec.think_ms))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// An id that no other process makes.
    fn fresh_id(&self) -> i64 {
        (self.spec.number << 32) | self.count.fetch_add(1, Ordering::SeqCst)
    }

    fn is_reader(&self) -> bool {
        self.spec.role == Role::Reader
    }

    fn begin(&self, op: i64) -> Result<(), Failed> {
        Ok(self.history.add(&Record::Begin { op, at: history::now() })?)
    }

    fn body(&self, op: i64, writes: Option<Vec<Version>>) {
        // A history that cannot be written is of no use, and nobody is there to be told.
        if let Err(error) = self.history.add(&Record::Body { op, at: history::now(), writes }) {
            tracing::error!(%error, "the history cannot be written");
            std::process::exit(1);
        }
    }

    fn end(&self, op: i64, error: Option<(Trouble, String)>, unmarked: bool) -> Result<(), Failed> {
        Ok(self.history.add(&Record::End { op, at: history::now(), error, unmarked })?)
    }

    fn read(&self, read: Read) -> Result<(), Failed> {
        Ok(self.history.add(&Record::Read(read))?)
    }

    fn finish(&self, stats: &Stats) -> Result<(), Failed> {
        let stats = stats.iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect();
        Ok(self.history.add(&Record::Stats { stats })?)
    }

    /// The sweeper's settings: all that differs from the defaults is in the spec. A naive worker's own sweeper serves nobody.
    fn settings<S>(&self, builder: Builder<S>) -> Builder<S> {
        let (spec, times) = (&self.spec, &self.spec.times);
        let builder = match spec.naive {
            Some(_) => builder.memory(1 << 20),
            None => builder.memcached(spec.nodes.clone()),
        };
        let ms = Duration::from_millis;
        let builder = builder
            .namespace(&spec.namespace)
            .hold(ms(times.hold_ms))
            .plain_hold(ms(times.plain_hold_ms))
            .max_clock_skew(ms(times.skew_ms))
            .retry_interval(ms(times.retry_ms))
            .store_timeout(ms(times.store_timeout_ms))
            .unknown_commit_limit(ms(times.unknown_commit_ms))
            .policy(if spec.abort { Policy::Abort } else { Policy::Proceed })
            .clock(Arc::new(Ahead(Duration::from_millis(spec.clock_ahead_ms))));
        let builder = if spec.strict { builder.strict() } else { builder };
        // Pages have some hundred bytes here.
        if spec.near { builder.near_cache(1 << 20).compress_above(64) } else { builder }
    }
}

/// The machine's clock, and more.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Micros {
        SystemClock.now().plus(self.0.into())
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

/// What kind of failure a message is about. Both ORMs pass the databases' own words on.
fn trouble(text: &str) -> Trouble {
    let conflicts =
        ["deadlock detected", "Deadlock found", "Lock wait timeout", "could not serialize", "Record has changed since last read"];
    if text.contains("could not be invalidated first") {
        Trouble::Refused
    } else if conflicts.iter().any(|words| text.contains(words)) {
        Trouble::Conflict
    } else {
        Trouble::Database
    }
}

/// What the history is told of a write: `false` is one whose row was gone.
fn error_of(done: Result<bool, String>) -> Option<(Trouble, String)> {
    match done {
        Ok(true) => None,
        Ok(false) => Some((Trouble::Conflict, "the row is gone".to_owned())),
        Err(text) => Some((trouble(&text), text)),
    }
}

/// What a reader asks for next.
#[derive(Clone, Copy, Debug)]
struct Wish {
    form: Form,
    id: i64,
    group: i64,
    ask_witness: bool,
}

/// Chooses what to read; remembers comments that it has seen.
#[derive(Debug, Default)]
struct Wishes {
    comments: std::collections::VecDeque<(i64, i64)>,
}

impl Wishes {
    /// A naive scheme has no topics.
    fn next(&self, topics: bool) -> Wish {
        let ask_witness = fastrand::u8(..3) == 0;
        if topics && fastrand::u8(..6) == 0 {
            let group = fastrand::i64(0..crate::spec::ARTICLES / 4);
            return Wish { form: Form::Topic, id: group, group, ask_witness };
        }
        if fastrand::u8(..4) == 0
            && let Some((id, group)) = self.comments.get(fastrand::usize(..self.comments.len().max(1)))
        {
            return Wish { form: Form::Comment, id: *id, group: *group, ask_witness };
        }
        let id = fastrand::i64(0..crate::spec::ARTICLES);
        let form = if fastrand::u8(..3) == 0 { Form::Row } else { Form::Key };
        Wish { form, id, group: crate::spec::group(id), ask_witness }
    }

    fn saw(&mut self, page: &str, group: i64) {
        for id in page.lines().filter_map(|line| line.strip_prefix("c ")?.split(' ').next()?.parse().ok()) {
            if !self.comments.contains(&(id, group)) {
                self.comments.push_back((id, group));
            }
        }
        while self.comments.len() > 48 {
            self.comments.pop_front();
        }
    }
}

/// One line of a page.
fn line_of_comment(id: i64, version: i64, reply: Option<i64>) -> String {
    match reply {
        Some(reply) => format!("c {id} {version} {reply}\n"),
        None => format!("c {id} {version} -\n"),
    }
}

/// Another one.
fn line_of_article(id: i64, version: i64) -> String {
    format!("a {id} {version}\n")
}
