//! What a worker process is told by the orchestrator.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many articles there are; two form a group.
pub(crate) const ARTICLES: i64 = 8;
/// How many comments an article has at first, and about as many it keeps.
pub(crate) const COMMENTS: i64 = 4;

/// The group of an article: comments move inside of it only.
pub(crate) fn group(article: i64) -> i64 {
    article / 2
}

/// Whether there is a topic above a group's articles. It has the group's number.
pub(crate) fn has_topic(group: i64) -> bool {
    group < ARTICLES / 4
}

/// The other article of its group.
pub(crate) fn neighbour(article: i64) -> i64 {
    article ^ 1
}

/// Whether a comment never moves. Only such are saved outside of transactions: there, G-commit is promised for no row that moves meanwhile.
pub(crate) fn stays(comment: i64) -> bool {
    comment % 2 != 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Orm {
    Seaorm,
    Diesel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Reader,
    Writer,
}

/// A scheme to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Naive {
    /// The version is raised by the save's hook, inside the transaction.
    AfterSave,
    /// The version is raised after COMMIT.
    AfterCommit,
}

/// What a worker does to itself at a point of a write.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Harm {
    /// SIGKILL.
    Kill,
    /// SIGSTOP; the orchestrator lets it go on later.
    Stop,
    /// Sleeps for milliseconds.
    Pause(u64),
}

/// A named point of a write, what happens there, and in how many of 1000 cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) harm: Harm,
    pub(crate) per_mille: u32,
}

impl Point {
    pub(crate) fn new(name: &str, harm: Harm, per_mille: u32) -> Self {
        Self { name: name.to_owned(), harm, per_mille }
    }
}

/// The sweeper's settings: short ones, so that phases are short.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) hold_ms: u64,
    pub(crate) plain_hold_ms: u64,
    pub(crate) skew_ms: u64,
    pub(crate) retry_ms: u64,
    pub(crate) store_timeout_ms: u64,
    pub(crate) unknown_commit_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { hold_ms: 1_000, plain_hold_ms: 1_000, skew_ms: 100, retry_ms: 200, store_timeout_ms: 500, unknown_commit_ms: 2_000 }
    }
}

/// All that a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) orm: Orm,
    pub(crate) role: Role,
    /// Different in every process; it begins the ids that this one makes.
    pub(crate) number: i64,
    pub(crate) tasks: u32,
    /// The mean pause between two writes of a task.
    pub(crate) think_ms: u64,
    pub(crate) database: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) namespace: String,
    pub(crate) history: PathBuf,
    pub(crate) times: Times,
    pub(crate) abort: bool,
    pub(crate) strict: bool,
    /// Keeps bodies in the process too, and stores them compressed.
    pub(crate) near: bool,
    pub(crate) naive: Option<Naive>,
    pub(crate) points: Vec<Point>,
    /// A file that is there while faults are injected: the points do nothing without it.
    pub(crate) armed: PathBuf,
    /// How far this process's clock is ahead.
    pub(crate) clock_ahead_ms: u64,
    /// Readers show the other article of the group without naming it.
    pub(crate) undeclared: bool,
    /// Writers go past the hooks and wrappers with every second update.
    pub(crate) raw_sql: bool,
}
