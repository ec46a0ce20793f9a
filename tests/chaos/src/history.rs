//! Histories: what each worker writes down, and all that the auditor ever sees of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Nanoseconds of the machine's monotonic clock: the same clock in every process.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// What a version belongs to. In the database it is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// An article.
    #[serde(rename = "a")]
    Article,
    /// A comment: its versions also tell where it is.
    #[serde(rename = "c")]
    Comment,
    /// The reply to a comment; it has the comment's id.
    #[serde(rename = "r")]
    Reply,
}

impl Kind {
    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of(number: i64) -> Option<Self> {
        [Self::Article, Self::Comment, Self::Reply].into_iter().find(|kind| kind.number() == number)
    }
}

/// A version of a row: kind, id, version. The versions of a row rise by one.
pub(crate) type Version = (Kind, i64, i64);

/// A committed version, as the database's own log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) version: Version,
    /// The group of articles that it belongs to; comments never leave theirs.
    pub(crate) group: i64,
    /// Where a comment is from this version on; `None`: it is deleted.
    pub(crate) article: Option<i64>,
    /// The write that did it; 0 for the first content.
    pub(crate) op: i64,
}

/// Why a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trouble {
    /// Policy `Abort`: it says so itself.
    Refused,
    /// The database rolled it back because of another transaction.
    Conflict,
    /// Something else with the database.
    Database,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// An article's page, by its key alone.
    Key,
    /// An article's page, with its row in hand.
    Row,
    /// A comment, by its key alone.
    Comment,
    /// All articles and comments of a group, with the row of its topic in hand, which is versioned by a timestamp column.
    Topic,
}

/// One line of a history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub(crate) enum Record {
    /// A write begins.
    Begin { op: i64, at: u64 },
    /// Its statements are done; the sweep and COMMIT come next. Of a single save outside of transactions: it is sent now, and what it
    /// writes is known from the database's log alone.
    Body { op: i64, at: u64, writes: Option<Vec<Version>> },
    /// It has returned; without an error it is acknowledged.
    End {
        op: i64,
        at: u64,
        error: Option<(Trouble, String)>,
        /// Some of its records, or of a write at the same time in this process, could not be marked.
        unmarked: bool,
    },
    /// A page, or a piece of one, was served.
    Read(Read),
    /// A worker's counters at its end.
    Stats { stats: Vec<(String, u64)> },
}

/// What a reader was served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) form: Form,
    /// The article's or comment's id.
    pub(crate) id: i64,
    pub(crate) group: i64,
    /// `hit`, `miss` or `bypass`.
    pub(crate) outcome: String,
    /// More precisely.
    pub(crate) why: String,
    pub(crate) page: String,
    /// What the database had committed before this read began, if it was asked.
    pub(crate) witness: Option<Vec<Version>>,
    pub(crate) error: Option<String>,
}

/// A history that survives the death of its process: every line goes to the operating system at once.
#[derive(Debug)]
pub(crate) struct Writer(Mutex<File>);

impl Writer {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(OpenOptions::new().create_new(true).append(true).open(path)?)))
    }

    pub(crate) fn add(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// The history of one process.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    /// When the process was seen dead, if it was killed.
    pub(crate) died: Option<u64>,
}

impl History {
    /// Reads a worker's file. A last line that was cut off is left out.
    pub(crate) fn read(path: &PathBuf, died: Option<u64>) -> io::Result<Self> {
        let mut records = Vec::new();
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            match serde_json::from_str(&line) {
                Ok(record) => records.push(record),
                Err(_) if died.is_some() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { records, died })
    }
}
